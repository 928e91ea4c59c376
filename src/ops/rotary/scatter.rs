//! What attention reads, made of what projections give: queries and keys turned, keys
//! and values in their caches.

use super::super::rules::Rules;
use super::super::state::TensorScatter;
use super::super::{BoundCx, Lowering, Operator, RefTensor};
use super::RotaryEmbedding;
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::kernels::rotary::RotaryScatterKernel;
use crate::tensor::DType;

/// [`RotaryEmbedding`] of queries and keys, and [`TensorScatter`] of the keys and values
/// into caches: what a fused node does in place of the four.
///
/// | Input | Type |
/// |---|---|
/// | queries | F32 `[B, Q, ...]`: rows of `R` elements, `heads * D` of which from `offsets[0]` on are queries |
/// | keys | F32 `[B, Q, ...]`, `G * D` of a row from `offsets[1]` on; absent: in the rows of the queries |
/// | values | F32 `[B, Q, ...]`, `G * V` of a row from `offsets[2]` on; absent: in the rows of the keys |
/// | cos, sin | F32 `[P, rotary_dim / 2]`; see [`tables`](super::tables) |
/// | position_ids | I32 `[B, Q]`, each in `0..P` |
/// | write_indices | I32 `[B]` |
/// | past_keys | F32 or F16 `[B, G, C, D]`; a state is updated in place |
/// | past_values | the same type, `[B, G, C, V]` |
///
/// The outputs are the queries, F32 `[B, Q, heads, D]`, and both caches. `D`, `V`,
/// `rotary_dim`, offsets and rows are multiples of four elements, so that a cache of F16
/// is written in whole words. Positions and slots out of range are met as those two
/// operators meet them; there are as many slots for keys as for values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotaryScatter {
    /// How heads are turned.
    pub rotary: RotaryEmbedding,
    /// How many heads the queries have.
    pub heads: usize,
    /// The elements of a row before queries, keys and values.
    pub offsets: [usize; 3],
    /// Tokens whose slot is outside of the caches are left out.
    pub skip: bool,
}

const NAME: &str = "RotaryScatter";
const INPUTS: &[&str] = &[
    "queries",
    "keys",
    "values",
    "cos",
    "sin",
    "position_ids",
    "write_indices",
    "past_keys",
    "past_values",
];

/// The number of an input.
pub(crate) const COS: usize = 3;
pub(crate) const SIN: usize = 4;
pub(crate) const POSITIONS: usize = 5;
pub(crate) const WRITE: usize = 6;
pub(crate) const KEYS: usize = 7;
pub(crate) const VALUES: usize = 8;

/// Which inputs have queries, keys and values: an absent one is in the one before.
pub(crate) fn sources<T>(inputs: &[Option<T>]) -> [usize; 3] {
    let there = |index: usize| inputs.get(index).is_some_and(Option::is_some);
    let keys = if there(1) { 1 } else { 0 };
    [0, keys, if there(2) { 2 } else { keys }]
}

impl RotaryScatter {
    /// As the operator that appends to one of the caches.
    pub(crate) fn scatter(&self) -> TensorScatter {
        TensorScatter { axis: 2, token_major: true, skip: self.skip }
    }

    /// Some columns of an input's rows, as `[B, Q, heads, width]`.
    fn columns(
        &self,
        inputs: &[Option<&RefTensor>],
        part: usize,
        [heads, width]: [usize; 2],
    ) -> Result<RefTensor> {
        let x = reference_input(inputs, sources(inputs)[part])?;
        let row: usize = x.extents[2..].iter().product();
        let values = x.reals()?;
        let tokens = x.extents[0] * x.extents[1];
        let mut out = Vec::with_capacity(tokens * heads * width);
        for token in 0..tokens {
            let first = token * row + self.offsets[part];
            out.extend_from_slice(&values[first..first + heads * width]);
        }
        Ok(RefTensor::real(DType::F32, &[x.extents[0], x.extents[1], heads, width], out))
    }

    /// Queries, keys and values by themselves.
    fn apart(&self, inputs: &[Option<&RefTensor>]) -> Result<[RefTensor; 3]> {
        let (keys, values) = (reference_input(inputs, KEYS)?, reference_input(inputs, VALUES)?);
        let (groups, width) = (keys.extents[1], keys.extents[3]);
        Ok([
            self.columns(inputs, 0, [self.heads, width])?,
            self.columns(inputs, 1, [groups, width])?,
            self.columns(inputs, 2, [groups, values.extents[3]])?,
        ])
    }
}

fn reference_input<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("{NAME} input {index} is absent")))
}

/// The one result of an operator.
fn only<T>(results: Vec<T>) -> Result<T> {
    results.into_iter().next().ok_or_else(|| Error::internal(format!("{NAME} of no result")))
}

impl Operator for RotaryScatter {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, INPUTS, 1, inputs)?;
        rules.typed(KEYS, &[DType::F32, DType::F16], 4)?;
        let keys = rules.input(KEYS)?;
        rules.typed(VALUES, &[keys.dtype], 4)?;
        rules.typed(WRITE, &[DType::I32], 1)?;
        rules.dim(WRITE, 0, &keys.shape[0])?;
        for axis in 0..3 {
            rules.dim(VALUES, axis, &keys.shape[axis])?;
        }
        let fixed = |dim: &Dim| dim.as_const().map(|n| n as usize);
        let (groups, width) = (fixed(&keys.shape[1]), fixed(&keys.shape[3]));
        let value_width = fixed(&rules.input(VALUES)?.shape[3]);
        let (Some(groups), Some(width), Some(value_width)) = (groups, width, value_width) else {
            return rules.broken("the heads of caches must have a fixed number and size");
        };
        let spans = [self.heads * width, groups * width, groups * value_width];
        let fours = [self.rotary.rotary_dim, width, value_width];
        if let Some(odd) = fours.iter().chain(&self.offsets).find(|n| !n.is_multiple_of(4)) {
            return rules.broken(format!("sizes and offsets must be multiples of 4, got {odd}"));
        }
        let x = rules.input(0)?;
        for (part, source) in sources(inputs).into_iter().enumerate() {
            let ty = rules.input(source)?;
            rules.dtype(source, &[DType::F32])?;
            rules.dim(source, 0, &keys.shape[0])?;
            if ty.rank() < 3 || ty.shape[1] != x.shape[1] {
                return rules.broken(format!("{} must be {} [B, Q, ...]", ty, INPUTS[source]));
            }
            let row = fixed(&Dim::product(&ty.shape[2..]));
            let end = self.offsets[part].checked_add(spans[part]);
            if row.is_none_or(|row| !row.is_multiple_of(4) || end.is_none_or(|end| end > row)) {
                let what = format!("{} of a row from {} on", spans[part], self.offsets[part]);
                return rules.broken(format!("{what} do not fit {ty}"));
            }
        }
        let heads = [x.shape[0].clone(), x.shape[1].clone(), self.heads.into(), width.into()];
        let queries = TensorType::new(DType::F32, heads);
        let turned = [Some(&queries), inputs[COS], inputs[SIN], inputs[POSITIONS]];
        self.rotary.infer(&turned)?;
        Ok(vec![queries, keys.clone(), rules.input(VALUES)?.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let [queries, keys, values] = self.apart(inputs)?;
        let tables = [inputs[COS], inputs[SIN], inputs[POSITIONS]];
        let turn = |x: &RefTensor| {
            only(self.rotary.reference(&[Some(x), tables[0], tables[1], tables[2]])?)
        };
        let append = |cache: usize, new: &RefTensor| {
            only(self.scatter().reference(&[inputs[cache], Some(new), inputs[WRITE]])?)
        };
        Ok(vec![turn(&queries)?, append(KEYS, &turn(&keys)?)?, append(VALUES, &values)?])
    }

    /// Queries as [`RotaryEmbedding`] has them, keys too where they are new; values are
    /// only stored.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let [queries, keys, _] = self.apart(cx.inputs)?;
        let tables = [cx.inputs[COS], cx.inputs[SIN], cx.inputs[POSITIONS]];
        let turned = |x: &RefTensor| {
            let inputs = [Some(x), tables[0], tables[1], tables[2]];
            only(self.rotary.bound(&BoundCx { inputs: &inputs, ..*cx })?)
        };
        let cache = cx.input(KEYS)?;
        let new = RefTensor::real(DType::F32, &keys.extents, turned(&keys)?);
        // What is beyond the largest number of the cache's type is not cut off here.
        let none = RefTensor::real(DType::F32, &cache.extents, vec![0.0; cache.len()]);
        let placed = [Some(&none), Some(&new), cx.inputs[WRITE]];
        let keys = only(self.scatter().reference(&placed)?)?.reals()?.to_vec();
        Ok(vec![turned(&queries)?, keys, vec![0.0; cx.input(VALUES)?.len()]])
    }

    /// States are updated where they are; other caches are copied by the kernel.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let mut inputs: Vec<_> = (0..INPUTS.len()).map(|index| cx.optional(index)).collect();
        for (output, index) in [(1, KEYS), (2, VALUES)] {
            if cx.is_state(&cx.input(index)?) {
                cx.alias(output, index)?;
                inputs[index] = None;
            }
        }
        let outputs = [cx.output(0)?, cx.output(1)?, cx.output(2)?];
        cx.call(RotaryScatterKernel { op: *self }, &inputs, &outputs);
        Ok(())
    }

    fn updates(&self) -> &[(usize, usize)] {
        &[(KEYS, 1), (VALUES, 2)]
    }
}
