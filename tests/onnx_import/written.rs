//! How nodes are written down: their order, their attributes, their inputs.

use super::build::*;
use super::support::backends::Named;
use super::{close, session};
use libtest_mimic::Failed;
use prost::Message;
use wginfer::formats::onnx::proto::{GraphProto, NodeProto};
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, ErrorKind, Tensor};

pub const TESTS: &[(&str, super::Free)] = &[("unknown_attributes_and_inputs_are_refused", surplus)];

/// `y = exp(-relu(x))` from behind, with a branch that reads what is made later.
pub fn unsorted(backend: &Named) -> Result<(), Failed> {
    let body = |op: &str| net(vec![node(op, &["minus"], &["b"])], vec![], &["b"], vec![]);
    let branches = vec![graph("then_branch", body("Exp")), graph("else_branch", body("Identity"))];
    let nodes = vec![
        with(node("If", &["yes"], &["y"]), branches),
        node("Neg", &["positive"], &["minus"]),
        node("Relu", &["x"], &["positive"]),
    ];
    let inputs = vec![info("x", FLOAT, &[D::N(3)])];
    let mut session = session(backend, net(nodes, inputs, &["y"], vec![truth("yes", true)]));
    let x = Tensor::from_f32(&[3], &[1.0, -2.0, 0.5])?;
    let outputs = session.run_blocking(&[("x", &x)])?;
    close(&outputs[0].1.to_f32()?, &[(-1f32).exp(), 1.0, (-0.5f32).exp()]);
    Ok(())
}

/// Three elements become four and a half: with the ends aligned, PyTorch means four by
/// that (`torch.nn.functional.interpolate`), ONNX's own implementation the fraction.
pub fn aligned_ends(backend: &Named) -> Result<(), Failed> {
    let step = |length: f32| (0..4).map(|i| i as f32 * 2.0 / (length - 1.0)).collect::<Vec<_>>();
    for (producer, length) in [("pytorch", 4.0), ("tests", 4.5)] {
        let attributes =
            vec![text("mode", "linear"), text("coordinate_transformation_mode", "align_corners")];
        let nodes = vec![with(node("Resize", &["x", "", "scales"], &["y"]), attributes)];
        let inputs = vec![info("x", FLOAT, &[D::N(3)])];
        let mut model = model(net(nodes, inputs, &["y"], vec![floats("scales", &[1], &[1.5])]));
        model.producer_name = producer.into();
        let model = Model::from_bytes("test.onnx", model.encode_to_vec())?;
        let mut session = OnnxSession::new(model, &backend.backend, OnnxOptions::default())?;
        let x = Tensor::from_f32(&[3], &[0.0, 1.0, 2.0])?;
        let outputs = session.run_blocking(&[("x", &x)])?;
        close(&outputs[0].1.to_f32()?, &step(length));
    }
    Ok(())
}

/// Two nodes with values of attributes that nobody has, one behind the first, and
/// one that is fine.
pub fn several_refused(backend: &Named) -> Result<(), Failed> {
    let said = |name: &str, value: &str| {
        let mut said = int(name, 0);
        said.r#type = 3;
        said.s = Some(value.as_bytes().to_vec().into());
        said
    };
    let nodes = vec![
        with(node("Pad", &["x", "pads"], &["a"]), vec![said("mode", "mirror")]),
        node("Neg", &["a"], &["b"]),
        node("Relu", &["x"], &["c"]),
        with(node("Gelu", &["c"], &["d"]), vec![said("approximate", "some")]),
    ];
    let inputs = vec![info("x", FLOAT, &[D::N(3)])];
    let graph = net(nodes, inputs, &["b", "d"], vec![wholes("pads", &[2], &[1, 1])]);
    let error = refused_at_load(backend, graph)?;
    for part in ["Pad_a", "mirror", "Gelu_d", "some"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("Neg_b"), "{error}");
    Ok(())
}

/// What loading a model of unsupported nodes says.
fn refused_at_load(backend: &Named, graph: GraphProto) -> Result<String, Failed> {
    let model = Model::from_bytes("test.onnx", bytes(graph))?;
    let error = OnnxSession::new(model, &backend.backend, OnnxOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(error.to_string())
}

/// Nodes with what nobody has: behind a count that only a run can tell, and in a loop
/// whose length only a run can tell. One more is in a branch that a run may not take.
pub fn refused_behind_runs(backend: &Named) -> Result<(), Failed> {
    let gelu = |input: &str, output: &str| {
        with(node("Gelu", &[input], &[output]), vec![text("approximate", "some")])
    };
    let step = net(
        vec![node("Identity", &["go"], &["more"]), gelu("v", "w"), node("Relu", &["v"], &["s"])],
        vec![info("i", INT64, &[]), info("go", BOOL, &[]), info("v", FLOAT, &[D::S("n")])],
        &["more", "s", "w"],
        vec![],
    );
    let branch = |made: NodeProto| net(vec![made], vec![], &["b"], vec![]);
    let branches = vec![
        graph("then_branch", branch(node("Relu", &["x"], &["b"]))),
        graph("else_branch", branch(gelu("x", "b"))),
    ];
    let nodes = vec![
        node("NonZero", &["x"], &["places"]),
        with(node("Cast", &["places"], &["numbers"]), vec![int("to", 1)]),
        gelu("numbers", "a"),
        node("ReduceSum", &["x"], &["sum"]),
        with(node("Cast", &["sum"], &["yes"]), vec![int("to", 9)]),
        with(node("If", &["yes"], &["c"]), branches),
        with(node("Loop", &["", "yes", "x"], &["last", "all"]), vec![graph("body", step)]),
        with(node("Cast", &["places"], &["strange"]), vec![int("to", 14)]),
    ];
    let inputs = vec![info("x", FLOAT, &[D::S("n")])];
    let error = refused_at_load(
        backend,
        net(nodes, inputs, &["a", "c", "last", "all", "strange"], vec![]),
    )?;
    for part in ["Gelu_a", "Gelu_w", "some", "Cast_strange", "COMPLEX64"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("Gelu_b"), "{error}");
    Ok(())
}

fn surplus() -> Result<(), Failed> {
    let refused = |wrong: NodeProto, expected: &str| {
        let inputs = vec![info("x", FLOAT, &[D::N(1), D::N(1), D::N(3)])];
        let weights = vec![floats("w", &[1, 1, 1], &[2.0])];
        let body = net(vec![wrong], inputs, &["y"], weights);
        let model = Model::from_bytes("test.onnx", bytes(body)).unwrap();
        let error = OnnxSession::new(model, &Backend::Cpu, OnnxOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    let conv = node("Conv", &["x", "w"], &["y"]);
    refused(
        with(conv, vec![ints("stride", &[2])]),
        "attribute 'stride' of Conv, which has auto_pad",
    );
    refused(with(node("Relu", &["x"], &["y"]), vec![int("bogus", 1)]), "which has none");
    refused(node("Relu", &["x", "w"], &["y"]), "2 inputs of Relu, which takes 1 at most");
    refused(node("Conv", &["x"], &["y"]), "1 inputs of Conv, which takes 2 at least");
    Ok(())
}

/// What is no number says that something went wrong before; no function hides it.
pub fn no_number(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        node("Relu", &["x"], &["a"]),
        node("Clip", &["x", "low", "high"], &["b"]),
        node("Max", &["x", "z"], &["c"]),
        node("Min", &["x", "z"], &["d"]),
        node("Max", &["z", "x"], &["e"]),
        node("Min", &["z", "x"], &["f"]),
        node("LeakyRelu", &["x"], &["g"]),
        node("Softplus", &["x"], &["h"]),
        node("Sign", &["x"], &["i"]),
        with(node("Cast", &["x"], &["true"]), vec![int("to", i64::from(BOOL))]),
        with(node("Cast", &["true"], &["j"]), vec![int("to", i64::from(FLOAT))]),
    ];
    let dims = [D::N(4)];
    let inputs = vec![info("x", FLOAT, &dims), info("z", FLOAT, &dims)];
    let constants = vec![floats("low", &[], &[-1.0]), floats("high", &[], &[1.0])];
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut session = session(backend, net(nodes, inputs, &names, constants));
    let x = Tensor::from_f32(&[4], &[f32::NAN, 2.0, f32::NAN, -3.0])?;
    let z = Tensor::from_f32(&[4], &[0.0, 1.0, -7.0, f32::NAN])?;
    let mut outputs = session.run_blocking(&[("x", &x), ("z", &z)])?;
    let (_, truth) = outputs.remove(9);
    close(&truth.to_f32()?, &[1.0; 4]);
    for (name, y) in &outputs {
        let y = y.to_f32()?;
        assert!(y[0].is_nan() && y[2].is_nan() && !y[1].is_nan(), "{name}: {y:?}");
        let of_both = ["c", "d", "e", "f"].contains(&name.as_str());
        assert_eq!(y[3].is_nan(), of_both, "{name}: {y:?}");
    }
    close(&outputs[0].1.to_f32()?[1..2], &[2.0]);
    close(&outputs[1].1.to_f32()?[1..2], &[1.0]);
    close(&outputs[2].1.to_f32()?[1..2], &[2.0]);
    close(&outputs[3].1.to_f32()?[1..2], &[1.0]);
    Ok(())
}

/// Powers of what is negative or zero, where they are real, infinite, or none.
pub fn powers(backend: &Named) -> Result<(), Failed> {
    let dims = [D::N(10)];
    let inputs = vec![info("x", FLOAT, &dims), info("e", FLOAT, &dims)];
    let mut session =
        session(backend, net(vec![node("Pow", &["x", "e"], &["y"])], inputs, &["y"], vec![]));
    let x = [0.0, 0.0, 0.0, -8.0, -2.0, -2.0, -0.5, 1.0, -8.0, 3.0];
    let e = [-1.0, 2.5, 0.0, 1.0 / 3.0, 3.0, -2.0, 0.5, -7.5, 0.0, 2.0];
    let (x, e) = (Tensor::from_f32(&[10], &x)?, Tensor::from_f32(&[10], &e)?);
    let y = session.run_blocking(&[("x", &x), ("e", &e)])?[0].1.to_f32()?;
    assert!(y[0] == f32::INFINITY && y[3].is_nan() && y[6].is_nan(), "{y:?}");
    let rest: Vec<f32> = [1, 2, 4, 5, 7, 8, 9].map(|i: usize| y[i]).into();
    close(&rest, &[0.0, 1.0, -8.0, 0.25, 1.0, 1.0, 9.0]);
    Ok(())
}
