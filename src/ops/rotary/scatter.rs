//! What attention reads, made of what projections give: queries and keys normalised and
//! turned, keys and values in their caches.

use super::super::norm::{Kind, Normalization};
use super::super::rules::Rules;
use super::super::state::TensorScatter;
use super::super::{BoundCx, Lowering, Operator, RefTensor};
use super::RotaryEmbedding;
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::kernels::rotary::RotaryScatterKernel;
use crate::tensor::DType;

/// [`RotaryEmbedding`] of queries and keys, and [`TensorScatter`] of the keys and values
/// into caches: what a fused node does in place of the four, and of what stands between
/// them and the projections.
///
/// | Input | Type |
/// |---|---|
/// | queries | F32 `[S, T, ...]`: rows of `R` elements, `heads * D` of which from `offsets[0]` on are queries |
/// | keys | F32 `[S, T, ...]`, `G * D` of a row from `offsets[1]` on; absent: in the rows of the queries |
/// | values | F32 `[S, T, ...]`, `G * V` of a row from `offsets[2]` on; absent: in the rows of the keys |
/// | cos, sin | F32 `[P, rotary_dim / 2]`; see [`tables`](super::tables) |
/// | position_ids | I32 `[S, T]`, each in `0..P` |
/// | write_indices | I32 `[B]` |
/// | past_keys | F32 or F16 `[B, G, C, D]`; a state is updated in place |
/// | past_values | the same type, `[B, G, C, V]` |
/// | query_norm, key_norm | F32 `[D]`, both or none: each head is divided by its root mean square and multiplied with them first |
/// | query_rows, new_rows | I32 `[B, Q]`, both or none: the rows, `0..S * T`, that are the queries and the new keys and values of each sequence; absent: `S` is `B`, `T` is `Q`, and each row its own |
///
/// The outputs are the queries, F32 `[B, Q, heads, D]`, and both caches. `D`, `V`,
/// `rotary_dim`, offsets and rows are multiples of four elements, so that a cache of F16
/// is written in whole words; with norms, heads have at most [`MOST_NORMED`] elements.
/// Positions, slots and rows out of range are met as those operators and `Gather` meet
/// them; there are as many slots for keys as for values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotaryScatter {
    /// How heads are turned.
    pub rotary: RotaryEmbedding,
    /// How many heads the queries have.
    pub heads: usize,
    /// The elements of a row before queries, keys and values.
    pub offsets: [usize; 3],
    /// Tokens whose slot is outside of the caches are left out.
    pub skip: bool,
    /// What is added under the root where there are norms; positive.
    pub epsilon: f32,
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
    "query_norm",
    "key_norm",
    "query_rows",
    "new_rows",
];

/// The most elements of a head that is normalised.
pub const MOST_NORMED: usize = 256;

// The numbers of the inputs.
pub(crate) const COS: usize = 3;
pub(crate) const SIN: usize = 4;
pub(crate) const POSITIONS: usize = 5;
pub(crate) const WRITE: usize = 6;
pub(crate) const KEYS: usize = 7;
pub(crate) const VALUES: usize = 8;
pub(crate) const QUERY_NORM: usize = 9;
pub(crate) const KEY_NORM: usize = 10;
pub(crate) const QUERY_ROWS: usize = 11;
pub(crate) const NEW_ROWS: usize = 12;

/// Whether an input is there.
pub(crate) fn there<T>(inputs: &[Option<T>], index: usize) -> bool {
    inputs.get(index).is_some_and(Option::is_some)
}

/// Which inputs have queries, keys and values: an absent one is in the one before.
pub(crate) fn sources<T>(inputs: &[Option<T>]) -> [usize; 3] {
    let keys = usize::from(there(inputs, 1));
    [0, keys, if there(inputs, 2) { 2 } else { keys }]
}

impl RotaryScatter {
    /// As the operator that appends to one of the caches.
    pub(crate) fn scatter(&self) -> TensorScatter {
        TensorScatter { axis: 2, token_major: true, skip: self.skip }
    }

    /// As the operator that normalises heads.
    fn norm(&self) -> Normalization {
        Normalization { kind: Kind::Rms, epsilon: self.epsilon }
    }
}

/// Queries, keys or values by themselves, as the unfused operators read them.
struct Heads {
    /// `[B, Q, heads, size]`.
    x: RefTensor,
    /// `[B, Q]`.
    positions: RefTensor,
}

impl Heads {
    fn new(
        op: &RotaryScatter,
        inputs: &[Option<&RefTensor>],
        part: usize,
        [heads, size]: [usize; 2],
    ) -> Result<Self> {
        let x = reference_input(inputs, sources(inputs)[part])?;
        let positions = reference_input(inputs, POSITIONS)?;
        let row: usize = x.extents[2..].iter().product();
        let (values, ids) = (x.reals()?, positions.ints()?);
        let rows = match there(inputs, QUERY_ROWS) {
            false => None,
            true => Some(reference_input(inputs, if part == 0 { QUERY_ROWS } else { NEW_ROWS })?),
        };
        let extents = rows.map_or(&x.extents[..2], |rows| &rows.extents[..]);
        let mut out = (Vec::new(), Vec::new());
        for token in 0..extents.iter().product() {
            let from = match rows {
                None => token,
                Some(rows) => checked_row(rows.ints()?[token], ids.len())?,
            };
            let first = from * row + op.offsets[part];
            out.0.extend_from_slice(&values[first..first + heads * size]);
            out.1.push(ids[from]);
        }
        let all = [extents, &[heads, size]].concat();
        Ok(Heads {
            x: RefTensor::real(DType::F32, &all, out.0),
            positions: RefTensor::int(DType::I32, extents, out.1),
        })
    }

    /// All three.
    fn all(op: &RotaryScatter, inputs: &[Option<&RefTensor>]) -> Result<[Self; 3]> {
        let (keys, values) = (reference_input(inputs, KEYS)?, reference_input(inputs, VALUES)?);
        let (groups, width) = (keys.extents[1], keys.extents[3]);
        let of = |part, sizes| Heads::new(op, inputs, part, sizes);
        Ok([
            of(0, [op.heads, width])?,
            of(1, [groups, width])?,
            of(2, [groups, values.extents[3]])?,
        ])
    }
}

/// A row of the tokens, of which there are so many.
pub(crate) fn checked_row(row: i64, rows: usize) -> Result<usize> {
    usize::try_from(row).ok().filter(|&row| row < rows).ok_or_else(|| {
        Error::input("rows of RotaryScatter", format!("rows of 0 to {rows} - 1"), row)
    })
}

fn reference_input<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("{NAME} input {index} is absent")))
}

/// The one result of an operator.
fn only<T>(results: Vec<T>) -> Result<T> {
    results.into_iter().next().ok_or_else(|| Error::internal(format!("{NAME} of no result")))
}

/// The type of an input `[S, T, ...]` and the elements of its rows.
fn row(rules: &Rules<'_>, source: usize, first: &TensorType) -> Result<usize> {
    let ty = rules.input(source)?;
    rules.dtype(source, &[DType::F32])?;
    if ty.rank() < 3 || ty.shape[..2] != first.shape[..2] {
        return rules.broken(format!("'{}' must be [S, T, ...], got {ty}", INPUTS[source]));
    }
    match Dim::product(&ty.shape[2..]).as_const() {
        Some(row) if row.is_multiple_of(4) => Ok(row as usize),
        _ => rules.broken(format!("rows of {ty} must have a multiple of 4 elements")),
    }
}

/// The tokens of a sequence: checks all inputs that have to do with it.
fn tokens(rules: &Rules<'_>, keys: &TensorType) -> Result<Dim> {
    let x = rules.input(0)?;
    if rules.optional(QUERY_ROWS).is_none() && rules.optional(NEW_ROWS).is_none() {
        rules.dim(0, 0, &keys.shape[0])?;
        return Ok(x.shape[1].clone());
    }
    rules.typed(QUERY_ROWS, &[DType::I32], 2)?;
    rules.typed(NEW_ROWS, &[DType::I32], 2)?;
    let tokens = rules.input(QUERY_ROWS)?.shape[1].clone();
    rules.dim(QUERY_ROWS, 0, &keys.shape[0])?;
    rules.dim(NEW_ROWS, 0, &keys.shape[0])?;
    rules.dim(NEW_ROWS, 1, &tokens)?;
    Ok(tokens)
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
        let fours = [self.rotary.rotary_dim, width, value_width];
        if let Some(odd) = fours.iter().chain(&self.offsets).find(|n| !n.is_multiple_of(4)) {
            return rules.broken(format!("sizes and offsets must be multiples of 4, got {odd}"));
        }
        let x = rules.input(0)?;
        let spans = [self.heads * width, groups * width, groups * value_width];
        for (part, source) in sources(inputs).into_iter().enumerate() {
            let end = self.offsets[part].checked_add(spans[part]);
            if end.is_none_or(|end| row(&rules, source, x).is_ok_and(|row| end > row)) {
                let what = format!("{} of a row from {} on", spans[part], self.offsets[part]);
                return rules.broken(format!("{what} do not fit '{}'", INPUTS[source]));
            }
            row(&rules, source, x)?;
        }
        if [QUERY_NORM, KEY_NORM].iter().any(|&norm| rules.optional(norm).is_some()) {
            for norm in [QUERY_NORM, KEY_NORM] {
                rules.typed(norm, &[DType::F32], 1)?;
                rules.dim(norm, 0, &keys.shape[3])?;
            }
            if width.max(value_width) > MOST_NORMED || width == 0 {
                return rules.broken(format!("heads of 4 to {MOST_NORMED} are normalised"));
            }
        }
        let tokens = tokens(&rules, keys)?;
        let heads = |batch: &Dim, tokens: Dim| {
            TensorType::new(DType::F32, [batch.clone(), tokens, self.heads.into(), width.into()])
        };
        let given = heads(&x.shape[0], x.shape[1].clone());
        self.rotary.infer(&[Some(&given), inputs[COS], inputs[SIN], inputs[POSITIONS]])?;
        let queries = heads(&keys.shape[0], tokens);
        Ok(vec![queries, keys.clone(), rules.input(VALUES)?.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let [queries, keys, values] = Heads::all(self, inputs)?;
        let turn = |heads: &Heads, norm: usize| {
            let normed = match there(inputs, norm) {
                true => Some(only(self.norm().reference(&[Some(&heads.x), inputs[norm]])?)?),
                false => None,
            };
            let x = normed.as_ref().unwrap_or(&heads.x);
            let inputs = [Some(x), inputs[COS], inputs[SIN], Some(&heads.positions)];
            only(self.rotary.reference(&inputs)?)
        };
        let append = |cache: usize, new: &RefTensor| {
            only(self.scatter().reference(&[inputs[cache], Some(new), inputs[WRITE]])?)
        };
        let (queries, keys) = (turn(&queries, QUERY_NORM)?, turn(&keys, KEY_NORM)?);
        Ok(vec![queries, append(KEYS, &keys)?, append(VALUES, &values.x)?])
    }

    /// Queries as [`RotaryEmbedding`] has them of what may be off by as much as
    /// [`Normalization`] allows, keys too where they are new; values are only stored.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let [queries, keys, _] = Heads::all(self, cx.inputs)?;
        let turned = |heads: &Heads, norm: usize| {
            let given = [cx.inputs[COS], cx.inputs[SIN], Some(&heads.positions)];
            if !there(cx.inputs, norm) {
                let inputs = [Some(&heads.x), given[0], given[1], given[2]];
                return only(self.rotary.bound(&BoundCx { inputs: &inputs, ..*cx })?);
            }
            let inputs = [Some(&heads.x), cx.inputs[norm]];
            let normed = only(self.norm().reference(&inputs)?)?;
            let off = only(self.norm().bound(&BoundCx { inputs: &inputs, ..*cx })?)?;
            let most = normed.reals()?.iter().zip(&off).map(|(value, off)| value.abs() + off);
            let most = RefTensor::real(DType::F32, &heads.x.extents, most.collect());
            let inputs = [Some(&most), given[0], given[1], given[2]];
            let mut bound = only(self.rotary.bound(&BoundCx { inputs: &inputs, ..*cx })?)?;
            let carried = self.rotary.carried(&inputs, &off)?;
            bound.iter_mut().zip(carried).for_each(|(bound, carried)| *bound += carried);
            Ok(bound)
        };
        let cache = cx.input(KEYS)?;
        let new = RefTensor::real(DType::F32, &keys.x.extents, turned(&keys, KEY_NORM)?);
        // What is beyond the largest number of the cache's type is not cut off here.
        let none = RefTensor::real(DType::F32, &cache.extents, vec![0.0; cache.len()]);
        let placed = [Some(&none), Some(&new), cx.inputs[WRITE]];
        let keys = only(self.scatter().reference(&placed)?)?.reals()?.to_vec();
        Ok(vec![turned(&queries, QUERY_NORM)?, keys, vec![0.0; cx.input(VALUES)?.len()]])
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
