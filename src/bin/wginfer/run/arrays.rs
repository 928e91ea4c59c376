//! Tensors in NumPy's files.

use half::f16;
use npyz::{DType as NpyType, NpyFile, Order, TypeChar, WriterBuilder};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use wginfer::{DType, Error, Tensor};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    |source| Error::Io { path: path.into(), source }
}

fn format(path: &Path, at: impl Into<String>, what: impl Into<String>) -> Error {
    Error::Format { file: path.display().to_string(), at: at.into(), what: what.into() }
}

/// Reads a `.npy` file.
pub(super) fn read(path: &Path) -> Result<Tensor, Error> {
    let file = BufReader::new(File::open(path).map_err(io(path))?);
    let array = NpyFile::new(file).map_err(|e| format(path, "header", e.to_string()))?;
    tensor(array, path, "array")
}

/// What an array's name ends with in a `.npz` file, which is a ZIP archive.
const ENDING: &str = ".npy";

/// The names of the arrays of a `.npz` file.
pub(super) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let archive = archive(path)?;
    let mut names = Vec::new();
    for name in archive.file_names() {
        let name = name.map_err(|e| format(path, "archive", e.to_string()))?;
        names.extend(name.strip_suffix(ENDING).map(String::from));
    }
    Ok(names)
}

/// Reads an array of a `.npz` file.
pub(super) fn read_from(path: &Path, key: &str) -> Result<Tensor, Error> {
    let mut archive = archive(path)?;
    let file = match archive.by_name(&format!("{key}{ENDING}")) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => {
            let names = names(path)?;
            return Err(format(path, key, format!("there is no such array, but {names:?}")));
        }
        Err(error) => return Err(format(path, key, error.to_string())),
    };
    let array = NpyFile::new(file).map_err(|e| format(path, key, e.to_string()))?;
    tensor(array, path, key)
}

fn archive(path: &Path) -> Result<ZipArchive<BufReader<File>>, Error> {
    let file = BufReader::new(File::open(path).map_err(io(path))?);
    ZipArchive::new(file).map_err(|e| format(path, "archive", e.to_string()))
}

fn tensor<R: Read>(array: NpyFile<R>, path: &Path, at: &str) -> Result<Tensor, Error> {
    let extents: Vec<usize> = array.shape().iter().map(|&n| n as usize).collect();
    let fortran = array.order() == Order::Fortran && extents.len() > 1;
    let descr = array.dtype().descr();
    let dtype = match array.dtype() {
        NpyType::Plain(ty) => match (ty.type_char(), ty.num_bytes()) {
            (TypeChar::Float, Some(8)) => Some(DType::F64),
            (TypeChar::Float, Some(4)) => Some(DType::F32),
            (TypeChar::Float, Some(2)) => Some(DType::F16),
            (TypeChar::Int, Some(1)) => Some(DType::I8),
            (TypeChar::Int, Some(2)) => Some(DType::I16),
            (TypeChar::Int, Some(4)) => Some(DType::I32),
            (TypeChar::Int, Some(8)) => Some(DType::I64),
            (TypeChar::Uint, Some(1)) => Some(DType::U8),
            (TypeChar::Uint, Some(2)) => Some(DType::U16),
            (TypeChar::Uint, Some(4)) => Some(DType::U32),
            (TypeChar::Uint, Some(8)) => Some(DType::U64),
            (TypeChar::Bool, _) => Some(DType::Bool),
            (TypeChar::UnicodeStr | TypeChar::ByteStr, _) if !fortran => Some(DType::String),
            _ => None,
        },
        _ => None,
    };
    let wrong = |e: std::io::Error| format(path, at, e.to_string());
    macro_rules! elements {
        ($ty:ty) => {
            array
                .into_vec::<$ty>()
                .map_err(wrong)?
                .into_iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>()
        };
    }
    let bytes = match dtype {
        Some(DType::F32) => elements!(f32),
        Some(DType::F64) => elements!(f64),
        Some(DType::F16) => elements!(f16),
        Some(DType::I16) => elements!(i16),
        Some(DType::U16) => elements!(u16),
        Some(DType::U64) => elements!(u64),
        Some(DType::I8) => elements!(i8),
        Some(DType::I32) => elements!(i32),
        Some(DType::I64) => elements!(i64),
        Some(DType::U8) => elements!(u8),
        Some(DType::U32) => elements!(u32),
        Some(DType::String) => {
            return Tensor::from_strings(&extents, &array.into_vec::<String>().map_err(wrong)?);
        }
        Some(DType::Bool) => {
            array.into_vec::<bool>().map_err(wrong)?.into_iter().map(u8::from).collect()
        }
        _ => {
            return Err(Error::Unsupported {
                at: format!("{}: {at}", path.display()),
                what: format!("elements of type {descr}"),
            });
        }
    };
    let dtype = dtype.unwrap_or(DType::F32);
    let bytes = if fortran { row_major(&bytes, &extents, dtype.block_bytes()) } else { bytes };
    Tensor::new(dtype, &extents, bytes)
}

/// From an order in which the first dimension is the fastest.
fn row_major(bytes: &[u8], extents: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0; extents.len()];
    for _ in 0..extents.iter().product() {
        let at = index.iter().zip(extents).rev().fold(0, |at, (i, n)| at * n + i);
        out.extend_from_slice(&bytes[at * size..(at + 1) * size]);
        for axis in (0..extents.len()).rev() {
            index[axis] += 1;
            if index[axis] < extents[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

/// Writes a `.npz` file. A type that NumPy does not have becomes F32.
pub(super) fn write(path: &Path, tensors: &[(&str, &Tensor)]) -> Result<(), Error> {
    let zip = |e: ZipError| Error::Io { path: path.into(), source: e.into() };
    let mut archive = ZipWriter::new(BufWriter::new(File::create(path).map_err(io(path))?));
    for (name, tensor) in tensors {
        let options = SimpleFileOptions::default().large_file(true);
        archive.start_file(format!("{name}{ENDING}"), options).map_err(zip)?;
        archive.write_all(&array(tensor).map_err(io(path))?).map_err(io(path))?;
    }
    archive.finish().map_err(zip)?.flush().map_err(io(path))
}

/// A tensor as a `.npy` file.
fn array(tensor: &Tensor) -> std::io::Result<Vec<u8>> {
    let shape: Vec<u64> = tensor.extents().iter().map(|&n| n as u64).collect();
    let bytes: &[u8] = tensor.bytes();
    let mut out = Vec::new();
    macro_rules! add {
        ($values:expr) => {{
            let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
            let mut writer = options.writer(&mut out).begin_nd()?;
            writer.extend($values)?;
            writer.finish()?;
        }};
    }
    macro_rules! plain {
        ($ty:ty, $n:literal) => {
            add!(bytes.as_chunks::<$n>().0.iter().map(|b| <$ty>::from_le_bytes(*b)))
        };
    }
    match tensor.dtype() {
        DType::String => strings(tensor, &shape, &mut out)?,
        DType::F64 => plain!(f64, 8),
        DType::F16 => plain!(f16, 2),
        DType::I8 => plain!(i8, 1),
        DType::U8 => plain!(u8, 1),
        DType::I16 => plain!(i16, 2),
        DType::U16 => plain!(u16, 2),
        DType::I32 => plain!(i32, 4),
        DType::U32 => plain!(u32, 4),
        DType::I64 => plain!(i64, 8),
        DType::U64 => plain!(u64, 8),
        DType::Bool => add!(bytes.iter().map(|&b| b != 0)),
        _ => add!(tensor.to_f32().map_err(std::io::Error::other)?),
    }
    Ok(out)
}

/// Strings as NumPy's arrays of text, which have one width.
fn strings(tensor: &Tensor, shape: &[u64], out: &mut Vec<u8>) -> std::io::Result<()> {
    let words = tensor.to_strings().map_err(std::io::Error::other)?;
    let width = words.iter().map(|word| word.chars().count()).max().unwrap_or(0).max(1);
    let ty = format!("<U{width}").parse().map_err(std::io::Error::other)?;
    let options = npyz::WriteOptions::new().dtype(NpyType::Plain(ty)).shape(shape);
    let mut writer = options.writer(out).begin_nd()?;
    writer.extend(words.into_iter().map(String::from))?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let tensors = [
            ("f", Tensor::from_f32(&[2, 3], &[1.5, -0.0, 3.0, 4.0, 5.0, f32::MAX]).unwrap()),
            (
                "i",
                Tensor::new(DType::I64, &[2], [7i64, -1].map(i64::to_le_bytes).concat()).unwrap(),
            ),
            ("b", Tensor::new(DType::Bool, &[3], vec![1, 0, 1]).unwrap()),
            (
                "h",
                Tensor::new(DType::F16, &[1], f16::from_f32(0.1).to_le_bytes().to_vec()).unwrap(),
            ),
            ("scalar", Tensor::from_f32(&[], &[2.0]).unwrap()),
            ("empty", Tensor::from_f32(&[0, 4], &[]).unwrap()),
            ("words", Tensor::from_strings(&[2, 1], &["ä", "two words"]).unwrap()),
        ];
        let given: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        write(&path, &given).unwrap();
        let mut found = names(&path).unwrap();
        found.sort();
        assert_eq!(found, ["b", "empty", "f", "h", "i", "scalar", "words"]);
        for (name, tensor) in &tensors {
            let read = read_from(&path, name).unwrap();
            assert_eq!((read.dtype(), read.extents()), (tensor.dtype(), tensor.extents()));
            let (read, tensor): (&[u8], &[u8]) = (read.bytes(), tensor.bytes());
            assert_eq!(read, tensor, "{name}");
        }
        assert!(read_from(&path, "other").unwrap_err().to_string().contains("other"));
    }

    #[test]
    fn fortran_order_is_turned() {
        // [[1, 2, 3], [4, 5, 6]], columns first.
        assert_eq!(row_major(&[1, 4, 2, 5, 3, 6], &[2, 3], 1), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn no_array_at_all_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, b"not an array").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("x.npy"));
    }
}
