//! What a run is given and gives.

use crate::error::Result;
use crate::tensor::Tensor;

/// A value of an ONNX model, as a caller sees it.
#[derive(Debug, Clone)]
pub enum OnnxValue {
    /// A tensor.
    Tensor(Tensor),
    /// Values one after another, of one type.
    Sequence(Vec<OnnxValue>),
    /// An optional value that is absent.
    Nothing,
    /// A map, as classifiers of `ai.onnx.ml` give them; a result only.
    Map {
        /// The keys: strings or I64, one dimension.
        keys: Tensor,
        /// What there is for each, in their order.
        values: Tensor,
    },
}

impl From<Tensor> for OnnxValue {
    fn from(tensor: Tensor) -> Self {
        OnnxValue::Tensor(tensor)
    }
}

impl OnnxValue {
    /// The tensor, if it is one.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            OnnxValue::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The elements, if it is a sequence.
    pub fn sequence(&self) -> Option<&[OnnxValue]> {
        match self {
            OnnxValue::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// A sequence of maps, one for each row of a matrix.
    pub(super) fn maps(keys: &Tensor, rows: &Tensor) -> Result<Self> {
        let count = rows.extents().first().copied().unwrap_or(0);
        let map = |row: usize| {
            let values = rows.rows(row..row + 1)?;
            let values = Tensor::new(values.dtype(), keys.extents(), values.bytes().clone())?;
            Ok(OnnxValue::Map { keys: keys.clone(), values })
        };
        (0..count).map(map).collect::<Result<_>>().map(OnnxValue::Sequence)
    }

    /// Adds the tensors in it under names: a tensor under the given one, what is in
    /// a sequence under `name[0]`, `name[1]` and so on. A map `name` is `name.keys` and
    /// `name.values`.
    pub(super) fn flatten(self, name: String, out: &mut Vec<(String, Tensor)>) {
        match self {
            OnnxValue::Tensor(tensor) => out.push((name, tensor)),
            OnnxValue::Sequence(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    item.flatten(format!("{name}[{index}]"), out);
                }
            }
            OnnxValue::Nothing => {}
            OnnxValue::Map { keys, values } => {
                out.push((format!("{name}.keys"), keys));
                out.push((format!("{name}.values"), values));
            }
        }
    }
}

/// `name` and `3` of `name[3]`.
pub(super) fn element(name: &str) -> Option<(&str, usize)> {
    let (name, index) = name.strip_suffix(']')?.rsplit_once('[')?;
    Some((name, index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_sequences_are_named_by_place() {
        assert_eq!(element("x[12]"), Some(("x", 12)));
        assert_eq!(element("x[0][1]"), Some(("x[0]", 1)));
        for name in ["x", "x[]", "x[-1]", "x[1", "x1]"] {
            assert_eq!(element(name), None, "{name}");
        }
        let one = |v: f32| OnnxValue::Tensor(Tensor::from_f32(&[], &[v]).unwrap());
        let mut out = Vec::new();
        let nested = OnnxValue::Sequence(vec![one(1.0), OnnxValue::Sequence(vec![one(2.0)])]);
        nested.flatten("s".into(), &mut out);
        OnnxValue::Nothing.flatten("n".into(), &mut out);
        let names: Vec<_> = out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["s[0]", "s[1][0]"]);
    }
}
