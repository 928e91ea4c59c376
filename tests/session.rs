//! Sessions: planning by bounds, steady state, states, submissions, errors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use support::affine::Affine;
use support::backends::{self, Named};
use wginfer::exec::TimeSource;
use wginfer::graph::{Graph, GraphBuilder};
use wginfer::{Backend, DType, ErrorKind, Session, SessionOptions, Tensor};

type Body = fn(&Named) -> Result<(), Failed>;

const BODIES: &[(&str, Body)] = &[
    ("one_plan_serves_a_bucket", one_plan_serves_a_bucket),
    ("steady_state_makes_nothing", steady_state_makes_nothing),
    ("long_work_is_cut", long_work_is_cut),
    ("runs_that_are_alike_follow_one_another", alike_runs),
    ("repeating_updates_states_and_reads_nothing", repeating),
    ("a_profile_measures_each_piece_of_work", a_profile),
    ("empty_tensors_dispatch_nothing", empty_tensors_dispatch_nothing),
    ("wrong_inputs_are_named", wrong_inputs_are_named),
    ("outputs_may_be_inputs_or_constants", outputs_may_be_inputs_or_constants),
    ("a_reshaped_state_is_a_value", a_reshaped_state_is_a_value),
    ("a_state_keeps_its_content_when_it_grows", a_state_grows),
    ("a_growth_that_fails_changes_nothing", a_growth_that_fails),
    ("progress_ends_at_the_total", progress_ends_at_the_total),
    ("memory_goes_back", memory_goes_back),
    ("a_lost_device_is_typed", a_lost_device_is_typed),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends::all() {
        for (name, body) in BODIES {
            let backend = backend.clone();
            trials.push(Trial::test(format!("session::{}::{name}", backend.name), move || {
                body(&backend)
            }));
        }
    }
    backends::conclude(&arguments, trials);
}

/// `depth` affine steps on `[rows, 3]`.
fn chain(depth: usize) -> Graph {
    let mut g = GraphBuilder::new();
    let rows = g.symbol("rows");
    let mut x = g.input("x", DType::F32, [rows.into(), 3.into()]).unwrap();
    for i in 0..depth {
        x = g.op1(Affine { scale: 0.5, shift: i as f32 }, &[x]).unwrap();
    }
    g.output("y", x).unwrap();
    g.finish().unwrap()
}

fn expected(depth: usize, x: &[f32]) -> Vec<f32> {
    let step = |x: f32, i: usize| x * 0.5 + i as f32;
    x.iter().map(|&x| (0..depth).fold(x, step)).collect()
}

fn values(rows: usize) -> Vec<f32> {
    (0..rows * 3).map(|i| ((i * 37 + 11) % 101) as f32 - 50.0).collect()
}

fn check(session: &mut Session, depth: usize, rows: usize) -> Result<(), Failed> {
    let x = values(rows);
    let input = Tensor::from_f32(&[rows, 3], &x)?;
    let outputs = session.run_blocking(&[("x", &input)])?;
    let (name, y) = &outputs[0];
    assert_eq!((name.as_str(), y.extents()), ("y", &[rows, 3][..]));
    // Halving and adding small whole numbers is exact in f32.
    assert_eq!(y.to_f32()?, expected(depth, &x));
    Ok(())
}

fn session(backend: &Named, depth: usize, options: SessionOptions) -> Result<Session, Failed> {
    Ok(Session::new_blocking(chain(depth), &backend.backend, options)?)
}

fn buckets() -> SessionOptions {
    let buckets = [("rows".to_string(), vec![1, 16, 64])].into();
    SessionOptions { buckets, poison: true, ..SessionOptions::default() }
}

fn one_plan_serves_a_bucket(backend: &Named) -> Result<(), Failed> {
    let mut session = session(backend, 3, buckets())?;
    for rows in [2, 16, 7, 1, 40, 64, 5, 100] {
        check(&mut session, 3, rows)?;
    }
    // 1; 2 to 16; 40 to 64; 100 by itself.
    assert_eq!(session.counters().plans, 4);
    Ok(())
}

fn steady_state_makes_nothing(backend: &Named) -> Result<(), Failed> {
    // Counters are the device's, and other tests use the shared one meanwhile.
    let own = fresh(backend)?;
    let backend = own.as_ref().unwrap_or(backend);
    let mut session = session(backend, 4, SessionOptions { poison: false, ..buckets() })?;
    check(&mut session, 4, 9)?;
    check(&mut session, 4, 16)?;
    let counted = |session: &Session| match &backend.backend {
        Backend::Gpu(gpu) => {
            let made = gpu.counters();
            (
                made.buffers + made.buffers_reused,
                made.bind_groups,
                made.pipelines,
                session.counters().plans,
            )
        }
        Backend::Cpu => (0, 0, 0, session.counters().plans),
    };
    let before = counted(&session);
    for rows in [3, 16, 11, 2] {
        check(&mut session, 4, rows)?;
    }
    assert_eq!(counted(&session), before);
    if backend.is_gpu() {
        let counters = session.counters();
        assert_eq!((counters.runs, counters.submissions, counters.dispatches), (6, 6, 24));
    }
    Ok(())
}

fn long_work_is_cut(backend: &Named) -> Result<(), Failed> {
    let options = SessionOptions { submission_ms: 1e-6, ..SessionOptions::default() };
    let mut session = session(backend, 5, options)?;
    check(&mut session, 5, 1000)?;
    if backend.is_gpu() {
        assert_eq!(session.counters().submissions, 5);
    }
    Ok(())
}

/// What is encoded ahead for a run like the last ones is used by such a run alone, and
/// not once memory, sizes or the pace are others.
fn alike_runs(backend: &Named) -> Result<(), Failed> {
    let mut session = session(backend, 3, buckets())?;
    let pattern = [4usize, 4, 4, 4, 7, 7, 7, 4, 40, 40, 40, 40, 4, 4, 4, 1, 1, 1, 1];
    for (run, rows) in pattern.into_iter().enumerate() {
        let x: Vec<f32> = values(rows).iter().map(|x| x + 4.0 * run as f32).collect();
        let input = Tensor::from_f32(&[rows, 3], &x)?;
        assert_eq!(session.run_blocking(&[("x", &input)])?[0].1.to_f32()?, expected(3, &x));
    }
    if backend.is_gpu() {
        let (counters, runs) = (session.counters(), pattern.len() as u64);
        assert_eq!(counters.dispatches, 3 * runs);
        assert_eq!(counters.submissions, runs);
    }
    let mut cut = Session::new_blocking(
        chain(5),
        &backend.backend,
        SessionOptions { submission_ms: 1e-6, ..SessionOptions::default() },
    )?;
    for run in 1..=4 {
        check(&mut cut, 5, 1000)?;
        assert!(!backend.is_gpu() || cut.counters().submissions == 5 * run);
    }
    let mut caches = filled(backend)?;
    for capacity in [4, 9, 5] {
        backend.backend.block_on(caches.set_symbol("capacity", capacity))?;
        for _ in 0..4 {
            check_caches(&mut caches, capacity as usize)?;
        }
    }
    Ok(())
}

/// The graph halves a state and adds the input, so every run shows.
fn repeating(backend: &Named) -> Result<(), Failed> {
    let own = fresh(backend)?;
    let backend = own.as_ref().unwrap_or(backend);
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, [1.into(), 1.into(), 1.into(), 2.into()])?;
    let past = g.input("past", DType::I32, [1.into()])?;
    let sum = g.state("sum", DType::F32, [1.into(), 1.into(), 1.into(), 2.into()], None)?;
    let half = g.op1(Affine { scale: 0.5, shift: 0.0 }, &[sum])?;
    let next = g.add(half, x)?;
    g.tensor_scatter(sum, next, past)?;
    let options = SessionOptions::default();
    let mut session = Session::new_blocking(g.finish()?, &backend.backend, options)?;
    let x = Tensor::from_f32(&[1, 1, 1, 2], &[8.0, -16.0])?;
    let past = Tensor::from_i32(&[1], &[0])?;
    let inputs = [("x", &x), ("past", &past)];
    let made = || match &backend.backend {
        Backend::Gpu(gpu) => gpu.counters().buffers,
        Backend::Cpu => 0,
    };
    session.repeat_blocking(&inputs, 1)?;
    let (buffers, dispatches) = (made(), session.counters().dispatches);
    session.repeat_blocking(&inputs, 3)?;
    // Not even a buffer to read results from.
    assert_eq!(made(), buffers);
    assert_eq!(session.state_blocking("sum")?.to_f32()?, [15.0, -30.0]);
    let counters = session.counters();
    assert_eq!((counters.runs, counters.dispatches, counters.plans), (4, 4 * dispatches, 1));
    session.repeat_blocking(&inputs, 0)?;
    assert_eq!(session.state_blocking("sum")?.to_f32()?, [15.0, -30.0]);
    Ok(())
}

fn a_profile(backend: &Named) -> Result<(), Failed> {
    // More dispatches than one set of timestamps has room for.
    let depth = 1100;
    let mut session = session(backend, depth, SessionOptions::default())?;
    let x = values(5);
    let input = Tensor::from_f32(&[5, 3], &x)?;
    let before = session.counters().dispatches;
    let (outputs, profile) = backend.backend.block_on(session.profile(&[("x", &input)]))?;
    assert_eq!(outputs[0].1.to_f32()?, expected(depth, &x));
    assert_eq!(profile.timings.len(), depth);
    assert_eq!(session.counters().dispatches, before + depth as u64);
    assert!(profile.timings.iter().all(|t| t.op == "Affine" && t.micros >= 0.0), "{profile:?}");
    // Their order is that of the graph, and time passes.
    let nodes: std::collections::BTreeSet<_> = profile.timings.iter().map(|t| &t.node).collect();
    assert_eq!(nodes.len(), depth);
    assert!(profile.busy_us() > 0.0 && profile.timings[depth - 1].start_us > 0.0);
    let stamps = matches!(&backend.backend, Backend::Gpu(gpu) if gpu.caps().timestamps);
    let source = match backend.is_gpu() {
        false => TimeSource::Calls,
        true if stamps => TimeSource::Timestamps,
        true => TimeSource::Waits,
    };
    assert_eq!(profile.source, source);
    Ok(())
}

fn empty_tensors_dispatch_nothing(backend: &Named) -> Result<(), Failed> {
    let mut session = session(backend, 2, buckets())?;
    check(&mut session, 2, 0)?;
    check(&mut session, 2, 1)?;
    Ok(())
}

fn wrong_inputs_are_named(backend: &Named) -> Result<(), Failed> {
    let mut session = session(backend, 1, SessionOptions::default())?;
    let good = Tensor::from_f32(&[2, 3], &[1.0; 6])?;
    let wide = Tensor::from_f32(&[2, 4], &[1.0; 8])?;
    let whole = Tensor::from_i32(&[2, 3], &[1; 6])?;
    let cases: [(&[(&str, &Tensor)], &str); 4] = [
        (&[], "'x'"),
        (&[("x", &wide)], "dimension 1"),
        (&[("x", &whole)], "I32"),
        (&[("x", &good), ("z", &good)], "z"),
    ];
    for (inputs, named) in cases {
        let error = session.run_blocking(inputs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(named), "{error}");
    }
    check(&mut session, 1, 2)
}

fn outputs_may_be_inputs_or_constants(backend: &Named) -> Result<(), Failed> {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, [2.into()])?;
    let c = g.constant("c", Tensor::from_f32(&[3], &[1.0, 2.0, 3.0])?)?;
    let folded = g.op1(Affine { scale: 2.0, shift: 1.0 }, &[c])?;
    g.output("x", x)?;
    g.output("c", c)?;
    g.output("folded", folded)?;
    let mut session =
        Session::new_blocking(g.finish()?, &backend.backend, SessionOptions::default())?;
    let outputs = session.run_blocking(&[("x", &Tensor::from_f32(&[2], &[8.0, 9.0])?)])?;
    let values: Vec<_> = outputs.iter().map(|(_, t)| t.to_f32().unwrap()).collect();
    assert_eq!(values, [vec![8.0, 9.0], vec![1.0, 2.0, 3.0], vec![3.0, 5.0, 7.0]]);
    assert_eq!(session.graph().nodes().len(), 0);
    Ok(())
}

/// What a state held when it was reshaped stays, though the state is updated
/// before the result is used.
fn a_reshaped_state_is_a_value(backend: &Named) -> Result<(), Failed> {
    let mut g = GraphBuilder::new();
    let cache = g.state("cache", DType::F32, [1.into(), 1.into(), 3.into(), 2.into()], None)?;
    let update = g.input("update", DType::F32, [1.into(), 1.into(), 1.into(), 2.into()])?;
    let at = g.input("at", DType::I32, [1.into()])?;
    let before = g.reshape(cache, &[6.into()])?;
    let next = g.tensor_scatter(cache, update, at)?;
    let after = g.reshape(next, &[6.into()])?;
    let doubled = g.op1(Affine { scale: 2.0, shift: 0.0 }, &[before])?;
    g.output("before", before)?;
    g.output("doubled", doubled)?;
    g.output("after", after)?;
    let mut session =
        Session::new_blocking(g.finish()?, &backend.backend, SessionOptions::default())?;
    let old = Tensor::from_f32(&[1, 1, 3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    session.set_state_blocking("cache", &old)?;
    let update = Tensor::from_f32(&[1, 1, 1, 2], &[8.0, 9.0])?;
    let at = Tensor::from_i32(&[1], &[1])?;
    let outputs = session.run_blocking(&[("update", &update), ("at", &at)])?;
    let values: Vec<_> = outputs.iter().map(|(_, t)| t.to_f32().unwrap()).collect();
    assert_eq!(values[0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(values[1], [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    assert_eq!(values[2], [1.0, 2.0, 8.0, 9.0, 5.0, 6.0]);
    Ok(())
}

/// The sum of a cache's first rows, and a cache besides that has no room for
/// many: its size is the cube of the capacity.
fn caches() -> Result<Graph, Failed> {
    let mut g = GraphBuilder::new();
    let capacity = g.symbol("capacity");
    let size = wginfer::graph::Dim::from(capacity);
    let narrow = [1.into(), 2.into(), size.clone(), 2.into()];
    let wide = [1.into(), 1.into(), size.clone(), 4.into()];
    let narrow = g.state("narrow", DType::F32, narrow, Some(2))?;
    let wide = g.state("wide", DType::F32, wide, Some(2))?;
    g.state("huge", DType::F32, [size.clone(), size.clone(), size], None)?;
    for (name, state) in [("narrow", narrow), ("wide", wide)] {
        let half = g.op1(Affine { scale: 0.5, shift: 0.0 }, &[state])?;
        g.output(name, half)?;
    }
    Ok(g.finish()?)
}

/// What the caches are filled with, for a capacity of 4.
fn contents() -> Result<[(&'static str, Tensor); 2], Failed> {
    let narrow: Vec<f32> = (0..16).map(|i| i as f32 + 1.0).collect();
    let wide: Vec<f32> = (0..16).map(|i| -(i as f32)).collect();
    Ok([
        ("narrow", Tensor::from_f32(&[1, 2, 4, 2], &narrow)?),
        ("wide", Tensor::from_f32(&[1, 1, 4, 4], &wide)?),
    ])
}

fn filled(backend: &Named) -> Result<Session, Failed> {
    let symbols = [("capacity".to_string(), 4)].into();
    let options = SessionOptions { symbols, ..SessionOptions::default() };
    let mut session = Session::new_blocking(caches()?, &backend.backend, options)?;
    for (name, content) in &contents()? {
        session.set_state_blocking(name, content)?;
    }
    Ok(session)
}

/// States and outputs of [`caches`] hold what they held at a capacity of 4, in
/// rows of now `capacity` slots.
fn check_caches(session: &mut Session, capacity: usize) -> Result<(), Failed> {
    let outputs = session.run_blocking(&[])?;
    for ((name, content), (_, half)) in contents()?.iter().zip(&outputs) {
        let groups = content.extents()[1];
        let row = content.len() / groups;
        let mut want = vec![0.0; row / 4 * capacity * groups];
        let kept = row / 4 * capacity.min(4);
        let rows = want.chunks_mut(row / 4 * capacity);
        for (want, content) in rows.zip(content.to_f32()?.chunks(row)) {
            want[..kept].copy_from_slice(&content[..kept]);
        }
        let state = session.state_blocking(name)?;
        assert_eq!(state.extents()[2], capacity, "{name}");
        assert_eq!(state.to_f32()?, want, "{name}");
        let twice: Vec<f32> = half.to_f32()?.iter().map(|half| 2.0 * half).collect();
        assert_eq!(twice, want, "{name}");
    }
    Ok(())
}

fn a_state_grows(backend: &Named) -> Result<(), Failed> {
    let mut session = filled(backend)?;
    check_caches(&mut session, 4)?;
    for capacity in [5, 11, 3] {
        backend.backend.block_on(session.set_symbol("capacity", capacity))?;
        check_caches(&mut session, capacity as usize)?;
        for (name, content) in contents()?.iter().filter(|_| capacity == 11) {
            // Back to what it was before it loses something.
            backend.backend.block_on(session.set_symbol("capacity", 4))?;
            assert_eq!(&session.state_blocking(name)?.to_f32()?, &content.to_f32()?);
        }
    }
    Ok(())
}

fn a_growth_that_fails(backend: &Named) -> Result<(), Failed> {
    let mut session = filled(backend)?;
    check_caches(&mut session, 4)?;
    // 2^62 bytes: the smaller caches have grown by then.
    let error = backend.backend.block_on(session.set_symbol("capacity", 1 << 20)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit | ErrorKind::OutOfMemory), "{error}");
    assert!(error.to_string().contains("huge"), "{error}");
    check_caches(&mut session, 4)?;
    backend.backend.block_on(session.set_symbol("capacity", 6))?;
    check_caches(&mut session, 6)?;
    // From the beginning it is an error too.
    let symbols = [("capacity".to_string(), 1 << 20)].into();
    let options = SessionOptions { symbols, ..SessionOptions::default() };
    let error = Session::new_blocking(caches()?, &backend.backend, options).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit | ErrorKind::OutOfMemory), "{error}");
    let named = if backend.is_gpu() { "the model (0 bytes of weights, 46" } else { "'huge'" };
    assert!(error.to_string().contains(named), "{error}");
    Ok(())
}

/// On a device; on the CPU weights stay where they are.
fn progress_ends_at_the_total(backend: &Named) -> Result<(), Failed> {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, [1.into()])?;
    let lengths = [1usize, 1000, 700_000, 3];
    for (i, &length) in lengths.iter().enumerate() {
        let tensor = Tensor::from_f32(&[length], &vec![1.0; length])?;
        let constant = g.constant(&format!("c{i}"), tensor)?;
        let sum = g.add(x, constant)?;
        g.output(&format!("sum{i}"), sum)?;
    }
    let mut told = Vec::new();
    let mut progress = |done: u64, total: u64| told.push((done, total));
    let options = SessionOptions::default();
    let session = Session::with_progress(g.finish()?, &backend.backend, options, &mut progress);
    drop(backend.backend.block_on(session)?);
    if !backend.is_gpu() {
        assert_eq!(told, []);
        return Ok(());
    }
    let total = 4 * lengths.iter().sum::<usize>() as u64;
    assert!(told.iter().all(|(done, all)| *all == total && *done <= total), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "{told:?}");
    assert_eq!(told.last(), Some(&(total, total)));
    Ok(())
}

/// Opens a device of its own, since other tests hold memory of the shared one.
fn fresh(backend: &Named) -> Result<Option<Named>, Failed> {
    let Backend::Gpu(gpu) = &backend.backend else { return Ok(None) };
    let gpu = pollster::block_on(gpu.reopen())?;
    Ok(Some(Named { name: backend.name.clone(), backend: Backend::Gpu(gpu) }))
}

fn memory_goes_back(backend: &Named) -> Result<(), Failed> {
    let Some(backend) = fresh(backend)? else { return Ok(()) };
    let Backend::Gpu(gpu) = &backend.backend else { return Ok(()) };
    let mut session = session(&backend, 6, buckets())?;
    check(&mut session, 6, 64)?;
    assert!(gpu.memory().in_use() > 0);
    drop(session);
    gpu.trim();
    assert_eq!((gpu.memory().in_use(), gpu.memory().total), (0, 0));
    Ok(())
}

fn a_lost_device_is_typed(backend: &Named) -> Result<(), Failed> {
    let Some(lost) = fresh(backend)? else { return Ok(()) };
    let Backend::Gpu(gpu) = &lost.backend else { return Ok(()) };
    let mut first = session(&lost, 2, SessionOptions::default())?;
    check(&mut first, 2, 4)?;
    gpu.lose_for_test();
    let x = Tensor::from_f32(&[4, 3], &values(4))?;
    let error = first.run_blocking(&[("x", &x)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceLost, "{error}");
    let again = fresh(&lost)?.ok_or("a device")?;
    check(&mut session(&again, 2, SessionOptions::default())?, 2, 4)
}
