//! The spatial attributes of ONNX nodes, with `auto_pad` turned into numbers.

use crate::error::Result;
use crate::onnx::NodeCx;

/// How ONNX says that padding is to be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AutoPad {
    /// `NOTSET`: `pads` has it.
    Explicit,
    /// None.
    Valid,
    /// As many outputs as strides fit into the input; the odd one at the end.
    SameUpper,
    /// The same, the odd one at the beginning.
    SameLower,
}

/// The attributes that nodes with windows share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spatial {
    pub(crate) strides: Vec<usize>,
    pub(crate) dilations: Vec<usize>,
    /// All begins, then all ends; zeros unless `auto_pad` is `Explicit`.
    pub(crate) pads: Vec<usize>,
    pub(crate) auto_pad: AutoPad,
}

impl Spatial {
    /// Reads the attributes of a node with so many spatial axes.
    pub(crate) fn read(cx: &NodeCx<'_>, axes: usize) -> Result<Self> {
        let auto_pad = match cx.string("auto_pad", "NOTSET")? {
            "NOTSET" | "" => AutoPad::Explicit,
            "VALID" => AutoPad::Valid,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            other => return Err(cx.broken(format!("auto_pad is '{other}'"))),
        };
        let pads = counts(cx, "pads", 2 * axes, 0)?;
        if auto_pad != AutoPad::Explicit && pads.iter().any(|&pad| pad > 0) {
            return Err(cx.broken(format!("has auto_pad and pads {pads:?}")));
        }
        let strides = counts(cx, "strides", axes, 1)?;
        let dilations = counts(cx, "dilations", axes, 1)?;
        if let Some(list) = [&strides, &dilations].into_iter().find(|list| list.contains(&0)) {
            return Err(cx.broken(format!("strides and dilations must be positive, got {list:?}")));
        }
        Ok(Spatial { strides, dilations, pads, auto_pad })
    }

    /// The pads for inputs and a window of the given extents.
    pub(crate) fn resolved(&self, input: &[usize], kernel: &[usize]) -> Vec<usize> {
        let upper = match self.auto_pad {
            AutoPad::Explicit => return self.pads.clone(),
            AutoPad::Valid => return vec![0; 2 * input.len()],
            AutoPad::SameUpper => true,
            AutoPad::SameLower => false,
        };
        let totals = input.iter().zip(kernel).enumerate().map(|(i, (&n, &k))| {
            let reach = (k.saturating_sub(1)).saturating_mul(self.dilations[i]).saturating_add(1);
            let last = n.div_ceil(self.strides[i]).saturating_sub(1) * self.strides[i];
            last.saturating_add(reach).saturating_sub(n)
        });
        halves(totals, upper)
    }
}

/// Padding divided between both sides: all begins, then all ends. The odd one
/// is at the end if `upper`.
pub(crate) fn halves(totals: impl Iterator<Item = usize>, upper: bool) -> Vec<usize> {
    let totals: Vec<usize> = totals.collect();
    let begin = |&total: &usize| if upper { total / 2 } else { total.div_ceil(2) };
    let begins = totals.iter().map(begin);
    let ends = totals.iter().map(|total| total - begin(total));
    begins.chain(ends).collect()
}

/// An INTS attribute of so many numbers that are not negative.
pub(crate) fn counts(
    cx: &NodeCx<'_>,
    name: &str,
    count: usize,
    default: usize,
) -> Result<Vec<usize>> {
    let Some(values) = cx.ints(name)? else { return Ok(vec![default; count]) };
    if values.len() != count {
        return Err(cx.broken(format!("{name} must have {count} numbers, got {values:?}")));
    }
    let number = |&value: &i64| usize::try_from(value).ok();
    let numbers: Option<Vec<usize>> = values.iter().map(number).collect();
    numbers.ok_or_else(|| cx.unsupported(format!("{name} of {values:?}; none may be negative")))
}
