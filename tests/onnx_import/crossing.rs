//! What goes between the host and a device: inputs, results, and what the host
//! must look at; and how much memory all of that takes.

use super::build::*;
use super::support::backends::Named;
use super::{session, softmax, values};
use libtest_mimic::Failed;
use wginfer::formats::onnx::proto::{GraphProto, NodeProto};
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, Tensor};

const ROWS: usize = 6;
const WIDTH: usize = 50;
const PICTURE: u64 = (ROWS * WIDTH * 4) as u64;

fn input() -> Result<Tensor, Failed> {
    Ok(Tensor::from_f32(&[ROWS, WIDTH], &values(ROWS * WIDTH))?)
}

fn inputs() -> Vec<wginfer::formats::onnx::proto::ValueInfoProto> {
    vec![info("x", FLOAT, &[D::N(ROWS as i64), D::N(WIDTH as i64)])]
}

fn close_to(got: &Tensor, want: &[f64]) -> Result<(), Failed> {
    let got = got.to_f32()?;
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() <= 1e-5 * want.abs().max(1.0), "{got} {want}");
    }
    Ok(())
}

/// The condition of the branch is computed: one truth value comes back, and what
/// both branches read stays where it is.
pub fn branch(backend: &Named) -> Result<(), Failed> {
    let half = |op: &str, out: &str| net(vec![node(op, &["a"], &[out])], vec![], &[out], vec![]);
    let branches =
        vec![graph("then_branch", half("Exp", "t")), graph("else_branch", half("Neg", "e"))];
    let nodes = vec![
        node("Softmax", &["x"], &["a"]),
        with(node("ReduceMax", &["a"], &["most"]), vec![int("keepdims", 0)]),
        node("Less", &["most", "limit"], &["c"]),
        with(node("If", &["c"], &["y"]), branches),
    ];
    let model =
        |limit: f32| net(nodes.clone(), inputs(), &["y"], vec![floats("limit", &[], &[limit])]);
    let a = softmax(&input()?.to_f32()?, WIDTH);
    for (limit, taken) in [(2.0, true), (1e-6, false)] {
        let mut session = session(backend, model(limit));
        for _ in 0..2 {
            let outputs = session.run_blocking(&[("x", &input()?)])?;
            let want = a.iter().map(|&a| f64::from(a)).map(|a| if taken { a.exp() } else { -a });
            close_to(&outputs[0].1, &want.collect::<Vec<_>>())?;
            let report = session.report();
            assert_eq!(report.stages, 2);
            if backend.is_gpu() {
                let crossed = (report.bytes_to_device, report.bytes_to_host);
                assert_eq!(crossed, (PICTURE, PICTURE + 1));
            }
        }
    }
    Ok(())
}

/// Which rows are taken is data: the host reads a truth value for each row and
/// nothing else.
pub fn non_zero(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        node("Softmax", &["x"], &["a"]),
        with(node("ReduceMax", &["a", "last"], &["most"]), vec![int("keepdims", 0)]),
        node("Greater", &["most", "limit"], &["c"]),
        node("NonZero", &["c"], &["found"]),
        node("Squeeze", &["found", "first"], &["at"]),
        node("Gather", &["a", "at"], &["rows"]),
        node("Neg", &["rows"], &["y"]),
    ];
    let a = softmax(&input()?.to_f32()?, WIDTH);
    let most: Vec<f32> =
        a.chunks(WIDTH).map(|row| row.iter().fold(0.0, |most, &v| v.max(most))).collect();
    let mut sorted = most.clone();
    sorted.sort_by(f32::total_cmp);
    let limit = f32::midpoint(sorted[ROWS / 2 - 1], sorted[ROWS / 2]);
    let constants = vec![
        wholes("last", &[1], &[1]),
        wholes("first", &[1], &[0]),
        floats("limit", &[], &[limit]),
    ];
    let mut session = session(backend, net(nodes, inputs(), &["y"], constants));
    let outputs = session.run_blocking(&[("x", &input()?)])?;
    let rows = a.chunks(WIDTH).zip(&most).filter(|(_, most)| **most > limit);
    let want: Vec<f64> = rows.flat_map(|(row, _)| row.iter().map(|&v| -f64::from(v))).collect();
    assert!(!want.is_empty() && want.len() < a.len());
    close_to(&outputs[0].1, &want)?;
    if backend.is_gpu() {
        let report = session.report();
        let result = want.len() as u64 * 4;
        let crossed = (report.bytes_to_device, report.bytes_to_host);
        // The places of the rows are made on the host.
        let places = want.len() as u64 / WIDTH as u64 * 4;
        assert_eq!(crossed, (PICTURE + places, ROWS as u64 + result));
    }
    // Other rows, but as many: what follows is a graph that is there.
    let before = session.counters();
    let mut rows: Vec<_> = input()?.to_f32()?.chunks(WIDTH).map(<[f32]>::to_vec).collect();
    rows.reverse();
    let x = Tensor::from_f32(&[ROWS, WIDTH], &rows.concat())?;
    let outputs = session.run_blocking(&[("x", &x)])?;
    assert_eq!(outputs[0].1.extents(), [want.len() / WIDTH, WIDTH]);
    let reversed: Vec<f64> = want.chunks(WIDTH).rev().flatten().copied().collect();
    close_to(&outputs[0].1, &reversed)?;
    let after = session.counters();
    assert_eq!((after.stages, after.plans), (before.stages, before.plans));
    Ok(())
}

/// A value that the host looks at is the device's none the less for what else reads
/// it: a product of it is computed there.
pub fn looked_at(backend: &Named) -> Result<(), Failed> {
    let weights: Vec<f32> = values(WIDTH * WIDTH);
    let nodes = vec![
        node("NonZero", &["x"], &["found"]),
        node("MatMul", &["x", "w"], &["y"]),
        with(node("Gather", &["y", "first"], &["z"]), vec![int("axis", 1)]),
    ];
    let side = WIDTH as i64;
    let constants = vec![floats("w", &[side, side], &weights), wholes("first", &[1], &[0])];
    let mut session = session(backend, net(nodes, inputs(), &["z", "found"], constants));
    let x = input()?;
    let outputs = session.run_blocking(&[("x", &x)])?;
    let given = x.to_f32()?;
    let want: Vec<f64> = given
        .chunks(WIDTH)
        .map(|row| (0..WIDTH).map(|k| f64::from(row[k]) * f64::from(weights[k * WIDTH])).sum())
        .collect();
    close_to(&outputs[0].1, &want)?;
    assert_eq!(outputs[1].1.extents()[0], 2);
    if backend.is_gpu() {
        assert!(session.counters().dispatches >= 2, "{:?}", session.counters());
    }
    Ok(())
}

/// A loop whose condition is computed from what it carries: that stays on the
/// device from one iteration to the next.
pub fn looped(backend: &Named) -> Result<(), Failed> {
    const FACTOR: f32 = 1.5;
    const LIMIT: f32 = 40.0;
    let body = net(
        vec![
            node("Mul", &["v", "factor"], &["w"]),
            with(node("ReduceMax", &["w"], &["most"]), vec![int("keepdims", 0)]),
            node("Less", &["most", "limit"], &["go"]),
        ],
        vec![
            info("i", INT64, &[]),
            info("keep", BOOL, &[]),
            info("v", FLOAT, &[D::N(ROWS as i64), D::N(WIDTH as i64)]),
        ],
        &["go", "w"],
        vec![floats("factor", &[], &[FACTOR]), floats("limit", &[], &[LIMIT])],
    );
    let nodes = vec![
        node("Abs", &["x"], &["start"]),
        with(node("Loop", &["", "yes", "start"], &["end"]), vec![graph("body", body)]),
        node("Sub", &["end", "start"], &["y"]),
    ];
    let constants = vec![truth("yes", true)];
    let mut session = session(backend, net(nodes, inputs(), &["y"], constants));
    let start: Vec<f32> = input()?.to_f32()?.iter().map(|v| v.abs()).collect();
    let (mut end, mut turns) = (start.clone(), 0u64);
    // The condition is asked after each turn.
    while turns == 0 || end.iter().all(|v| *v < LIMIT) {
        end.iter_mut().for_each(|v| *v *= FACTOR);
        turns += 1;
    }
    assert!(turns > 3, "{turns}");
    let want: Vec<f64> = end.iter().zip(&start).map(|(e, s)| f64::from(e - s)).collect();
    for _ in 0..2 {
        let outputs = session.run_blocking(&[("x", &input()?)])?;
        close_to(&outputs[0].1, &want)?;
        if backend.is_gpu() {
            let report = session.report();
            let crossed = (report.bytes_to_device, report.bytes_to_host);
            assert_eq!(crossed, (PICTURE, PICTURE + turns), "{turns} turns");
        }
    }
    Ok(())
}

/// Two values that take each other's place in every iteration, and one that is
/// read after the loop only: none is overwritten before it is read.
pub fn swapped(backend: &Named) -> Result<(), Failed> {
    const TURNS: usize = 5;
    let dims = [D::N(ROWS as i64), D::N(WIDTH as i64)];
    let body = net(
        vec![
            node("Mul", &["v", "factor"], &["p"]),
            node("Neg", &["u"], &["q"]),
            node("Gather", &["answers", "i"], &["go"]),
        ],
        vec![
            info("i", INT64, &[]),
            info("keep", BOOL, &[]),
            info("u", FLOAT, &dims),
            info("v", FLOAT, &dims),
        ],
        &["go", "p", "q"],
        vec![floats("factor", &[], &[1.5])],
    );
    let nodes = vec![
        node("Abs", &["x"], &["a"]),
        node("Exp", &["x"], &["b"]),
        node("Tanh", &["x"], &["c"]),
        with(node("Loop", &["", "yes", "a", "b"], &["u", "v"]), vec![graph("body", body)]),
        node("Add", &["u", "c"], &["y"]),
    ];
    let mut given = inputs();
    given.push(info("answers", BOOL, &[D::Any]));
    let graph = net(nodes, given, &["y", "v"], vec![truth("yes", true)]);
    let mut session = session(backend, graph);
    let answers: Vec<u8> = (1..=TURNS).map(|turn| u8::from(turn < TURNS)).collect();
    let answers = Tensor::new(wginfer::DType::Bool, &[TURNS], answers)?;
    let x: Vec<f64> = input()?.to_f32()?.iter().map(|&v| v.into()).collect();
    let (mut u, mut v): (Vec<f64>, Vec<f64>) = x.iter().map(|x| (x.abs(), x.exp())).unzip();
    for _ in 0..TURNS {
        let p = v.iter().map(|v| v * 1.5).collect();
        (u, v) = (p, u.iter().map(|u| -u).collect());
    }
    let y: Vec<f64> = u.iter().zip(&x).map(|(u, x)| u + x.tanh()).collect();
    for _ in 0..2 {
        let outputs = session.run_blocking(&[("x", &input()?), ("answers", &answers)])?;
        close_to(&outputs[0].1, &y)?;
        close_to(&outputs[1].1, &v)?;
    }
    // The way out of the loop is a stage as well.
    assert!(session.report().stages > TURNS as u64);
    Ok(())
}

const CHANNELS: i64 = 24;

fn weight(name: &str, dims: &[i64]) -> wginfer::formats::onnx::proto::TensorProto {
    let values = values(dims.iter().product::<i64>() as usize);
    let scaled: Vec<f32> = values.iter().map(|v| v * 0.06).collect();
    floats(name, dims, &scaled)
}

fn conv(x: &str, w: &str, y: &str) -> NodeProto {
    with(node("Conv", &[x, w], &[y]), vec![ints("pads", &[1, 1, 1, 1])])
}

/// Convolutions with residuals; a branch by the mean of what they give, in which
/// that is used twice; the mean of each channel.
fn network() -> GraphProto {
    let mut nodes = vec![conv("x", "w0", "a0"), node("Relu", &["a0"], &["r0"])];
    for (i, block) in ["r0", "r1"].into_iter().enumerate() {
        let name = |letter: &str| format!("{letter}{}", i + 1);
        let (a, b, c, sum, out) = (name("a"), name("b"), name("c"), name("s"), name("r"));
        nodes.extend([
            conv(block, &format!("w{}", 2 * i + 1), &a),
            node("Relu", &[&a], &[&b]),
            conv(&b, &format!("w{}", 2 * i + 2), &c),
            node("Add", &[&c, block], &[&sum]),
            node("Relu", &[&sum], &[&out]),
        ]);
    }
    let taken = vec![
        conv("r2", "w5", "t0"),
        node("Relu", &["t0"], &["t1"]),
        node("Add", &["t1", "r2"], &["t"]),
    ];
    let branches = vec![
        graph("then_branch", net(taken, vec![], &["t"], vec![])),
        graph("else_branch", net(vec![node("Neg", &["r2"], &["e"])], vec![], &["e"], vec![])),
    ];
    nodes.extend([
        with(node("ReduceMean", &["r2"], &["mean"]), vec![int("keepdims", 0)]),
        node("Greater", &["mean", "zero"], &["c"]),
        with(node("If", &["c"], &["taken"]), branches),
        node("GlobalAveragePool", &["taken"], &["y"]),
    ]);
    let mut constants = vec![weight("w0", &[CHANNELS, 3, 3, 3]), floats("zero", &[], &[0.0])];
    for i in 1..6 {
        constants.push(weight(&format!("w{i}"), &[CHANNELS, CHANNELS, 3, 3]));
    }
    let dims = [D::N(1), D::N(3), D::S("height"), D::S("width")];
    net(nodes, vec![info("x", FLOAT, &dims)], &["y"], constants)
}

/// At most 15 % above weights and the largest set of values that are needed at
/// one time, over a small picture, a larger one and the small one again.
pub fn memory(backend: &Named) -> Result<(), Failed> {
    let Backend::Gpu(gpu) = &backend.backend else { return Ok(()) };
    // Other tests hold memory of the shared device.
    let gpu = pollster::block_on(gpu.reopen())?;
    let model = Model::from_bytes("test.onnx", bytes(network()))?;
    let backend = Backend::Gpu(gpu.clone());
    let picture = |size: usize| Tensor::from_f32(&[1, 3, size, size], &values(3 * size * size));
    // Kernels that are new to the adapter are tried first, which `support/spared.rs` judges.
    let mut first = OnnxSession::new(model.clone(), &backend, OnnxOptions::default())?;
    for size in [40, 72] {
        first.run_blocking(&[("x", &picture(size)?)])?;
    }
    drop(first);
    gpu.trim();
    gpu.tick();
    gpu.reset_peaks();
    let mut session = OnnxSession::new(model, &backend, OnnxOptions::default())?;
    let weights = 4 * (CHANNELS * 3 * 9 + 5 * CHANNELS * CHANNELS * 9) as u64;
    for (size, largest) in [(40, 40), (72, 72), (40, 72)] {
        let outputs = session.run_blocking(&[("x", &picture(size)?)])?;
        assert_eq!(outputs[0].1.extents(), [1, CHANNELS as usize, 1, 1]);
        // A block has its input, what its first convolution gives, and the sum;
        // the picture is there until the first one is done, where there are less.
        let map = (CHANNELS as u64 * 4) * (largest * largest) as u64;
        let needed = weights + 3 * map;
        let peak = gpu.memory().total_peak;
        println!("{size}: {peak} bytes at most, {needed} needed");
        let ratio = peak as f64 / needed as f64;
        assert!((1.0..=1.15).contains(&ratio), "{size}: {ratio:.3}: {:?}", gpu.memory());
    }
    let report = session.report();
    // One truth value comes back beside the result.
    assert_eq!(report.bytes_to_host, 1 + CHANNELS as u64 * 4);
    assert_eq!(report.stages, 2);
    drop(session);
    assert_eq!(gpu.memory().in_use(), gpu.memory().current(wginfer::gpu::Purpose::Staging));
    Ok(())
}
