//! Sequences, optional values and strings: how they are handed in and out, and
//! what goes between host and device for them.

use super::build::*;
use super::support::backends::Named;
use super::{close, session, values};
use libtest_mimic::Failed;
use wginfer::formats::onnx::proto::{
    ElementTypeProto, NodeProto, TensorProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use wginfer::onnx::{Fate, OnnxValue};
use wginfer::{DType, ErrorKind, Tensor};

const STRING: i32 = 8;

fn plain(elem_type: i32) -> TypeProto {
    let tensor = TensorTypeProto { elem_type, shape: None };
    TypeProto { tensor_type: Some(tensor), ..TypeProto::default() }
}

fn around(inner: TypeProto) -> Option<Box<ElementTypeProto>> {
    Some(Box::new(ElementTypeProto { elem_type: Some(inner) }))
}

fn sequence(inner: TypeProto) -> TypeProto {
    TypeProto { sequence_type: around(inner), ..TypeProto::default() }
}

fn typed(name: &str, ty: TypeProto) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), r#type: Some(ty) }
}

fn row(values: &[f32]) -> Tensor {
    Tensor::from_f32(&[values.len()], values).unwrap()
}

/// `s` with the softmax of its first element behind it.
fn longer() -> (Vec<NodeProto>, Vec<TensorProto>) {
    let nodes = vec![
        node("SequenceAt", &["s", "zero"], &["first"]),
        with(node("Softmax", &["first"], &["soft"]), vec![int("axis", 0)]),
        node("SequenceInsert", &["s", "soft"], &["t"]),
    ];
    (nodes, vec![wholes("zero", &[], &[0])])
}

pub fn names(backend: &Named) -> Result<(), Failed> {
    let (nodes, constants) = longer();
    let inputs = vec![typed("s", sequence(plain(FLOAT)))];
    let mut session = session(backend, net(nodes, inputs, &["t"], constants));
    assert_eq!(session.model().inputs()[0].to_string(), "sequence(F32[..])");
    let (a, b) = (row(&[1.0, 2.0]), row(&[3.0, 4.0, 5.0]));
    let outputs = session.run_blocking(&[("s[1]", &b), ("s[0]", &a)])?;
    let names: Vec<_> = outputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["t[0]", "t[1]", "t[2]"]);
    assert_eq!(outputs[1].1.to_f32()?, [3.0, 4.0, 5.0]);
    close(&outputs[2].1.to_f32()?, &super::softmax(&[1.0, 2.0], 2));
    let wrong: [(&[(&str, &Tensor)], &str); 5] = [
        (&[], "input 's': expected sequence(F32[..]), got nothing"),
        (&[("s[1]", &a)], "'s[0]'"),
        (&[("s[0]", &a), ("s[0]", &b)], "one value, got two"),
        (&[("s", &a)], "got a tensor"),
        (&[("s[0]", &Tensor::from_i32(&[1], &[1])?)], "got I32[1]"),
    ];
    for (given, expected) in wrong {
        let error = session.run_blocking(given).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(expected), "{error}");
    }
    // Nothing is the first of an empty sequence.
    let error = session.run_values_blocking(vec![("s".into(), OnnxValue::Sequence(vec![]))]);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("SequenceAt") && error.contains("position 0 of 0"), "{error}");
    Ok(())
}

fn optional_value(there: bool) -> Option<OnnxValue> {
    there.then(|| OnnxValue::Tensor(row(&[1.0, -2.0])))
}

pub fn optional(backend: &Named) -> Result<(), Failed> {
    let kept = net(
        vec![node("OptionalGetElement", &["o"], &["inner"]), node("Neg", &["inner"], &["minus"])],
        vec![],
        &["minus"],
        vec![],
    );
    let other = net(vec![node("Identity", &["else"], &["same"])], vec![], &["same"], vec![]);
    let branches = vec![graph("then_branch", kept), graph("else_branch", other)];
    let nodes = vec![
        node("OptionalHasElement", &["o"], &["there"]),
        with(node("If", &["there"], &["y"]), branches),
        node("Identity", &["o"], &["same_o"]),
    ];
    let inputs = vec![typed("o", optional_type())];
    let constants = vec![floats("else", &[1], &[7.0])];
    let graph = net(nodes, inputs, &["y", "there", "same_o"], constants);
    let mut session = session(backend, graph);
    for there in [true, false, true] {
        let given = optional_value(there).map(|value| ("o".to_string(), value));
        let outputs = session.run_values_blocking(given.into_iter().collect())?;
        let y = outputs[0].1.tensor().unwrap().to_f32()?;
        assert_eq!(y, if there { vec![-1.0, 2.0] } else { vec![7.0] });
        assert_eq!(outputs[1].1.tensor().unwrap().bytes()[0], u8::from(there));
        assert_eq!(matches!(outputs[2].1, OnnxValue::Nothing), !there);
    }
    // Without a name for nothing, it is left out.
    assert_eq!(session.run_blocking(&[])?.len(), 2);
    Ok(())
}

fn optional_type() -> TypeProto {
    TypeProto { optional_type: around(plain(FLOAT)), ..TypeProto::default() }
}

/// A sequence that crosses a stage: its elements stay where they are.
pub fn kept(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        with(node("Softmax", &["x"], &["soft"]), vec![int("axis", 1)]),
        with(node("SplitToSequence", &["soft"], &["rows"]), vec![int("axis", 0)]),
        // The host must look at one number, which ends the stage.
        node("ArgMax", &["pick"], &["at"]),
        node("Squeeze", &["at"], &["one"]),
        node("SequenceAt", &["rows", "one"], &["row"]),
        with(node("ConcatFromSequence", &["rows"], &["all"]), vec![int("axis", 0)]),
        node("Add", &["all", "row"], &["y"]),
    ];
    let inputs = vec![info("x", FLOAT, &[D::N(64), D::N(64)]), info("pick", FLOAT, &[D::Any])];
    let mut session = session(backend, net(nodes, inputs, &["y"], vec![]));
    let x = values(64 * 64);
    let soft = super::softmax(&x, 64);
    for chosen in [3usize, 40, 3] {
        let mut pick = [0.0; 64];
        pick[chosen] = 1.0;
        let tensor = Tensor::from_f32(&[64, 64], &x)?;
        let outputs = session.run_blocking(&[("x", &tensor), ("pick", &row(&pick))])?;
        let expected: Vec<f32> =
            (0..64 * 64).map(|i| soft[i] + soft[chosen * 64 + i % 64]).collect();
        close(&outputs[0].1.to_f32()?, &expected);
        let report = session.report();
        assert_eq!(report.stages, 2);
        if backend.is_gpu() {
            // The result, and the position.
            let result = 64 * 64 * 4;
            assert!((result..result + 64).contains(&report.bytes_to_host), "{report:?}");
        }
    }
    Ok(())
}

fn words(extents: &[usize], words: &[&str]) -> Tensor {
    Tensor::from_strings(extents, words).unwrap()
}

pub fn strings(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        node("Identity", &["x"], &["y"]),
        node("Gather", &["x", "places"], &["chosen"]),
        node("Neg", &["n"], &["m"]),
    ];
    let inputs = vec![
        info("x", STRING, &[D::Any]),
        info("places", INT64, &[D::Any]),
        info("n", FLOAT, &[D::Any]),
    ];
    let mut session = session(backend, net(nodes, inputs, &["y", "chosen", "m"], vec![]));
    let places = |at: &[i64]| Tensor::from_i64(&[at.len()], at).unwrap();
    for text in [["a", "b", "ä"], ["longer text", "", "c"]] {
        let x = words(&[3], &text);
        let (at, n) = (places(&[2, 0]), row(&[1.0]));
        let outputs = session.run_blocking(&[("x", &x), ("places", &at), ("n", &n)])?;
        assert_eq!(outputs[0].1.to_strings()?, text);
        assert_eq!(outputs[1].1.to_strings()?, [text[2], text[0]]);
        assert_eq!(outputs[2].1.to_f32()?, [-1.0]);
    }
    // Other text of the same extents is not another import.
    let before = session.counters().stages;
    let (x, at, n) = (words(&[3], &["p", "q", "r"]), places(&[1, 1]), row(&[1.0]));
    session.run_blocking(&[("x", &x), ("places", &at), ("n", &n)])?;
    assert_eq!(session.counters().stages, before);
    let error = session.run_blocking(&[("x", &x), ("places", &places(&[3])), ("n", &n)]);
    assert!(error.unwrap_err().to_string().contains("Gather_chosen"));
    // Numbers cannot be made of them where none are expected.
    let nodes = vec![node("Neg", &["x"], &["y"])];
    let graph = net(nodes, vec![info("x", STRING, &[D::Any])], &["y"], vec![]);
    let mut session = super::session(backend, graph);
    let error = session.run_blocking(&[("x", &x)]).unwrap_err().to_string();
    assert!(error.contains("Neg_y") && error.contains("strings"), "{error}");
    Ok(())
}

pub fn reported(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        node("StringNormalizer", &["x"], &["y"]),
        node("Shape", &["y"], &["extents"]),
        with(node("Cast", &["extents"], &["f"]), vec![int("to", 1)]),
        node("Add", &["f", "n"], &["z"]),
    ];
    let inputs = vec![info("x", STRING, &[D::Any]), info("n", FLOAT, &[D::Any])];
    let mut session = session(backend, net(nodes, inputs, &["z", "y"], vec![]));
    let (x, n) = (words(&[2], &["A", "b"]), row(&[0.5, 1.5]));
    let outputs = session.run_blocking(&[("x", &x), ("n", &n)])?;
    assert_eq!(outputs[0].1.to_f32()?, [2.5, 3.5]);
    assert_eq!((outputs[1].1.dtype(), outputs[1].1.extents()), (DType::String, &[2][..]));
    let caps = wginfer::gpu::DeviceCaps::webgpu_minimum();
    let survey =
        session.model().survey(&[("x", DType::String, &[2]), ("n", DType::F32, &[2])], &caps);
    let fates: Vec<_> = survey.nodes.iter().map(|(node, fate)| (&*node.op_type, fate)).collect();
    assert!(survey.problem.is_none());
    assert!(matches!(fates[0], ("StringNormalizer", Fate::Cpu(_))), "{fates:?}");
    assert!(matches!(fates[3], ("Add", Fate::Unknown)), "{fates:?}");
    let fallbacks = session.report().fallbacks;
    let nodes: Vec<_> = fallbacks.iter().map(|fallback| fallback.operator.as_str()).collect();
    match backend.is_gpu() {
        true => assert_eq!(nodes, ["StringNormalizer"]),
        false => assert!(nodes.is_empty()),
    }
    assert_eq!(session.counters().dispatches > 0, backend.is_gpu());
    Ok(())
}
