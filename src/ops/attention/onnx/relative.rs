//! What T5 adds to scores, of ONNX Runtime's domain.

use super::reshape;
use crate::error::Result;
use crate::onnx::NodeCx;
use crate::ops::attention::Buckets;
use crate::ops::gather::Take;
use crate::ops::movement::Transpose;
use crate::tensor::Tensor;

/// The most pairs of a query and a key.
const MOST: usize = 1 << 26;

/// `RelativePositionBias`: a table `[buckets, H]` and how many queries and keys there
/// are, to `[1, H, Q, K]`.
pub(super) fn import(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, table) = (cx.dtype(0)?, cx.extents(0)?);
    let &[count, heads] = table.as_slice() else {
        return Err(cx.broken(format!("bias_table {table:?} is no matrix")));
    };
    let mut length = |index: usize| -> Result<usize> {
        let given = cx.known_ints(index)?.first().copied().unwrap_or(-1);
        usize::try_from(given).map_err(|_| cx.broken(format!("a length of {given}")))
    };
    let (queries, keys) = (length(1)?, length(2)?);
    let farthest = cx.int("max_distance", 128)?;
    let both = cx.int("is_bidirectional", 0)? != 0;
    let near = if both { count / 4 } else { count / 2 };
    if near == 0 || farthest <= near as i64 {
        return Err(cx.broken(format!("{count} buckets up to a distance of {farthest}")));
    }
    if queries.checked_mul(keys).is_none_or(|pairs| pairs > MOST) {
        return Err(cx.unsupported(format!("{queries} queries of {keys} keys")));
    }
    let buckets = Buckets { count, furthest: farthest as usize, both };
    let pairs = (0..queries as i64).flat_map(|q| (0..keys as i64).map(move |k| (q, k)));
    let places: Vec<i32> = pairs.map(|(query, key)| buckets.of(key - query) as i32).collect();
    let places = cx.constant(Tensor::from_i32(&[queries, keys], &places)?)?;
    let table = cx.input_f32(0)?;
    let rows = cx.op1(Take { axis: 0, batch_dims: 0 }, &[table, places])?;
    let rows = cx.op1(Transpose { permutation: vec![2, 0, 1] }, &[rows])?;
    let y = reshape(cx, rows, &[1, heads, queries, keys])?;
    cx.output_as(0, y, dtype)
}
