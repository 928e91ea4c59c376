//! ONNX models through the importer: reading, inputs, stages, broken files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod build;
mod control;
mod crossing;
mod files;
mod hostile;
mod memory;
mod mixed;
mod random;
mod sequences;
#[path = "../support/mod.rs"]
mod support;
mod values;
mod written;

use build::*;
use libtest_mimic::{Arguments, Failed, Trial};
use support::backends::{self, Named};
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{ErrorKind, Tensor};

type Body = fn(&Named) -> Result<(), Failed>;
/// A test that needs no backend.
type Free = fn() -> Result<(), Failed>;

const BODIES: &[(&str, Body)] = &[
    ("a_branch_is_taken_by_an_input", control::branch_by_input),
    ("a_branch_is_taken_by_a_computed_value", control::branch_by_value),
    ("a_known_loop_is_one_graph", control::known_loop),
    ("a_loop_runs_while_its_condition_holds", control::while_loop),
    ("a_long_loop_runs_step_by_step", control::long_loop),
    ("loops_nest_and_see_what_is_around", control::nested_loops),
    ("a_loop_without_iterations_gives_empty_tensors", control::no_iterations),
    ("a_loop_without_end_is_stopped", control::endless_loop),
    ("a_scan_goes_both_ways", control::scan),
    ("shapes_may_depend_on_values", control::shape_from_value),
    ("weights_are_shared_by_all_sizes", mixed::weights_are_shared),
    ("nodes_forced_to_the_cpu_are_reported", mixed::forced_nodes),
    ("a_branch_reads_back_its_condition_alone", crossing::branch),
    ("data_dependent_rows_read_back_what_they_depend_on", crossing::non_zero),
    ("what_the_host_looks_at_is_still_the_devices", crossing::looked_at),
    ("a_loop_keeps_on_the_device_what_it_carries", crossing::looped),
    ("values_that_swap_are_not_overwritten", crossing::swapped),
    ("memory_is_little_more_than_what_is_alive", crossing::memory),
    ("networks_of_several_kinds_take_little_memory", memory::several_kinds),
    ("wide_constants_are_read_on_the_cpu", mixed::wide_constants),
    ("nodes_may_be_in_any_order", written::unsorted),
    ("no_function_hides_what_is_no_number", written::no_number),
    ("powers_of_any_sign_are_right", written::powers),
    ("ends_are_aligned_as_the_producer_means", written::aligned_ends),
    ("refused_nodes_are_named_at_once", written::several_refused),
    ("refused_nodes_behind_runs_are_named_at_once", written::refused_behind_runs),
    ("random_numbers_are_new_in_every_run", random::runs),
    ("a_seed_makes_backends_and_runs_alike", random::seeds),
    ("iterations_draw_numbers_of_their_own", random::loops),
    ("what_is_drawn_may_be_a_result_or_decide", random::results),
    ("chances_are_kept", random::chances),
    ("elements_of_sequences_have_names", sequences::names),
    ("optional_values_may_be_absent", sequences::optional),
    ("elements_of_sequences_stay_on_the_device", sequences::kept),
    ("strings_come_and_go", sequences::strings),
    ("what_the_host_computes_is_reported", sequences::reported),
    ("initializers_are_defaults_of_inputs", files::defaults),
    ("sparse_tensors_are_read", files::sparse),
    ("dimensions_without_a_name_are_free", files::free_dims),
    ("any_value_can_be_an_output", files::any_value_is_an_output),
    ("sizes_are_planned_once_each", sizes_are_planned_once_each),
    ("wrong_inputs_are_named", wrong_inputs_are_named),
    ("missing_operators_are_named_at_once", missing_operators),
    ("functions_are_expanded", functions_are_expanded),
    ("a_profile_names_what_works", a_profile_names_what_works),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends::all() {
        for (name, body) in BODIES {
            let backend = backend.clone();
            trials.push(Trial::test(format!("onnx_import::{}::{name}", backend.name), move || {
                body(&backend)
            }));
        }
    }
    trials.extend(values::trials());
    for (name, body) in hostile::TESTS.iter().chain(files::TESTS).chain(written::TESTS) {
        trials.push(Trial::test(format!("onnx_import::{name}"), *body));
    }
    backends::conclude(&arguments, trials);
}

pub fn session(backend: &Named, graph: wginfer::formats::onnx::proto::GraphProto) -> OnnxSession {
    let model = Model::from_bytes("test.onnx", bytes(graph)).unwrap();
    OnnxSession::new(model, &backend.backend, OnnxOptions::default()).unwrap()
}

fn softmax(x: &[f32], width: usize) -> Vec<f32> {
    let row = |row: &[f32]| {
        let sum: f32 = row.iter().map(|v| v.exp()).sum();
        row.iter().map(|v| v.exp() / sum).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(row).collect()
}

pub fn close(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= 1e-5 * e.abs().max(1.0), "{got:?} is not {expected:?}");
    }
}

fn rows() -> wginfer::formats::onnx::proto::GraphProto {
    let nodes = vec![with(node("Softmax", &["x"], &["y"]), vec![int("axis", -1)])];
    net(nodes, vec![info("x", FLOAT, &[D::S("rows"), D::N(3)])], &["y"], Vec::new())
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 23) as f32 / 7.0 - 1.5).collect()
}

fn sizes_are_planned_once_each(backend: &Named) -> Result<(), Failed> {
    let mut session = session(backend, rows());
    for (runs, rows) in [2, 5, 1, 5, 2, 1, 2].into_iter().enumerate() {
        let x = values(rows * 3);
        let outputs = session.run_blocking(&[("x", &Tensor::from_f32(&[rows, 3], &x)?)])?;
        let (name, y) = &outputs[0];
        assert_eq!((name.as_str(), y.extents()), ("y", &[rows, 3][..]));
        close(&y.to_f32()?, &softmax(&x, 3));
        let counters = session.counters();
        let sizes = (runs as u64 + 1).min(3);
        assert_eq!((counters.stages, counters.plans), (sizes, sizes));
    }
    Ok(())
}

fn wrong_inputs_are_named(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![node("Softmax", &["x"], &["y"]), node("Softmax", &["z"], &["w"])];
    let dims = [D::S("rows"), D::N(3)];
    let inputs = vec![info("x", FLOAT, &dims), info("z", FLOAT, &[D::Any, D::S("rows")])];
    let mut session = session(backend, net(nodes, inputs, &["y", "w"], Vec::new()));
    let x = Tensor::from_f32(&[2, 3], &values(6))?;
    let z = Tensor::from_f32(&[1, 2], &values(2))?;
    let long = Tensor::from_f32(&[1, 3], &values(3))?;
    let wide = Tensor::from_f32(&[2, 4], &values(8))?;
    let flat = Tensor::from_f32(&[6], &values(6))?;
    let whole = Tensor::from_i32(&[2, 3], &[1; 6])?;
    let cases: [(&[(&str, &Tensor)], &str); 7] = [
        (&[("x", &x)], "input 'z': expected F32[?, rows], got nothing"),
        (&[("x", &wide), ("z", &z)], "3 in dimension 1 of F32[rows, 3]"),
        (&[("x", &flat), ("z", &z)], "expected F32[rows, 3], got F32[6]"),
        (&[("x", &whole), ("z", &z)], "got I32[2, 3]"),
        (&[("x", &x), ("z", &long)], "'rows' is 2 by input 'x'"),
        (&[("x", &x), ("z", &z), ("q", &z)], "one of [\"x\", \"z\"], got q"),
        (&[("x", &x), ("x", &x), ("z", &z)], "one value, got two"),
    ];
    for (inputs, expected) in cases {
        let error = session.run_blocking(inputs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(expected), "{error}");
    }
    session.run_blocking(&[("x", &x), ("z", &z)])?;
    Ok(())
}

fn missing_operators(backend: &Named) -> Result<(), Failed> {
    let mut odd = node("Frobnicate", &["y"], &["z"]);
    odd.domain = "com.example".into();
    let nodes = vec![
        node("Softmax", &["x"], &["y"]),
        odd,
        node("NoSuchOperator", &["z"], &["a"]),
        node("NoSuchOperator", &["a"], &["b"]),
    ];
    let graph = net(nodes, vec![info("x", FLOAT, &[D::N(3)])], &["b"], Vec::new());
    let model = Model::from_bytes("test.onnx", bytes(graph))?;
    assert_eq!(model.missing().len(), 2);
    let error = OnnxSession::new(model, &backend.backend, OnnxOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    for part in ["com.example.Frobnicate", "NoSuchOperator at opset 21", "Operator_a", "Operator_b"]
    {
        assert!(text.contains(part), "{text}");
    }
    Ok(())
}

/// The mean of a picture becomes a pool and a change of shape, which have the name of
/// their node in common and take time or none.
fn a_profile_names_what_works(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![node("GlobalAveragePool", &["x"], &["y"])];
    let inputs = vec![info("x", FLOAT, &[D::N(1), D::N(2), D::N(3), D::N(3)])];
    let mut session = session(backend, net(nodes, inputs, &["y"], Vec::new()));
    let x = Tensor::from_f32(&[1, 2, 3, 3], &values(18))?;
    let (_, profiles) = backend.backend.block_on(session.profile(&[("x", &x)]))?;
    let work: Vec<_> = profiles.iter().flat_map(|profile| profile.by_operator()).collect();
    assert!(matches!(&work[..], [(op, 1, _)] if op == "AveragePool"), "{work:?}");
    Ok(())
}

/// A function that calls another one, with an attribute that is handed on, a
/// default, names that stand on both sides, and a result that is an input.
fn functions_are_expanded(backend: &Named) -> Result<(), Failed> {
    use wginfer::formats::onnx::proto::{FunctionProto, OperatorSetIdProto, attribute_type};
    let opset = vec![
        OperatorSetIdProto { domain: String::new(), version: 17 },
        OperatorSetIdProto { domain: "local".into(), version: 1 },
    ];
    let axis = refer("axis", "along", attribute_type::INT);
    let inner = FunctionProto {
        name: "Inner".into(),
        domain: "local".into(),
        input: vec!["x".into()],
        output: vec!["y".into()],
        attribute: vec!["along".into()],
        node: vec![
            with(node("Softmax", &["x"], &["t"]), vec![axis.clone()]),
            with(node("Softmax", &["t"], &["y"]), vec![axis]),
        ],
        opset_import: opset.clone(),
        ..FunctionProto::default()
    };
    let mut call = node("Inner", &["a"], &["t"]);
    call.domain = "local".into();
    let outer = FunctionProto {
        name: "Outer".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["t".into()],
        attribute_proto: vec![int("direction", 0)],
        node: vec![with(call, vec![refer("along", "direction", attribute_type::INT)])],
        opset_import: opset,
        ..FunctionProto::default()
    };
    let mut first = node("Outer", &["x"], &["t"]);
    first.domain = "local".into();
    let mut second = with(node("Outer", &["x"], &["u"]), vec![int("direction", 1)]);
    second.domain = "local".into();
    let graph = net(
        vec![first, second],
        vec![info("x", FLOAT, &[D::N(2), D::N(3)])],
        &["t", "u"],
        Vec::new(),
    );
    let mut model = model(graph);
    model.functions = vec![inner, outer];
    let bytes = prost::Message::encode_to_vec(&model);
    let model = Model::from_bytes("test.onnx", bytes)?;
    let mut session = OnnxSession::new(model, &backend.backend, OnnxOptions::default())?;
    let x = values(6);
    let outputs = session.run_blocking(&[("x", &Tensor::from_f32(&[2, 3], &x)?)])?;
    let columns: Vec<f32> = [0, 3, 1, 4, 2, 5].iter().map(|&i| x[i]).collect();
    let columns = softmax(&softmax(&columns, 2), 2);
    let columns: Vec<f32> = [0, 2, 4, 1, 3, 5].iter().map(|&i| columns[i]).collect();
    close(&outputs[0].1.to_f32()?, &columns);
    close(&outputs[1].1.to_f32()?, &softmax(&softmax(&x, 3), 3));
    Ok(())
}
