//! What files hold: tensors of all types, weights in other files, defaults.

use super::build::*;
use super::support::backends::Named;
use super::{close, session};
use libtest_mimic::Failed;
use wginfer::formats::onnx::proto::{
    AttributeProto, SparseTensorProto, StringStringEntryProto, TensorProto, attribute_type,
};
use wginfer::formats::onnx::{self, Constant};
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{DType, ErrorKind, Tensor};

pub const TESTS: &[(&str, super::Free)] = &[
    ("tensors_of_all_types_are_read", all_types),
    ("weights_may_be_in_files_beside", external),
    ("files_outside_the_folder_are_refused", escapes),
    #[cfg(unix)]
    ("links_of_a_cache_of_revisions_are_followed", cached),
    ("outputs_that_do_not_exist_are_named", unknown_outputs),
];

/// Some exporters give every free dimension the same name, a question mark, or -1.
pub fn free_dims(backend: &Named) -> Result<(), Failed> {
    let dims = [D::S("?"), D::N(-1), D::S("-1"), D::S("None")];
    let inputs = vec![info("x", FLOAT, &dims)];
    let mut session =
        session(backend, net(vec![node("Neg", &["x"], &["y"])], inputs, &["y"], vec![]));
    let x = Tensor::from_f32(&[1, 2, 3, 4], &[1.5; 24])?;
    let outputs = session.run_blocking(&[("x", &x)])?;
    close(&outputs[0].1.to_f32()?, &[-1.5; 24]);
    Ok(())
}

/// `y = relu(-x)`, `z = exp(y)`, and a node that cannot be imported.
fn three_steps() -> std::sync::Arc<Model> {
    let nodes = vec![
        node("Neg", &["x"], &["minus"]),
        node("Relu", &["minus"], &["y"]),
        node("Add", &["y", "wrong"], &["broken"]),
        node("Exp", &["y"], &["z"]),
    ];
    let inputs = vec![info("x", FLOAT, &[D::N(3)])];
    let constants = vec![floats("wrong", &[7], &[0.0; 7])];
    Model::from_bytes("test.onnx", bytes(net(nodes, inputs, &["z", "broken"], constants))).unwrap()
}

pub fn any_value_is_an_output(backend: &Named) -> Result<(), Failed> {
    let model = three_steps().with_outputs(&["z", "minus", "x"])?;
    assert!(model.outputs()[1].dtype.is_none(), "the file says nothing of it");
    let mut session = OnnxSession::new(model, &backend.backend, OnnxOptions::default())?;
    let x = Tensor::from_f32(&[3], &[1.0, 0.0, -2.0])?;
    let outputs = session.run_blocking(&[("x", &x)])?;
    let names: Vec<_> = outputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["z", "minus", "x"]);
    close(&outputs[0].1.to_f32()?, &[1.0, 1.0, 2f32.exp()]);
    close(&outputs[1].1.to_f32()?, &[-1.0, 0.0, 2.0]);
    close(&outputs[2].1.to_f32()?, &[1.0, 0.0, -2.0]);
    Ok(())
}

fn unknown_outputs() -> Result<(), Failed> {
    for names in [&["nobody"][..], &[""], &["y", "y"]] {
        let error = three_steps().with_outputs(names).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains(names[0]), "{error}");
    }
    Ok(())
}

pub fn defaults(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![node("Gather", &["x", "order"], &["y"])];
    let inputs = vec![info("x", FLOAT, &[D::N(3)]), info("order", INT64, &[D::Any])];
    let constants = vec![wholes("order", &[3], &[1, 2, 0])];
    let mut session = session(backend, net(nodes, inputs, &["y"], constants));
    let x = Tensor::from_f32(&[3], &[1.0, 2.0, 3.0])?;
    let outputs = session.run_blocking(&[("x", &x)])?;
    close(&outputs[0].1.to_f32()?, &[2.0, 3.0, 1.0]);
    let order = Tensor::new(DType::I64, &[1], 2i64.to_le_bytes().to_vec())?;
    let outputs = session.run_blocking(&[("x", &x), ("order", &order)])?;
    close(&outputs[0].1.to_f32()?, &[3.0]);
    Ok(())
}

/// A result that is listed twice is one; sparse tensors are what they stand for.
pub fn sparse(backend: &Named) -> Result<(), Failed> {
    let sparse = |name: &str| SparseTensorProto {
        values: Some(floats(name, &[2], &[5.0, 7.0])),
        indices: Some(wholes("", &[2, 2], &[0, 1, 1, 2])),
        dims: vec![2, 3],
    };
    let value = AttributeProto {
        name: "sparse_value".into(),
        r#type: attribute_type::SPARSE_TENSOR,
        sparse_tensor: Some(Box::new(sparse(""))),
        ..AttributeProto::default()
    };
    let nodes = vec![
        with(node("Constant", &[], &["c"]), vec![value]),
        node("Add", &["x", "c"], &["sum"]),
        node("Add", &["sum", "w"], &["y"]),
    ];
    let mut graph = net(nodes, vec![info("x", FLOAT, &[D::N(3)])], &["y", "y"], vec![]);
    graph.sparse_initializer = vec![sparse("w")];
    let mut session = session(backend, graph);
    let x = Tensor::from_f32(&[3], &[1.0, 2.0, 3.0])?;
    let outputs = session.run_blocking(&[("x", &x)])?;
    assert_eq!(outputs.len(), 1);
    close(&outputs[0].1.to_f32()?, &[1.0, 12.0, 3.0, 1.0, 2.0, 17.0]);
    Ok(())
}

fn constant(tensor: TensorProto) -> Result<Constant, wginfer::Error> {
    let name = tensor.name.clone();
    let nodes = vec![node("Identity", &["x"], &["y"])];
    let graph = net(nodes, vec![info("x", FLOAT, &[])], &["y"], vec![tensor]);
    let file = onnx::parse(bytes(graph), "test.onnx")?;
    Ok(file.graph.initializers[&name].clone())
}

fn all_types() -> Result<(), Failed> {
    let i32s =
        |values: &[i32]| TensorProto { int32_data: values.to_vec(), ..TensorProto::default() };
    let f32s = TensorProto { float_data: vec![1.0, -2.0], ..TensorProto::default() };
    let i64s = TensorProto { int64_data: vec![-1, i64::MAX], ..TensorProto::default() };
    let f64s = TensorProto { double_data: vec![1.0, -0.5], ..TensorProto::default() };
    let u64s =
        |values: &[u64]| TensorProto { uint64_data: values.to_vec(), ..TensorProto::default() };
    let wide = |values: [u64; 2]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let cases: Vec<(i32, TensorProto, DType, Vec<u8>)> = vec![
        (1, f32s, DType::F32, [1f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (2, i32s(&[0, 255]), DType::U8, vec![0, 255]),
        (3, i32s(&[-128, 127]), DType::I8, vec![0x80, 0x7f]),
        (4, i32s(&[1, 65535]), DType::U16, vec![1, 0, 255, 255]),
        (5, i32s(&[-1, 2]), DType::I16, vec![255, 255, 2, 0]),
        (6, i32s(&[-1, 2]), DType::I32, vec![255, 255, 255, 255, 2, 0, 0, 0]),
        (7, i64s, DType::I64, wide([u64::MAX, i64::MAX as u64])),
        (9, i32s(&[0, 1]), DType::Bool, vec![0, 1]),
        (10, i32s(&[0x3c00, 0xc000]), DType::F16, vec![0, 0x3c, 0, 0xc0]),
        (11, f64s, DType::F64, [1f64, -0.5].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (12, u64s(&[7, u32::MAX.into()]), DType::U32, vec![7, 0, 0, 0, 255, 255, 255, 255]),
        (13, u64s(&[7, u64::MAX]), DType::U64, wide([7, u64::MAX])),
        (16, i32s(&[0x3f80, 0]), DType::BF16, vec![0x80, 0x3f, 0, 0]),
        (17, i32s(&[0x38, 0xb8]), DType::F8E4M3FN, vec![0x38, 0xb8]),
        (21, i32s(&[0xf3]), DType::U4, vec![3, 15]),
        (22, i32s(&[0xf3]), DType::I4, vec![3, 255]),
        (23, i32s(&[0x2a]), DType::F4E2M1, vec![10, 2]),
        (25, i32s(&[0b0110]), DType::U2, vec![2, 1]),
        (26, i32s(&[0b0110]), DType::I2, vec![0xfe, 1]),
    ];
    for (code, mut proto, dtype, expected) in cases {
        (proto.name, proto.data_type, proto.dims) = ("w".into(), code, vec![2]);
        let typed = constant(proto)?;
        let raw = match dtype {
            DType::U4 | DType::I4 => vec![0xf3],
            DType::F4E2M1 => vec![0x2a],
            DType::U2 | DType::I2 => vec![0b0110],
            _ => expected.clone(),
        };
        let raw = TensorProto {
            name: "w".into(),
            data_type: code,
            dims: vec![2],
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        };
        for value in [typed, constant(raw)?] {
            let Constant::Tensor(tensor) = value else { panic!("{dtype} is unsupported") };
            assert_eq!((tensor.dtype(), &tensor.bytes()[..]), (dtype, &expected[..]));
        }
    }
    let text = TensorProto {
        name: "w".into(),
        data_type: 8,
        dims: vec![1],
        string_data: vec![(&b"text"[..]).into()],
        ..TensorProto::default()
    };
    let Constant::Tensor(tensor) = constant(text.clone())? else { panic!("no strings") };
    assert_eq!(tensor.to_strings()?, ["text"]);
    let broken = TensorProto { string_data: vec![(&b"\xff"[..]).into()], ..text.clone() };
    assert!(constant(broken).unwrap_err().to_string().contains("UTF-8"));
    let raw = TensorProto { raw_data: Some(vec![0; 8].into()), ..text.clone() };
    assert!(constant(raw).is_err());
    let complex = TensorProto { data_type: 14, string_data: vec![], ..text };
    assert!(matches!(constant(complex)?, Constant::Unsupported(what) if what == "COMPLEX64"));
    Ok(())
}

fn outside(location: &str, offset: &str, length: &str) -> TensorProto {
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    TensorProto {
        name: "w".into(),
        data_type: FLOAT,
        dims: vec![2, 3],
        data_location: 1,
        external_data: vec![
            entry("location", location),
            entry("offset", offset),
            entry("length", length),
        ],
        ..TensorProto::default()
    }
}

fn with_outside(tensor: TensorProto) -> Vec<u8> {
    let nodes = vec![node("Gather", &["w", "at"], &["y"])];
    bytes(net(nodes, vec![info("at", INT64, &[D::Any])], &["y"], vec![tensor]))
}

fn external() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("weights"))?;
    let values: Vec<u8> = (0..8).flat_map(|i| (i as f32).to_le_bytes()).collect();
    std::fs::write(folder.path().join("weights/all.bin"), values)?;
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, with_outside(outside("weights/all.bin", "8", "24")))?;
    let model = Model::open(&path)?;
    let Some(Constant::Tensor(tensor)) = model.file().graph.initializers.get("w") else {
        panic!("no tensor");
    };
    assert!(tensor.bytes().is_mapped());
    assert_eq!(tensor.to_f32()?, [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    // Not without a folder.
    let error = Model::from_bytes("test.onnx", std::fs::read(&path)?).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format, "{error}");
    Ok(())
}

/// The cache of `huggingface_hub`: `snapshots/REVISION` has links to `blobs`.
#[cfg(unix)]
fn cached() -> Result<(), Failed> {
    let around = tempfile::tempdir()?;
    let (blobs, folder) = (around.path().join("blobs"), around.path().join("snapshots/abc/onnx"));
    std::fs::create_dir(&blobs)?;
    std::fs::create_dir_all(&folder)?;
    let values: Vec<u8> = (0..8).flat_map(|i| (i as f32).to_le_bytes()).collect();
    std::fs::write(blobs.join("123"), values)?;
    std::fs::write(blobs.join("456"), with_outside(outside("all.bin", "8", "24")))?;
    std::fs::write(around.path().join("secret"), [0u8; 64])?;
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(around.path().join(to), folder.join(name))
    };
    link("blobs/123", "all.bin")?;
    link("blobs/456", "model.onnx")?;
    Model::open(folder.join("model.onnx"))?;
    std::fs::remove_file(folder.join("all.bin"))?;
    link("secret", "all.bin")?;
    let error = Model::open(folder.join("model.onnx")).unwrap_err();
    assert!(error.to_string().contains("leads out of the model's folder"), "{error}");
    Ok(())
}

fn escapes() -> Result<(), Failed> {
    let around = tempfile::tempdir()?;
    let folder = around.path().join("model");
    std::fs::create_dir(&folder)?;
    std::fs::write(around.path().join("secret.bin"), [0u8; 64])?;
    std::fs::write(folder.join("short.bin"), [0u8; 20])?;
    #[cfg(unix)]
    std::os::unix::fs::symlink(around.path().join("secret.bin"), folder.join("link.bin"))?;
    let absolute = around.path().join("secret.bin").display().to_string();
    let path = folder.join("model.onnx");
    let cases = [
        ("../secret.bin", "0", "24"),
        (absolute.as_str(), "0", "24"),
        ("link.bin", "0", "24"),
        ("", "0", "24"),
        ("..\\secret.bin", "0", "24"),
        ("short.bin", "0", "24"),
        ("short.bin", "18446744073709551615", "24"),
        ("short.bin", "-1", "24"),
        ("short.bin", "0", "23"),
        ("missing.bin", "0", "24"),
        (".", "0", "24"),
    ];
    for (location, offset, length) in cases {
        std::fs::write(&path, with_outside(outside(location, offset, length)))?;
        let error = Model::open(&path).unwrap_err();
        let io = matches!(location, "missing.bin" | ".");
        let expected = if io { ErrorKind::Io } else { ErrorKind::Format };
        assert_eq!(error.kind(), expected, "{location}: {error}");
        assert!(error.to_string().contains("initializer 'w'"), "{location}: {error}");
    }
    Ok(())
}
