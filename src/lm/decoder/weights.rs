//! Weights in the graph: matrices with what files have beside them, by their GGUF names.

use super::{Blocks, Weights};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, ValueId};
use crate::lm::lora::ENDS;
use crate::lm::spec::DecoderSpec;
use crate::quant::WEIGHT_TYPES;
use crate::tensor::{DType, Tensor};
use std::ops::Range;

impl Blocks<'_> {
    /// `x * weightᵀ`, plus a bias where the file has one.
    pub(in crate::lm) fn linear(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        outputs: usize,
        inputs: usize,
    ) -> Result<ValueId> {
        let matrix = self.weight(block, name, &[outputs, inputs])?;
        let bias = self.optional(block, &format!("{name}.bias"), &[outputs])?;
        let y = self.times(&self.stem(block, name), x, (matrix, None), bias)?;
        self.switched(block, name, x, y, [outputs, inputs])
    }

    /// The name of a block's tensor without its end.
    fn stem(&self, block: usize, name: &str) -> String {
        let name = self.spec.part.tensor(block, &format!("{name}.weight"));
        name.trim_end_matches(".weight").into()
    }

    /// `x * matrixᵀ`, times the factor that files of some types have beside a matrix,
    /// plus a bias, and what adapters add. The matrix may be some rows of a tensor.
    pub(in crate::lm) fn times(
        &mut self,
        name: &str,
        x: ValueId,
        (matrix, rows): (ValueId, Option<Range<usize>>),
        bias: Option<ValueId>,
    ) -> Result<ValueId> {
        let y = match self.named_if_there(&format!("{name}.scale"), &[1])? {
            None => self.g.linear(x, matrix, bias)?,
            Some(scale) => {
                let y = self.g.linear(x, matrix, None)?;
                let y = self.g.mul(y, scale)?;
                match bias {
                    Some(bias) => self.g.add(y, bias)?,
                    None => y,
                }
            }
        };
        match self.added_by_loras(&format!("{name}.weight"), rows)? {
            None => Ok(y),
            Some([a, b]) => {
                let narrow = self.g.linear(x, a, None)?;
                let added = self.g.linear(narrow, b, None)?;
                self.g.add(y, added)
            }
        }
    }

    /// The two matrices whose product adapters add to a tensor, or to some rows of it.
    pub(in crate::lm) fn added_by_loras(
        &mut self,
        name: &str,
        rows: Option<Range<usize>>,
    ) -> Result<Option<[ValueId; 2]>> {
        let [a, b] = ENDS.map(|end| format!("{name}{end}"));
        let [Some(of_a), Some(of_b)] = [(self.weights)(&a)?, (self.weights)(&b)?] else {
            return Ok(None);
        };
        // The head has three ways out, and parts of a matrix have the first one in common.
        let a = self.once(&a, of_a)?;
        let b = match rows {
            None => self.once(&b, of_b)?,
            Some(rows) => self.once(&part(&b, &rows), of_b.rows(rows)?)?,
        };
        Ok(Some([a, b]))
    }

    /// [`Self::linear`] with some rows of a matrix of `extents`, and of its bias.
    pub(in crate::lm) fn rows(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        rows: Range<usize>,
        (outputs, inputs): (usize, usize),
    ) -> Result<ValueId> {
        let matrix = self.spec.part.tensor(block, &format!("{name}.weight"));
        let tensor = checked(self.spec, self.weights, &matrix, &[outputs, inputs])?;
        let matrix = self.once(&part(&matrix, &rows), tensor.rows(rows.clone())?)?;
        let bias = self.spec.part.tensor(block, &format!("{name}.bias"));
        let bias = match (self.weights)(&bias)? {
            Some(_) => {
                let tensor = checked(self.spec, self.weights, &bias, &[outputs])?;
                Some(self.once(&part(&bias, &rows), tensor.rows(rows.clone())?)?)
            }
            None => None,
        };
        self.times(&self.stem(block, name), x, (matrix, Some(rows)), bias)
    }

    pub(in crate::lm) fn weight(
        &mut self,
        block: usize,
        name: &str,
        extents: &[usize],
    ) -> Result<ValueId> {
        self.named(&self.spec.part.tensor(block, &format!("{name}.weight")), extents)
    }

    /// Whether a block has a tensor.
    pub(in crate::lm) fn has(&self, block: usize, name: &str) -> Result<bool> {
        Ok((self.weights)(&self.spec.part.tensor(block, name))?.is_some())
    }

    /// A tensor that a block may lack.
    pub(in crate::lm) fn optional(
        &mut self,
        block: usize,
        name: &str,
        extents: &[usize],
    ) -> Result<Option<ValueId>> {
        self.named_if_there(&self.spec.part.tensor(block, name), extents)
    }

    pub(in crate::lm) fn named(&mut self, name: &str, extents: &[usize]) -> Result<ValueId> {
        // Where blocks run several times they read the same weights.
        match self.spec.rounds == 1 && self.spec.cycles.is_none() {
            true => weight(&mut self.g, self.spec, self.weights, name, extents),
            false => self.once(name, checked(self.spec, self.weights, name, extents)?),
        }
    }

    /// The constant of a name, which is in the graph once.
    fn once(&mut self, name: &str, tensor: Tensor) -> Result<ValueId> {
        if let Some(&there) = self.shared.get(name) {
            return Ok(there);
        }
        let value = self.g.constant(name, tensor)?;
        self.shared.insert(name.into(), value);
        Ok(value)
    }

    /// What a norm without weights multiplies with.
    pub(super) fn ones(&mut self, size: usize) -> Result<ValueId> {
        self.once(&format!("norm.ones.{size}"), Tensor::from_f32(&[size], &vec![1.0; size])?)
    }

    pub(in crate::lm) fn named_if_there(
        &mut self,
        name: &str,
        extents: &[usize],
    ) -> Result<Option<ValueId>> {
        match (self.weights)(name)? {
            Some(_) => self.named(name, extents).map(Some),
            None => Ok(None),
        }
    }
}

/// What some rows of a tensor are called.
fn part(name: &str, rows: &Range<usize>) -> String {
    format!("{name}[{}..{}]", rows.start, rows.end)
}

/// The constant of a weight; see [`checked`].
pub(super) fn weight(
    g: &mut GraphBuilder,
    spec: &DecoderSpec,
    weights: Weights<'_>,
    name: &str,
    extents: &[usize],
) -> Result<ValueId> {
    g.constant(name, checked(spec, weights, name, extents)?)
}

/// A weight with the extents and a dtype that the decoder can use.
pub(super) fn checked(
    spec: &DecoderSpec,
    weights: Weights<'_>,
    name: &str,
    extents: &[usize],
) -> Result<Tensor> {
    let at = format!("tensor '{name}'");
    let mut tensor = weights(name)?.ok_or_else(|| Error::format(&spec.file, &at, "missing"))?;
    // Some programs write a row as a matrix of one; GGUF does not tell them apart.
    if tensor.extents() != extents && beyond_ones(tensor.extents()) == beyond_ones(extents) {
        tensor = tensor.reshaped(extents)?;
    }
    if tensor.extents() != extents {
        let what = format!("extents {:?}, expected {extents:?}", tensor.extents());
        return Err(Error::format(&spec.file, &at, what));
    }
    // Checked here because the graph's errors name nodes, not tensors.
    let known = if extents.len() == 1 { &[DType::F32] } else { &WEIGHT_TYPES[..] };
    if !known.contains(&tensor.dtype()) {
        let known: Vec<_> = known.iter().map(|dtype| dtype.name()).collect();
        let what = format!("{} here; supported: {}", tensor.dtype(), known.join(", "));
        return Err(Error::unsupported(format_args!("{}: {at}", spec.file), what));
    }
    Ok(tensor)
}

/// The values of a weight that a graph has in another form; see [`checked`].
///
/// # Errors
/// As that, and [`Error::Unsupported`] for what is not F32, naming the tensor.
pub(super) fn plain(
    spec: &DecoderSpec,
    weights: Weights<'_>,
    name: &str,
    extents: &[usize],
) -> Result<Vec<f32>> {
    values(spec, name, &checked(spec, weights, name, extents)?)
}

/// A tensor's values.
///
/// # Errors
/// [`Error::Unsupported`] for what is not F32, naming the tensor.
pub(super) fn values(spec: &DecoderSpec, name: &str, tensor: &Tensor) -> Result<Vec<f32>> {
    if tensor.dtype() != DType::F32 {
        let what = format!("{} here; supported: {}", tensor.dtype(), DType::F32);
        return Err(Error::unsupported(format_args!("{}: tensor '{name}'", spec.file), what));
    }
    tensor.to_f32()
}

/// Extents without the ones that they begin with.
fn beyond_ones(extents: &[usize]) -> &[usize] {
    let ones = extents.iter().take_while(|&&extent| extent == 1).count();
    &extents[ones.min(extents.len().saturating_sub(1))..]
}
