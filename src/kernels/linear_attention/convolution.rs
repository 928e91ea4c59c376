//! The short convolution before linear attention: channels are independent, so each
//! has an invocation.

use super::{CONVOLUTION, FAMILY, VARIANTS};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::kernels::parts::{self, Part};
use crate::kernels::state::copies;
use crate::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use crate::ops::linear_attention::Span;
use rayon::prelude::*;

/// The shaders the variant is instantiated to.
pub(super) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let each = |taps| [false, true].map(|bias| request(variant, taps, bias));
    [2, 4].into_iter().flat_map(each).collect()
}

fn request(variant: &Variant, taps: u64, bias: bool) -> ShaderRequest {
    let request = ShaderRequest::new(variant.shader).with("TAPS", ConstValue::U32(taps as u32));
    let consts = variant.consts.iter();
    let request = consts.fold(request, |request, (name, value)| request.with(*name, *value));
    if bias { request.feature("bias") } else { request }
}

/// Computes [`StatefulConvolution`](crate::ops::linear_attention::StatefulConvolution),
/// with its inputs and outputs. The state is absent where it is updated in place.
#[derive(Debug, Clone, Copy)]
pub struct ConvolutionKernel;

impl Kernel for ConvolutionKernel {
    fn name(&self) -> &str {
        "linear_attention.convolution"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (x, weight) = (cx.input(0)?, cx.input(1)?);
        let (batch, tokens) = (&x.shape[0], &x.shape[1]);
        let [channels, taps] = [&weight.shape[0], &weight.shape[1]].map(|dim| dim.as_const());
        let (channels, taps) =
            channels.zip(taps).ok_or_else(|| Error::internal("a convolution of no fixed size"))?;
        // Two passes over the taps, and the end of each loop, which drivers count as well.
        let (passes, around) = (2 * taps + 4, 3 * taps + 4);
        let fits =
            |variant: &Variant| variant.shader == CONVOLUTION && cx.caps.loops_fit(passes + around);
        let variant = cx.choose(FAMILY, VARIANTS, fits)?;
        let left = cx.caps.loop_iterations.map_or(u64::MAX, |most| most.saturating_sub(around));
        let count = (left / passes).clamp(1, 1 << 16);
        let row = tokens * (channels * 4);
        let state = (taps - 1) * channels * 4;
        let rows = [row.clone(), row, state.into()];
        let parts = parts::split(cx, "a sequence of StatefulConvolution", batch, &rows)?;
        let label = format!("{FAMILY}/{}", variant.name);
        let mut dispatches = match cx.inputs.get(3).is_some_and(Option::is_some) {
            true => copies(cx, "a state", [3, 1], &label)?,
            false => Vec::new(),
        };
        for part in &parts {
            for first in (0..cx.bound(tokens)?.max(1)).step_by(count as usize) {
                let sizes = [channels, taps, state];
                dispatches.push(dispatch(cx, variant, part, [first, count], sizes)?);
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let (x, weight, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
        let (past, span) = (cx.optional(3), cx.input(4)?);
        let [_, tokens, channels] = x.extents[..] else {
            return Err(Error::internal("a convolution over other than rank 3"));
        };
        let taps = weight.extents[1];
        let (x, weight, span) = (x.read::<f32>(), weight.read::<f32>(), span.read::<i32>());
        let bias = bias.map(|bias| bias.read::<f32>());
        let (outputs, states) = cx.outputs.split_at_mut(1);
        let state =
            states.first_mut().ok_or_else(|| Error::internal("no state"))?.write::<f32>()?;
        if let Some(past) = past {
            state.copy_from_slice(&past.read::<f32>());
        }
        let kept = (taps - 1) * channels;
        let span = |b: usize| Span::new(span[2 * b].into(), span[2 * b + 1].into(), tokens);
        for (b, state) in state.chunks_mut(kept.max(1)).enumerate() {
            if span(b).fresh {
                state.fill(0.0);
            }
        }
        // Channels next to each other, for each tap.
        let by_tap: Vec<f32> =
            (0..taps * channels).map(|i| weight[i % channels * taps + i / channels]).collect();
        // The values so many tokens before a token.
        let before = |state: &[f32], b: usize, t: usize, back: usize| {
            let skip = span(b).skip;
            match t.checked_sub(back).filter(|&at| at >= skip) {
                Some(at) => x[(b * tokens + at) * channels..][..channels].to_vec(),
                None => {
                    let row = b * (taps - 1) + taps - 1 - (skip + back - t);
                    state[row * channels..][..channels].to_vec()
                }
            }
        };
        let y = outputs[0].write::<f32>()?;
        let old: &[f32] = state;
        y.par_chunks_mut(channels.max(1)).enumerate().for_each(|(row, y)| {
            let (b, t) = (row / tokens, row % tokens);
            if t < span(b).skip {
                return y.fill(0.0);
            }
            match &bias {
                Some(bias) => y.copy_from_slice(bias),
                None => y.fill(0.0),
            }
            for j in 0..taps {
                let values = before(old, b, t, taps - 1 - j);
                let taps = &by_tap[j * channels..][..channels];
                for ((y, value), tap) in y.iter_mut().zip(&values).zip(taps) {
                    *y += tap * value;
                }
            }
        });
        let batch = state.len() / kept.max(1);
        for b in (0..batch).filter(|&b| span(b).skip < tokens) {
            let rows: Vec<f32> =
                (0..taps - 1).flat_map(|j| before(state, b, tokens - 1, taps - 2 - j)).collect();
            state[b * kept..][..kept].copy_from_slice(&rows);
        }
        Ok(())
    }
}

/// The tokens from `first` on of some sequences.
fn dispatch(
    cx: &GpuCx<'_>,
    variant: &'static Variant,
    part: &Part,
    [first, count]: [u64; 2],
    [channels, taps, state]: [u64; 3],
) -> Result<Dispatch> {
    let x = cx.input(0)?;
    let bias = cx.inputs.get(2).is_some_and(Option::is_some);
    let row = cx.bound(&(&x.shape[1] * (channels * 4)))?;
    let mut bindings = vec![
        ("x", part.view(Place::Input(0), row)),
        ("weight", View::all(Place::Input(1))),
        ("y", part.view(Place::Output(0), row)),
        ("state", part.view(Place::Output(1), state)),
        ("span", View::all(Place::Input(4))),
    ];
    if bias {
        bindings.push(("bias", View::all(Place::Input(2))));
    }
    let columns = part.live(&x.shape[0]) * channels;
    let number = |value: u64| Param::U32(value as u32);
    let params = vec![
        ("columns", (&columns).into()),
        ("tokens", (&x.shape[1]).into()),
        ("first", number(first)),
        ("count", number(count)),
        ("channels", number(channels)),
        ("first_sequence", number(part.first)),
    ];
    let workgroup = u64::from(variant.needs.invocations);
    Ok(Dispatch {
        shader: request(variant, taps, bias),
        variant: format!("{FAMILY}/{}", variant.name),
        bindings,
        params,
        grid: Grid::Linear(columns.ceil_div(workgroup)),
        work: columns * (count * taps * 4),
    })
}
