//! Tensors of strings: where each string ends, as a little-endian 64-bit number
//! per element, then all text, UTF-8. So equal bytes are equal strings.

use super::{DType, MAX_RANK, Tensor};
use crate::error::{Error, Result};

/// Bytes of the number that says where a string ends.
const END: usize = 8;

impl Tensor {
    /// A tensor of strings.
    ///
    /// # Errors
    /// If the rank exceeds [`MAX_RANK`], or there are not as many strings as the
    /// extents say.
    pub fn from_strings<S: AsRef<str>>(extents: &[usize], values: &[S]) -> Result<Self> {
        let count = extents.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        if extents.len() > MAX_RANK || count != Some(values.len()) {
            let expected = format!("what the extents {extents:?} need");
            return Err(Error::input("strings of a tensor", expected, values.len()));
        }
        let (mut ends, mut text) = (Vec::with_capacity(END * values.len()), Vec::new());
        for value in values {
            text.extend_from_slice(value.as_ref().as_bytes());
            ends.extend_from_slice(&(text.len() as u64).to_le_bytes());
        }
        ends.append(&mut text);
        Self::new(DType::String, extents, ends)
    }

    /// The strings of a tensor of strings.
    ///
    /// # Errors
    /// If the dtype is another one.
    pub fn to_strings(&self) -> Result<Vec<&str>> {
        if self.dtype() != DType::String {
            return Err(Error::input("tensor dtype", DType::String, self.dtype()));
        }
        split(self.len(), self.bytes())
    }
}

/// The strings in the bytes of a tensor of so many.
pub(super) fn split(count: usize, bytes: &[u8]) -> Result<Vec<&str>> {
    let wrong = || Error::input("bytes of a tensor of strings", "ends and UTF-8 text", "others");
    let (ends, text) =
        count.checked_mul(END).and_then(|size| bytes.split_at_checked(size)).ok_or_else(wrong)?;
    let mut start = 0;
    let mut strings = Vec::with_capacity(count);
    for &end in ends.as_chunks::<END>().0 {
        let end = usize::try_from(u64::from_le_bytes(end)).map_err(|_| wrong())?;
        let piece = text.get(start..end).ok_or_else(wrong)?;
        strings.push(std::str::from_utf8(piece).map_err(|_| wrong())?);
        start = end;
    }
    if start == text.len() { Ok(strings) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_kept() {
        let given = ["a", "", "äöü", "many words"];
        let tensor = Tensor::from_strings(&[2, 2], &given).unwrap();
        assert_eq!((tensor.dtype(), tensor.len()), (DType::String, 4));
        assert_eq!(tensor.to_strings().unwrap(), given);
        assert_eq!(tensor.rows(1..2).unwrap().to_strings().unwrap(), given[2..]);
        let same = Tensor::new(DType::String, &[4], tensor.bytes().to_vec()).unwrap();
        assert_eq!(same.to_strings().unwrap(), given);
        assert!(tensor.to_f32().is_err() && Tensor::from_strings(&[3], &given).is_err());
        assert!(Tensor::from_f32(&[1], &[1.0]).unwrap().to_strings().is_err());
    }

    #[test]
    fn bytes_that_are_no_strings_are_refused() {
        let ends = |ends: &[u64], text: &[u8]| {
            let bytes: Vec<u8> = ends.iter().flat_map(|end| end.to_le_bytes()).collect();
            Tensor::new(DType::String, &[ends.len()], [bytes, text.to_vec()].concat())
        };
        assert!(ends(&[1, 3], b"abc").is_ok());
        for (list, text) in
            [(&[1u64, 2][..], &b"abc"[..]), (&[2, 1], b"ab"), (&[1, 9], b"abc"), (&[1], b"\xff")]
        {
            assert!(ends(list, text).is_err(), "{list:?}");
        }
        // A cut through a character.
        assert!(ends(&[1, 2], "ä".as_bytes()).is_err());
        assert!(Tensor::new(DType::String, &[usize::MAX], Vec::new()).is_err());
    }
}
