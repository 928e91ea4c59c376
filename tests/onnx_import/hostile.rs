//! Broken and hostile files: typed errors, bounded work, never a crash.

use super::build::*;
use libtest_mimic::Failed;
use prost::Message;
use wginfer::formats::onnx;
use wginfer::formats::onnx::proto::{FunctionProto, GraphProto, ModelProto, TensorProto};
use wginfer::gpu::DeviceCaps;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, DType, Error, ErrorKind, Tensor};

pub const TESTS: &[(&str, super::Free)] = &[
    ("truncated_files_are_refused_or_read", truncated),
    ("flipped_bits_never_crash", flipped),
    ("thousands_of_mutations_never_crash", mutated),
    ("structure_is_checked", structure),
    ("tensors_are_checked", tensors),
    ("nesting_and_functions_are_bounded", bounded),
    ("many_messages_are_refused", many),
];

/// A model with a bit of everything.
fn everything() -> ModelProto {
    let body = net(
        vec![node("Gather", &["v", "order"], &["w"]), node("Identity", &["k"], &["go"])],
        vec![info("i", INT64, &[]), info("k", BOOL, &[]), info("v", FLOAT, &[D::N(3)])],
        &["go", "w", "w"],
        vec![wholes("order", &[3], &[1, 2, 0])],
    );
    let nodes = vec![
        with(node("Constant", &[], &["m"]), vec![tensor("value", wholes("", &[], &[3]))]),
        with(node("Loop", &["m", "yes", "x"], &["end", "all"]), vec![graph("body", body)]),
        with(node("Softmax", &["all"], &["p"]), vec![int("axis", 1)]),
        node("Shape", &["p"], &["s"]),
        node("Reshape", &["p", "s"], &["y"]),
    ];
    let inputs = vec![info("x", FLOAT, &[D::N(3)])];
    model(net(nodes, inputs, &["y", "end"], vec![truth("yes", true)]))
}

/// Reads a file and runs what it holds.
fn read(bytes: Vec<u8>) -> Result<(), Error> {
    let model = Model::from_bytes("hostile.onnx", bytes)?;
    let options = OnnxOptions { most_steps: 50, ..OnnxOptions::default() };
    let mut session = OnnxSession::new(model, &Backend::Cpu, options)?;
    let x = Tensor::from_f32(&[3], &[1.0, 2.0, 3.0])?;
    session.run_blocking(&[("x", &x)]).map(|_| ())
}

fn judged(result: Result<(), Error>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
            false
        }
    }
}

fn truncated() -> Result<(), Failed> {
    let bytes = everything().encode_to_vec();
    read(bytes.clone())?;
    let good = (0..bytes.len()).filter(|&end| judged(read(bytes[..end].to_vec()))).count();
    assert!(good < 4, "{good} truncated files were read");
    Ok(())
}

fn flipped() -> Result<(), Failed> {
    let bytes = everything().encode_to_vec();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            refused += usize::from(!judged(read(bytes)));
        }
    }
    assert!(refused > bytes.len(), "only {refused} of {} were refused", 8 * bytes.len());
    Ok(())
}

/// Operators whose sizes come from numbers in the file.
fn sizes() -> ModelProto {
    let window = vec![ints("pads", &[1; 4]), ints("strides", &[2, 1])];
    let nodes = vec![
        node("Expand", &["x", "wide"], &["a"]),
        node("Tile", &["a", "twice"], &["b"]),
        node("Reshape", &["b", "square"], &["c"]),
        with(node("Conv", &["c", "w"], &["d"]), window),
        node("Pad", &["d", "edges"], &["e"]),
        with(node("TopK", &["e", "few"], &["f", "places"]), vec![int("axis", 3)]),
        node("NonZero", &["f"], &["g"]),
        with(node("ConstantOfShape", &["few"], &["h"]), vec![]),
        node("Range", &["zero", "end", "one"], &["i"]),
        with(node("Concat", &["h", "x"], &["j"]), vec![int("axis", 0)]),
        with(node("OneHot", &["i", "end", "pair"], &["k"]), vec![int("axis", -1)]),
    ];
    let constants = vec![
        wholes("wide", &[2], &[4, 3]),
        wholes("twice", &[2], &[1, 2]),
        wholes("square", &[4], &[1, 2, 4, 3]),
        floats("w", &[3, 2, 3, 3], &[0.25; 54]),
        wholes("edges", &[8], &[0, 0, 1, 0, 0, 0, 0, 2]),
        wholes("few", &[1], &[3]),
        wholes("zero", &[], &[0]),
        wholes("end", &[], &[5]),
        wholes("one", &[], &[1]),
        floats("pair", &[2], &[0.0, 1.0]),
    ];
    let inputs = vec![info("x", FLOAT, &[D::N(3)])];
    model(net(nodes, inputs, &["f", "g", "j", "k"], constants))
}

/// Numbers that are the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end.max(1)
    }

    /// Bytes changed, put in, taken out, or copied from elsewhere in the file.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const ODD: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
        let at = self.below(bytes.len());
        let end = bytes.len().min(at + 1 + self.below(12));
        match self.below(6) {
            0 => bytes[at] = ODD[self.below(ODD.len())],
            1 => bytes[at] = self.below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, part);
            }
            4 => {
                let odd = ODD[self.below(ODD.len())];
                let count = 1 + self.below(10);
                bytes.splice(at..at, vec![odd; count]);
            }
            _ => {
                let from = self.below(bytes.len() + 1 - (end - at));
                bytes.copy_within(from..from + (end - at), at);
            }
        }
    }
}

/// Reads a file and imports what it holds. What it asks for may be as large as it likes
/// as long as nobody runs it.
fn imported(bytes: Vec<u8>) -> Result<(), Error> {
    let model = Model::from_bytes("hostile.onnx", bytes)?;
    let survey = model.survey(&[("x", DType::F32, &[3])], &DeviceCaps::webgpu_minimum());
    survey.problem.map_or(Ok(()), Err)
}

/// Up to six changes at once, of networks whose sizes and structure are in the file.
fn mutated() -> Result<(), Failed> {
    const EACH: usize = 2000;
    type Read = fn(Vec<u8>) -> Result<(), Error>;
    let mut draw = Draw(1);
    let all: [(&str, ModelProto, Read); 3] = [
        ("everything", everything(), read),
        ("sizes", sizes(), imported),
        ("everything, imported", everything(), imported),
    ];
    for (name, model, read) in all {
        let good = model.encode_to_vec();
        read(good.clone())?;
        let (mut refused, mut slowest) = (0, std::time::Duration::ZERO);
        for _ in 0..EACH {
            let mut bytes = good.clone();
            for _ in 0..=draw.below(6) {
                if !bytes.is_empty() {
                    draw.mutate(&mut bytes);
                }
            }
            let begun = std::time::Instant::now();
            refused += usize::from(!judged(read(bytes)));
            slowest = slowest.max(begun.elapsed());
        }
        println!("{name}: {refused} of {EACH} refused, {slowest:.1?} at most");
        assert!(refused > EACH / 2, "{name}: only {refused} of {EACH} were refused");
    }
    Ok(())
}

fn refused(graph: GraphProto, part: &str) {
    let error = onnx::parse(bytes(graph), "hostile.onnx").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format, "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

fn structure() -> Result<(), Failed> {
    let x = || vec![info("x", FLOAT, &[D::N(3)])];
    let id = |from: &str, to: &str| node("Identity", &[from], &[to]);
    let cycle = vec![id("b", "a"), id("a", "b")];
    refused(net(cycle, x(), &["b"], vec![]), "reads 'b', which node 'Identity_b' makes");
    refused(net(vec![id("a", "b")], x(), &["b"], vec![]), "node 'Identity_b': reads 'a', which");
    refused(net(vec![id("x", "b"), id("x", "b")], x(), &["b"], vec![]), "defined already");
    refused(net(vec![id("x", "x")], x(), &["x"], vec![]), "defined already");
    refused(net(vec![id("x", "b")], x(), &["c"], vec![]), "output 'c': nothing makes it");
    let negative = vec![info("x", FLOAT, &[D::N(-1), D::N(-3)])];
    refused(net(vec![id("x", "b")], negative, &["b"], vec![]), "input 'x': a dimension of -3");
    let twice = vec![info("x", FLOAT, &[]), info("x", FLOAT, &[])];
    refused(net(vec![id("x", "b")], twice, &["b"], vec![]), "given twice");
    let constants = vec![floats("w", &[1], &[1.0]), floats("w", &[1], &[1.0])];
    refused(net(vec![id("x", "b")], x(), &["b"], constants), "initializer 'w': given twice");
    let same = vec![with(id("x", "b"), vec![int("a", 1), int("a", 2)])];
    refused(net(same, x(), &["b"], vec![]), "attribute 'a' given twice");
    let outside = vec![with(id("x", "b"), vec![refer("a", "b", 2)])];
    refused(net(outside, x(), &["b"], vec![]), "outside one");
    let inside = net(vec![id("nowhere", "t")], vec![], &["t"], vec![]);
    let attributes = vec![graph("then_branch", inside.clone()), graph("else_branch", inside)];
    let branch = vec![with(node("If", &["x"], &["b"]), attributes)];
    refused(net(branch, x(), &["b"], vec![]), "node 'If_b': reads 'nowhere'");
    let error = onnx::parse(Vec::new(), "hostile.onnx").unwrap_err();
    assert!(error.to_string().contains("no graph"), "{error}");
    let mut unversioned = model(net(vec![id("x", "b")], x(), &["b"], vec![]));
    unversioned.opset_import.clear();
    let error = onnx::parse(unversioned.encode_to_vec(), "hostile.onnx").unwrap_err();
    assert!(error.to_string().contains("no version"), "{error}");
    unversioned.ir_version = Some(2);
    onnx::parse(unversioned.encode_to_vec(), "old.onnx")?;
    Ok(())
}

fn tensors() -> Result<(), Failed> {
    let with_tensor = |tensor: TensorProto| {
        net(
            vec![node("Identity", &["x"], &["y"])],
            vec![info("x", FLOAT, &[])],
            &["y"],
            vec![tensor],
        )
    };
    let dims = |dims: &[i64]| floats("w", dims, &[1.0, 2.0]);
    refused(with_tensor(dims(&[3])), "8 bytes where type and extents need 12");
    refused(with_tensor(dims(&[-2])), "negative extent");
    refused(with_tensor(dims(&[i64::MAX, i64::MAX])), "larger than any file");
    refused(with_tensor(dims(&[1 << 40, 1 << 40, 0])), "larger than any file");
    refused(with_tensor(dims(&[1 << 40])), "where type and extents need");
    refused(with_tensor(dims(&[1; 9])), "rank 9");
    let int32 = |data_type, values: &[i32]| TensorProto {
        name: "w".into(),
        data_type,
        dims: vec![2],
        int32_data: values.to_vec(),
        ..TensorProto::default()
    };
    refused(with_tensor(int32(2, &[0, 256])), "256 is no U8");
    refused(with_tensor(int32(3, &[0, -129])), "-129 is no I8");
    refused(with_tensor(int32(9, &[0, 2])), "truth value");
    refused(with_tensor(int32(2, &[0])), "1 elements where the extents need 2");
    refused(with_tensor(TensorProto { data_location: 7, ..dims(&[2]) }), "data location 7");
    refused(with_tensor(TensorProto { data_location: 1, ..dims(&[2]) }), "both here and");
    // A type nobody reads is no error before it is used.
    onnx::parse(bytes(with_tensor(TensorProto { data_type: 99, ..dims(&[2]) })), "odd.onnx")?;
    Ok(())
}

/// Bodies in bodies, functions that call themselves, functions that double.
fn bounded() -> Result<(), Failed> {
    let mut inner = net(vec![node("Identity", &["x"], &["t"])], vec![], &["t"], vec![]);
    for depth in 0..60 {
        let out = format!("t{depth}");
        let branch = vec![graph("then_branch", inner.clone())];
        inner = net(vec![with(node("If", &["x"], &[&out]), branch)], vec![], &[&out], vec![]);
    }
    inner.input = vec![info("x", BOOL, &[])];
    refused(inner, "nested deeper");
    let call = |name: &str, from: &str, to: &str| {
        let mut call = node(name, &[from], &[to]);
        call.domain = "f".into();
        call
    };
    let function = |name: &str, nodes| FunctionProto {
        name: name.into(),
        domain: "f".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: nodes,
        ..FunctionProto::default()
    };
    let main = |functions: Vec<FunctionProto>| {
        let first = functions[0].name.clone();
        let graph = net(vec![call(&first, "x", "y")], vec![info("x", FLOAT, &[])], &["y"], vec![]);
        ModelProto { functions, ..model(graph) }.encode_to_vec()
    };
    let itself = main(vec![function("A", vec![call("A", "a", "b")])]);
    let error = onnx::parse(itself, "hostile.onnx").unwrap_err();
    assert!(error.to_string().contains("calls itself"), "{error}");
    let names: Vec<String> = (0..40).map(|i| format!("F{i}")).collect();
    let doubling = names
        .windows(2)
        .map(|pair| function(&pair[0], vec![call(&pair[1], "a", "c"), call(&pair[1], "c", "b")]));
    let mut functions: Vec<_> = doubling.collect();
    functions.push(function(&names[39], vec![node("Identity", &["a"], &["b"])]));
    let error = onnx::parse(main(functions), "hostile.onnx").unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
    Ok(())
}

/// Two bytes of file each, some hundred bytes of memory each.
fn many() -> Result<(), Failed> {
    let nodes = [0x0a, 0x00].repeat(3 << 20);
    let mut bytes = vec![0x3a];
    let mut length = nodes.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(nodes);
    let error = onnx::parse(bytes, "hostile.onnx").unwrap_err();
    assert!(error.to_string().contains("messages"), "{error}");
    Ok(())
}
