//! `If`, `Loop` and `Scan`, known while importing or not. Counting is done by
//! tables: `next[i]` is `i + 1`.

use super::build::*;
use super::support::backends::Named;
use super::{close, session};
use libtest_mimic::Failed;
use wginfer::formats::onnx::proto::GraphProto;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{DType, ErrorKind, Tensor};

fn bools(values: &[bool]) -> Tensor {
    let bytes: Vec<u8> = values.iter().map(|&value| value.into()).collect();
    Tensor::new(DType::Bool, &[values.len()], bytes).unwrap()
}

fn scalar(value: i64) -> Tensor {
    Tensor::new(DType::I64, &[], value.to_le_bytes().to_vec()).unwrap()
}

fn longs(values: &[i64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(DType::I64, &[values.len()], bytes).unwrap()
}

fn to_longs(tensor: &Tensor) -> Vec<i64> {
    assert_eq!(tensor.dtype(), DType::I64);
    tensor.bytes().as_chunks::<8>().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
}

/// Takes `x` as it is or turned around.
fn branches(condition: &str) -> wginfer::formats::onnx::proto::NodeProto {
    let kept = net(vec![node("Identity", &["x"], &["kept"])], vec![], &["kept"], vec![]);
    let turned = vec![with(node("Transpose", &["x"], &["turned"]), vec![ints("perm", &[1, 0])])];
    let turned = net(turned, vec![], &["turned"], vec![]);
    let attributes = vec![graph("then_branch", kept), graph("else_branch", turned)];
    with(node("If", &[condition], &["taken"]), attributes)
}

pub fn branch_by_input(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![branches("c"), node("Softmax", &["taken"], &["y"])];
    let inputs = vec![info("c", BOOL, &[]), info("x", FLOAT, &[D::N(2), D::N(3)])];
    let mut session = session(backend, net(nodes, inputs, &["y"], vec![]));
    let x = Tensor::from_f32(&[2, 3], &super::values(6))?;
    for (run, keep) in [true, false, true, true, false].into_iter().enumerate() {
        let condition = Tensor::new(DType::Bool, &[], vec![u8::from(keep)])?;
        let outputs = session.run_blocking(&[("x", &x), ("c", &condition)])?;
        let extents = if keep { [2, 3] } else { [3, 2] };
        assert_eq!(outputs[0].1.extents(), extents);
        if run >= 1 {
            // The look at the condition, and a stage for each branch.
            assert_eq!((session.counters().stages, session.counters().plans), (3, 2));
        }
    }
    Ok(())
}

pub fn branch_by_value(backend: &Named) -> Result<(), Failed> {
    // Softmax before, so that something computed lives on past the stage.
    let nodes = vec![
        node("Softmax", &["z"], &["x"]),
        node("Gather", &["conditions", "at"], &["c"]),
        branches("c"),
        node("Identity", &["taken"], &["y"]),
    ];
    let inputs = vec![
        info("z", FLOAT, &[D::N(2), D::N(3)]),
        info("conditions", BOOL, &[D::Any]),
        info("at", INT64, &[]),
    ];
    let mut session = session(backend, net(nodes, inputs, &["y", "x"], vec![]));
    let z = super::values(6);
    let x = super::softmax(&z, 3);
    let turned: Vec<f32> = [0, 3, 1, 4, 2, 5].iter().map(|&i| x[i]).collect();
    let (z, conditions) = (Tensor::from_f32(&[2, 3], &z)?, bools(&[true, false, true]));
    for at in [0, 1, 2, 1] {
        let inputs = [("z", &z), ("conditions", &conditions), ("at", &scalar(at))];
        let outputs = session.run_blocking(&inputs)?;
        close(&outputs[0].1.to_f32()?, if at == 1 { &turned } else { &x });
        close(&outputs[1].1.to_f32()?, &x);
    }
    assert_eq!(session.counters().stages, 3);
    Ok(())
}

/// Rotates the three rows of `v` once, and says which iteration it is.
fn rotation() -> GraphProto {
    let nodes = vec![
        node("Gather", &["v", "order"], &["rotated"]),
        node("Identity", &["keep"], &["go"]),
        node("Identity", &["i"], &["number"]),
    ];
    let inputs =
        vec![info("i", INT64, &[]), info("keep", BOOL, &[]), info("v", FLOAT, &[D::N(3), D::N(2)])];
    net(
        nodes,
        inputs,
        &["go", "rotated", "rotated", "number"],
        vec![wholes("order", &[3], &[1, 2, 0])],
    )
}

pub fn known_loop(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        node("Softmax", &["x"], &["start"]),
        with(
            node("Loop", &["m", "", "start"], &["end", "all", "numbers"]),
            vec![graph("body", rotation())],
        ),
    ];
    let inputs = vec![info("m", INT64, &[]), info("x", FLOAT, &[D::N(3), D::N(2)])];
    let mut session = session(backend, net(nodes, inputs, &["end", "all", "numbers"], vec![]));
    let z = super::values(6);
    let x = super::softmax(&z, 2);
    let z = Tensor::from_f32(&[3, 2], &z)?;
    let rotated = |by: usize| (0..6).map(|i| x[(i + 2 * by) % 6]).collect::<Vec<_>>();
    for times in [4usize, 1, 4] {
        let outputs = session.run_blocking(&[("m", &scalar(times as i64)), ("x", &z)])?;
        close(&outputs[0].1.to_f32()?, &rotated(times));
        assert_eq!(outputs[1].1.extents(), [times, 3, 2]);
        let all: Vec<f32> = (1..=times).flat_map(rotated).collect();
        close(&outputs[1].1.to_f32()?, &all);
        assert_eq!(to_longs(&outputs[2].1), (0..times as i64).collect::<Vec<_>>());
    }
    // The look at `m`, and a graph for each of its values.
    assert_eq!((session.counters().stages, session.counters().plans), (3, 2));
    Ok(())
}

/// Counts by a table and goes on while another table says so.
fn counting() -> GraphProto {
    let nodes = vec![
        node("Gather", &["next", "n"], &["more"]),
        node("Gather", &["going", "more"], &["go"]),
        node("Gather", &["v", "order"], &["rotated"]),
    ];
    let inputs = vec![
        info("i", INT64, &[]),
        info("keep", BOOL, &[]),
        info("n", INT64, &[]),
        info("v", FLOAT, &[D::N(3), D::N(2)]),
    ];
    let outputs = ["go", "more", "rotated", "more", "i"];
    net(nodes, inputs, &outputs, vec![wholes("order", &[3], &[1, 2, 0])])
}

pub fn while_loop(backend: &Named) -> Result<(), Failed> {
    let body = vec![graph("body", counting())];
    let outputs = ["count", "end", "counts", "numbers"];
    let nodes = vec![
        with(node("Loop", &["", "yes", "zero", "x"], &outputs), body),
        node("Softmax", &["end"], &["y"]),
    ];
    let inputs = vec![
        info("next", INT64, &[D::Any]),
        info("going", BOOL, &[D::Any]),
        info("x", FLOAT, &[D::N(3), D::N(2)]),
    ];
    let constants = vec![truth("yes", true), wholes("zero", &[], &[0])];
    let results = ["count", "y", "counts", "numbers"];
    let mut session = session(backend, net(nodes, inputs, &results, constants));
    let next = longs(&(1..=50).collect::<Vec<_>>());
    let x = super::values(6);
    let input = Tensor::from_f32(&[3, 2], &x)?;
    let mut stages = 0;
    for times in [40usize, 1, 7, 40] {
        let going = bools(&(0..50).map(|n| n < times).collect::<Vec<_>>());
        let inputs = [("next", &next), ("going", &going), ("x", &input)];
        let outputs = session.run_blocking(&inputs)?;
        assert_eq!(to_longs(&outputs[0].1), [times as i64]);
        let end: Vec<f32> = (0..6).map(|i| x[(i + 2 * times) % 6]).collect();
        close(&outputs[1].1.to_f32()?, &super::softmax(&end, 2));
        assert_eq!(to_longs(&outputs[2].1), (1..=times as i64).collect::<Vec<_>>());
        assert_eq!(to_longs(&outputs[3].1), (0..times as i64).collect::<Vec<_>>());
        if times == 7 {
            stages = session.counters().stages;
        }
    }
    // However often it goes round, iterations after the first are one stage.
    assert!(stages < 20, "{stages} stages");
    // Once everything is there, nothing more is made.
    assert_eq!(session.counters().stages, stages);
    Ok(())
}

pub fn long_loop(backend: &Named) -> Result<(), Failed> {
    let body = vec![graph("body", rotation())];
    let outputs = ["end", "", "numbers"];
    let nodes = vec![with(node("Loop", &["m", "", "x"], &outputs), body)];
    let inputs = vec![info("x", FLOAT, &[D::N(3), D::N(2)])];
    let constants = vec![wholes("m", &[], &[2000])];
    let mut session = session(backend, net(nodes, inputs, &["end", "numbers"], constants));
    let x = super::values(6);
    let outputs = session.run_blocking(&[("x", &Tensor::from_f32(&[3, 2], &x)?)])?;
    let end: Vec<f32> = (0..6).map(|i| x[(i + 2 * 2000) % 6]).collect();
    close(&outputs[0].1.to_f32()?, &end);
    assert_eq!(to_longs(&outputs[1].1), (0..2000).collect::<Vec<_>>());
    assert!(session.counters().stages < 12, "{:?}", session.counters());
    Ok(())
}

/// The inner loop rotates as often as the outer one's count says, reads a value
/// of the outermost graph, and ends by a condition that only a run can tell.
pub fn nested_loops(backend: &Named) -> Result<(), Failed> {
    let inner = net(
        vec![
            node("Gather", &["w", "order"], &["w2"]),
            node("Gather", &["limits", "k"], &["go_inner"]),
        ],
        vec![
            info("k", INT64, &[]),
            info("keep2", BOOL, &[]),
            info("w", FLOAT, &[D::N(3), D::N(2)]),
        ],
        &["go_inner", "w2"],
        vec![],
    );
    let outer = net(
        vec![
            with(node("Loop", &["i", "yes", "v"], &["v2"]), vec![graph("body", inner)]),
            node("Identity", &["keep"], &["go"]),
        ],
        vec![info("i", INT64, &[]), info("keep", BOOL, &[]), info("v", FLOAT, &[D::N(3), D::N(2)])],
        &["go", "v2", "v2"],
        vec![wholes("order", &[3], &[1, 2, 0])],
    );
    let nodes =
        vec![with(node("Loop", &["m", "yes", "x"], &["end", "all"]), vec![graph("body", outer)])];
    let inputs = vec![info("x", FLOAT, &[D::N(3), D::N(2)]), info("limits", BOOL, &[D::Any])];
    let constants = vec![wholes("m", &[], &[4]), truth("yes", true)];
    let mut session = session(backend, net(nodes, inputs, &["end", "all"], constants));
    let x = super::values(6);
    let input = Tensor::from_f32(&[3, 2], &x)?;
    // At most two inner iterations: 0 + 1 + 2 + 2 rotations.
    let limits = bools(&[true, false, true, true, true]);
    let outputs = session.run_blocking(&[("x", &input), ("limits", &limits)])?;
    let rotated = |by: usize| (0..6).map(|i| x[(i + 2 * by) % 6]).collect::<Vec<_>>();
    close(&outputs[0].1.to_f32()?, &rotated(5));
    let all: Vec<f32> = [0, 1, 3, 5].into_iter().flat_map(rotated).collect();
    close(&outputs[1].1.to_f32()?, &all);
    let stages = session.counters().stages;
    session.run_blocking(&[("x", &input), ("limits", &limits)])?;
    assert_eq!(session.counters().stages, stages);
    Ok(())
}

pub fn no_iterations(backend: &Named) -> Result<(), Failed> {
    let mut body = rotation();
    body.output[2] = info("rotated", FLOAT, &[D::N(3), D::N(2)]);
    body.output[3] = info("number", INT64, &[]);
    let outputs = ["end", "all", "numbers"];
    let nodes = vec![with(node("Loop", &["m", "", "x"], &outputs), vec![graph("body", body)])];
    let inputs = vec![info("x", FLOAT, &[D::N(3), D::N(2)])];
    let constants = vec![wholes("m", &[1], &[0])];
    let mut session = session(backend, net(nodes, inputs, &outputs, constants));
    let x = Tensor::from_f32(&[3, 2], &super::values(6))?;
    let outputs = session.run_blocking(&[("x", &x)])?;
    assert_eq!(outputs[0].1.bytes()[..], x.bytes()[..]);
    assert_eq!((outputs[1].1.extents(), outputs[2].1.extents()), (&[0, 3, 2][..], &[0][..]));
    Ok(())
}

pub fn endless_loop(backend: &Named) -> Result<(), Failed> {
    for (trip, most) in [("m", 500), ("", 300)] {
        let body = vec![graph("body", rotation())];
        let nodes = vec![with(node("Loop", &[trip, "", "x"], &["end", "", ""]), body)];
        let inputs = vec![info("x", FLOAT, &[D::N(3), D::N(2)])];
        let constants = vec![wholes("m", &[], &[i64::MAX])];
        let graph = net(nodes, inputs, &["end"], constants);
        let model = Model::from_bytes("test.onnx", bytes(graph))?;
        let options = OnnxOptions { most_steps: most, ..OnnxOptions::default() };
        let mut session = OnnxSession::new(model, &backend.backend, options)?;
        let x = Tensor::from_f32(&[3, 2], &super::values(6))?;
        let error = session.run_blocking(&[("x", &x)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("node 'Loop_end__' (Loop)"), "{error}");
    }
    Ok(())
}

/// Two inputs, one backwards along its second axis; two outputs, one of them
/// backwards along the last axis; a state that is rotated.
pub fn scan(backend: &Named) -> Result<(), Failed> {
    let body = net(
        vec![
            node("Gather", &["s", "order"], &["s2"]),
            node("Identity", &["a"], &["first"]),
            node("Concat", &["b", "s2"], &["second"]),
        ],
        vec![
            info("s", FLOAT, &[D::N(3)]),
            info("a", FLOAT, &[D::N(2)]),
            info("b", FLOAT, &[D::N(1)]),
        ],
        &["s2", "first", "second"],
        vec![wholes("order", &[3], &[1, 2, 0])],
    );
    let mut body = body;
    body.node[2].attribute = vec![int("axis", 0)];
    let attributes = vec![
        graph("body", body),
        int("num_scan_inputs", 2),
        ints("scan_input_axes", &[0, -1]),
        ints("scan_input_directions", &[0, 1]),
        ints("scan_output_axes", &[0, 1]),
        ints("scan_output_directions", &[1, 0]),
    ];
    let outputs = ["state", "firsts", "seconds"];
    let nodes = vec![with(node("Scan", &["s0", "p", "q"], &outputs), attributes)];
    let inputs = vec![
        info("s0", FLOAT, &[D::N(3)]),
        info("p", FLOAT, &[D::S("t"), D::N(2)]),
        info("q", FLOAT, &[D::N(1), D::S("t")]),
    ];
    let mut session = session(backend, net(nodes, inputs, &outputs, vec![]));
    let s = Tensor::from_f32(&[3], &[1.0, 2.0, 3.0])?;
    let p = Tensor::from_f32(&[2, 2], &[10.0, 11.0, 20.0, 21.0])?;
    let q = Tensor::from_f32(&[1, 2], &[5.0, 6.0])?;
    let outputs = session.run_blocking(&[("s0", &s), ("p", &p), ("q", &q)])?;
    close(&outputs[0].1.to_f32()?, &[3.0, 1.0, 2.0]);
    close(&outputs[1].1.to_f32()?, &[20.0, 21.0, 10.0, 11.0]);
    assert_eq!(outputs[2].1.extents(), [4, 2]);
    close(&outputs[2].1.to_f32()?, &[6.0, 5.0, 2.0, 3.0, 3.0, 1.0, 1.0, 2.0]);
    Ok(())
}

/// A shape that is computed: the stage ends before the `Reshape`. And one that
/// is an input: the host has it, so that there is one graph.
pub fn shape_from_value(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        node("Softmax", &["x"], &["p"]),
        node("Gather", &["shapes", "at"], &["shape"]),
        node("Reshape", &["p", "shape"], &["q"]),
        node("Reshape", &["q", "last"], &["r"]),
    ];
    let inputs = vec![
        info("x", FLOAT, &[D::N(6)]),
        info("shapes", INT64, &[D::Any, D::Any]),
        info("at", INT64, &[]),
        info("last", INT64, &[D::Any]),
    ];
    let mut session = session(backend, net(nodes, inputs, &["q", "r"], vec![]));
    let x = Tensor::from_f32(&[6], &super::values(6))?;
    let shapes = Tensor::new(DType::I64, &[2, 2], longs(&[2, 3, 3, 2]).bytes().to_vec())?;
    for (at, last) in [(0, &[6][..]), (1, &[1, 6]), (0, &[6])] {
        let last_tensor = longs(last);
        let given = [("x", &x), ("shapes", &shapes), ("at", &scalar(at)), ("last", &last_tensor)];
        let outputs = session.run_blocking(&given)?;
        assert_eq!(outputs[0].1.extents(), if at == 0 { [2, 3] } else { [3, 2] });
        let last: Vec<_> = last.iter().map(|&extent| extent as usize).collect();
        assert_eq!(outputs[1].1.extents(), last);
        close(&outputs[1].1.to_f32()?, &super::softmax(&super::values(6), 6));
    }
    Ok(())
}
