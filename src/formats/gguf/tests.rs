//! Reading back what the writer wrote. Broken files: `tests/gguf_hostile`.

use super::*;
use crate::error::ErrorKind;
use crate::tensor::{DType, Tensor};

fn reread(writer: &GgufWriter) -> GgufFile {
    GgufFile::parse(writer.to_bytes().unwrap(), "test.gguf").unwrap()
}

#[test]
fn every_value_type_survives() {
    let nested = MetaValue::Array(
        ValueType::Array,
        vec![vec![1u8, 2].into(), MetaValue::from(Vec::<u8>::new()), vec!["x"].into()],
    );
    let values: Vec<(&str, MetaValue)> = vec![
        ("u8", 200u8.into()),
        ("i8", (-5i8).into()),
        ("u16", 60000u16.into()),
        ("i16", (-300i16).into()),
        ("u32", u32::MAX.into()),
        ("i32", i32::MIN.into()),
        ("f32", 1.5f32.into()),
        ("bool", true.into()),
        ("str", "héllo".into()),
        ("u64", u64::MAX.into()),
        ("i64", i64::MIN.into()),
        ("f64", 0.1f64.into()),
        ("bools", vec![true, false].into()),
        ("strs", vec!["", "a", "日本"].into()),
        ("nested", nested),
    ];
    let mut writer = GgufWriter::new();
    for (key, value) in &values {
        writer.metadata(key, value.clone()).unwrap();
    }
    let file = reread(&writer);
    assert_eq!(file.metadata().iter().count(), values.len());
    // Copying what was read gives the same bytes: every value was read right.
    let mut again = GgufWriter::new();
    for (key, value) in file.metadata().iter() {
        again.copy(key, value).unwrap();
    }
    assert_eq!(writer.to_bytes().unwrap(), again.to_bytes().unwrap());

    let meta = file.metadata();
    assert_eq!(meta.u64_of("u64").unwrap(), u64::MAX);
    assert_eq!(meta.u64_of("u8").unwrap(), 200);
    assert_eq!(meta.f32_of("f64").unwrap(), 0.1f32);
    assert!(meta.bool_of("bool").unwrap());
    assert_eq!(meta.str_of("str").unwrap(), "héllo");
    assert_eq!(meta.strs_of("strs").unwrap().iter().collect::<Vec<_>>(), ["", "a", "日本"]);
    assert_eq!(meta.opt_u64("absent").unwrap(), None);
}

#[test]
fn getters_name_file_and_key() {
    let mut writer = GgufWriter::new();
    writer.metadata("neg", -1i32).unwrap().metadata("nan", f32::NAN).unwrap();
    writer.metadata("text", "abc").unwrap().metadata("mixed", vec![1u64, u64::MAX]).unwrap();
    let file = reread(&writer);
    let meta = file.metadata();
    let errors = [
        (meta.u64_of("neg").err(), "neg", "I32(-1)"),
        (meta.f32_of("nan").err(), "nan", "NaN"),
        (meta.u64_of("text").err(), "text", "'abc'"),
        (meta.bool_of("absent").err(), "absent", "missing"),
        (meta.strs_of("mixed").err(), "mixed", "[u64; 2]"),
        (meta.i64s_of("mixed").map(|_| ()).err(), "mixed", "64 bits"),
        (meta.f32s_of("mixed").map(|_| ()).err(), "mixed", "floating"),
    ];
    for (error, key, part) in errors {
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Format);
        let text = error.to_string();
        assert!(text.starts_with(&format!("test.gguf: key '{key}'")), "{text}");
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn arrays_of_numbers_are_read_in_order() {
    let mut writer = GgufWriter::new();
    writer.metadata("i", vec![3i32, -1, 7]).unwrap().metadata("f", vec![0.5f32, -2.0]).unwrap();
    let file = reread(&writer);
    let i = file.metadata().i64s_of("i").unwrap();
    assert_eq!((i.len(), i.collect::<Vec<_>>()), (3, vec![3, -1, 7]));
    let f = file.metadata().f32s_of("f").unwrap();
    assert_eq!((f.len(), f.collect::<Vec<_>>()), (2, vec![0.5, -2.0]));
}

#[test]
fn tensors_of_every_type_survive_at_every_alignment() {
    for alignment in [8, 32, 4096] {
        let mut writer = GgufWriter::new();
        writer.alignment(alignment).unwrap();
        let mut written = Vec::new();
        for dtype in DType::ALL {
            if GgmlType::from_dtype(dtype).is_none() {
                continue;
            }
            let extents = [3, 2 * dtype.block_len()];
            let bytes: Vec<u8> = (0..dtype.bytes(&extents).unwrap()).map(|i| i as u8).collect();
            let tensor = Tensor::new(dtype, &extents, bytes).unwrap();
            writer.tensor(dtype.name(), tensor.clone()).unwrap();
            written.push(tensor);
        }
        let file = reread(&writer);
        assert_eq!(file.alignment(), u64::from(alignment));
        assert_eq!(file.tensors().len(), written.len());
        for (info, wrote) in file.tensors().zip(&written) {
            let read = file.tensor(info.name()).unwrap();
            assert_eq!(read.dtype(), wrote.dtype());
            assert_eq!(read.extents(), wrote.extents());
            assert_eq!(read.bytes()[..], wrote.bytes()[..]);
            assert_eq!(info.offset() % u64::from(alignment), 0);
        }
    }
}

#[test]
fn ranks_from_scalar_to_four_keep_their_order() {
    let mut writer = GgufWriter::new();
    let all: [&[usize]; 6] = [&[], &[5], &[2, 3], &[2, 3, 4], &[2, 1, 3, 4], &[0, 3]];
    for extents in all {
        let n = extents.iter().product();
        let tensor = Tensor::from_f32(extents, &vec![1.0; n]).unwrap();
        writer.tensor(&format!("{extents:?}"), tensor).unwrap();
    }
    let file = reread(&writer);
    for extents in all {
        assert_eq!(file.tensor(&format!("{extents:?}")).unwrap().extents(), extents);
    }
}

#[test]
fn a_mapped_file_is_not_copied() {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let mut writer = GgufWriter::new();
    writer.tensor("w", Tensor::from_f32(&[4], &[1.0, 2.0, 3.0, 4.0]).unwrap()).unwrap();
    writer.save(&path).unwrap();
    let tensor = open(&path).unwrap().tensor("w").unwrap();
    assert!(tensor.bytes().is_mapped());
    assert_eq!(tensor.to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn opening_what_is_no_file_is_an_io_error() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(dir.path()).unwrap_err().kind(), ErrorKind::Io);
    let error = open(dir.path().join("absent.gguf")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("absent.gguf"));
    let empty = dir.path().join("empty.gguf");
    std::fs::write(&empty, b"").unwrap();
    assert_eq!(open(empty).unwrap_err().kind(), ErrorKind::Format);
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let one = || Tensor::from_f32(&[1], &[0.0]).unwrap();
    let mut w = GgufWriter::new();
    w.metadata("k", 1u8).unwrap().tensor("t", one()).unwrap();
    assert!(w.metadata("k", 2u8).is_err());
    assert!(w.metadata("", 2u8).is_err());
    assert!(w.metadata("general.alignment", 64u32).is_err());
    assert!(w.alignment(7).is_err() && w.alignment(4).is_err());
    assert!(w.metadata("m", MetaValue::Array(ValueType::U8, vec![1i8.into()])).is_err());
    let deep = (0..4).fold(MetaValue::U8(1), |v, _| MetaValue::Array(v.value_type(), vec![v]));
    assert!(w.metadata("deep", MetaValue::Array(ValueType::Array, vec![deep])).is_err());
    assert!(w.tensor("t", one()).is_err());
    assert!(w.tensor(&"n".repeat(64), one()).is_err());
    assert!(w.tensor("r", Tensor::from_f32(&[1; 5], &[0.0]).unwrap()).is_err());
    let boolean = Tensor::new(DType::Bool, &[1], vec![0u8]).unwrap();
    assert_eq!(w.tensor("b", boolean).err().map(|e| e.kind()), Some(ErrorKind::Unsupported));
    // What was refused left nothing behind.
    let file = reread(&w);
    assert_eq!((file.metadata().len(), file.tensors().len()), (1, 1));
}
