//! Tensors of ONNX files that list the elements which are not zero. They are read as
//! the dense tensors that they stand for: files have few of them, and small ones.

use super::model::Constant;
use super::proto::SparseTensorProto;
use super::tensor::{Tensors, extents};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

/// The most bytes of a tensor as a dense one: a few bytes of a file may ask for any
/// number.
const MOST: usize = 1 << 31;

impl Tensors<'_> {
    /// The value of a sparse tensor. `at` is what errors call it.
    pub(super) fn read_sparse(&mut self, proto: &SparseTensorProto, at: &str) -> Result<Constant> {
        let file = self.file;
        let wrong = |what: String| Error::format(file, at, what);
        let (Some(values), Some(indices)) = (&proto.values, &proto.indices) else {
            return Err(wrong("a sparse tensor without values or indices".into()));
        };
        let (values, indices) = (self.read(values, at)?, self.read(indices, at)?);
        let (Constant::Tensor(values), Constant::Tensor(indices)) = (values, indices) else {
            return Ok(Constant::Unsupported("a sparse tensor of a type without zeros".into()));
        };
        if values.dtype() == DType::String {
            return Ok(Constant::Unsupported("a sparse tensor of strings".into()));
        }
        dense(&values, &indices, &extents(&proto.dims).map_err(wrong)?).map_err(wrong)
    }
}

/// The same elements where they belong, zeros elsewhere. Indices are places in the
/// flat tensor, or one for each dimension.
fn dense(
    values: &Tensor,
    indices: &Tensor,
    extents: &[usize],
) -> std::result::Result<Constant, String> {
    let text = |error: Error| error.to_string();
    let count = values.extents().iter().product::<usize>();
    let width = match indices.extents() {
        &[rows] if rows == count => 1,
        &[rows, width] if rows == count && width == extents.len() => width,
        other => return Err(format!("indices {other:?} for {count} values of {extents:?}")),
    };
    let size = values.dtype().bytes(extents).map_err(text)?;
    if size > MOST {
        return Err(format!("{size} bytes as a dense tensor, more than {MOST}"));
    }
    let mut bytes: Vec<u8> = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| format!("{size} bytes of memory are not there"))?;
    bytes.resize(size, 0);
    let places = indices.to_i64().map_err(text)?;
    let elements: usize = extents.iter().product();
    let unit = size.checked_div(elements).unwrap_or(0);
    for (value, place) in places.chunks(width.max(1)).enumerate() {
        let at = flat(place, extents, elements)
            .ok_or_else(|| format!("index {place:?} is outside of {extents:?}"))?;
        let from = &values.bytes()[value * unit..(value + 1) * unit];
        bytes[at * unit..(at + 1) * unit].copy_from_slice(from);
    }
    Tensor::new(values.dtype(), extents, bytes).map(Constant::Tensor).map_err(text)
}

/// A place in the flat tensor.
fn flat(place: &[i64], extents: &[usize], elements: usize) -> Option<usize> {
    let within = |index: i64, extent: usize| usize::try_from(index).ok().filter(|&i| i < extent);
    match place {
        &[index] if extents.len() != 1 => within(index, elements),
        _ => place
            .iter()
            .zip(extents)
            .try_fold(0, |at, (&index, &extent)| Some(at * extent + within(index, extent)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(extents: &[usize], values: &[i64]) -> Tensor {
        Tensor::new(DType::I64, extents, bytemuck::cast_slice(values).to_vec()).unwrap()
    }

    fn read(extents: &[usize], indices: &Tensor) -> std::result::Result<Vec<f32>, String> {
        let values = Tensor::from_f32(&[2], &[5.0, 7.0]).unwrap();
        match dense(&values, indices, extents)? {
            Constant::Tensor(tensor) => Ok(tensor.to_f32().unwrap()),
            Constant::Unsupported(what) => Err(what),
        }
    }

    #[test]
    fn elements_go_where_their_indices_say() {
        let expected = Ok(vec![0.0, 5.0, 0.0, 0.0, 0.0, 7.0]);
        assert_eq!(read(&[2, 3], &whole(&[2], &[1, 5])), expected);
        assert_eq!(read(&[2, 3], &whole(&[2, 2], &[0, 1, 1, 2])), expected);
        assert_eq!(read(&[6], &whole(&[2], &[1, 5])), expected);
        assert_eq!(read(&[6], &whole(&[2, 1], &[1, 5])), expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (extents, indices) in [
            (vec![2, 3], whole(&[2], &[1, 6])),
            (vec![2, 3], whole(&[2], &[-1, 3])),
            (vec![2, 3], whole(&[2, 2], &[0, 1, 1, 3])),
            (vec![2, 3], whole(&[2, 3], &[0; 6])),
            (vec![2, 3], whole(&[1], &[0])),
            (vec![0, 3], whole(&[2], &[0, 0])),
            (vec![1 << 20, 1 << 20], whole(&[2], &[0, 1])),
        ] {
            assert!(read(&extents, &indices).is_err(), "{extents:?} {indices:?}");
        }
    }
}
