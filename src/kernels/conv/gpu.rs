//! A convolution as dispatches.

use super::ConvKernel;
use super::split::{self, GROUPS, INPUTS, Lies, Limits, OUTPUTS, Part, SAMPLES};
use super::variants::{self, FAMILY, Options};
use super::winograd;
use crate::error::Result;
use crate::graph::Dim;
use crate::kernels::{Dispatch, GpuCx, Grid, Param, Place, Variant};
use crate::ops::conv::geometry::{Axis, Geometry};

type Params = Vec<(&'static str, Param)>;

/// The dispatches of a convolution.
pub(super) fn dispatches(kernel: &ConvKernel, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
    let g = &kernel.geometry;
    let samples = cx.bound(&g.batch)?;
    if samples == 0 || g.groups * g.m * g.plane_out() == 0 {
        return Ok(Vec::new());
    }
    let variant = variants::choose(cx, g, samples)?;
    let present = |i: usize| cx.inputs.get(i).is_some_and(Option::is_some);
    let options = Options {
        bias: present(2),
        residual: present(3),
        activation: kernel.activation,
        ..Options::of(g)
    };
    if variant.name == "winograd" {
        return winograd::dispatches(kernel, cx, variant, options);
    }
    let limits = Limits {
        binding: cx.caps.max_binding(),
        align: u64::from(cx.caps.storage_alignment()),
        channels: variants::most_channels(cx, variant, g),
    };
    let lies = Lies::new(g);
    let tile = variants::tile(variant)?;
    let call = Call { g, lies, variant, tile, align: limits.align, options };
    let parts = split::parts(g, &lies, samples, limits)?;
    Ok(parts.iter().map(|part| call.dispatch(part)).collect())
}

/// A convolution on a device.
struct Call<'a> {
    g: &'a Geometry,
    lies: Lies,
    variant: &'static Variant,
    /// Output channels and quads of a workgroup.
    tile: (u64, u64),
    align: u64,
    options: Options,
}

impl Call<'_> {
    fn dispatch(&self, part: &Part) -> Dispatch {
        let [samples, groups, outputs, inputs] = part.ranges;
        let live = (self.g.batch.clone() - samples.start).min(samples.count);
        let whole = inputs.count == self.g.c as u64;
        let options =
            Options { staged: !whole, fours: self.options.fours && whole, ..self.options };
        let three = self.g.three();
        // The outputs of a phase, the last axis in quads.
        let phase = three.map(|axis| if self.g.transposed { axis.stride } else { 1 } as u64);
        let count = |i: usize| (three[i].output as u64).div_ceil(phase[i]);
        let strips = count(1).div_ceil(variants::rows_of(self.variant, self.g));
        let (slices, rows, quads) = (count(0), strips, count(2).div_ceil(4));
        let across = (&live * (slices * rows * quads)).ceil_div(self.tile.1);
        let blocks = outputs.count.div_ceil(self.tile.0);
        let tiles = across * (blocks * groups.count * phase.iter().product::<u64>());
        let number = |value: u64| Param::from(Dim::from(value));
        let mut params: Params = vec![
            ("tiles", (&tiles).into()),
            ("samples", (&live).into()),
            ("groups", number(groups.count)),
            ("m", number(outputs.count)),
            ("c", number(inputs.count)),
            ("quads", number(quads)),
            ("rows", number(rows)),
        ];
        if options.deep {
            params.push(("slices", number(slices)));
        }
        if options.staged {
            let last = inputs.start + inputs.count == self.g.c as u64;
            let stage = u32::from(inputs.start == 0) | u32::from(last) << 1;
            params.push(("stage", stage.into()));
        }
        self.axis_params(&three, options, &mut params);
        let bindings = self.bind(part, options, &mut params);
        let products = outputs.count * groups.count * inputs.count * self.g.taps() as u64;
        Dispatch {
            shader: options.request(self.variant),
            variant: format!("{FAMILY}/{}", self.variant.name),
            bindings,
            params,
            grid: Grid::Linear(tiles),
            work: live * (products.max(1) * self.outputs_per_tap()),
        }
    }

    /// Outputs that a tap is used for: some of them, if transposed.
    fn outputs_per_tap(&self) -> u64 {
        let plane = if self.g.transposed { self.g.plane_in() } else { self.g.plane_out() };
        plane as u64
    }

    fn bind(
        &self,
        part: &Part,
        options: Options,
        params: &mut Params,
    ) -> Vec<(&'static str, crate::kernels::View)> {
        let number = |value: u64| Param::from(Dim::from(value));
        let Lies { x, w, y, bias } = &self.lies;
        let x_window = x.window(part, Place::Input(0), self.align);
        let w_window = w.window(part, Place::Input(1), self.align);
        let y_window = y.window(part, Place::Output(0), self.align);
        params.extend([
            ("x_base", number(x_window.base)),
            ("x_sample", number(x.strides[SAMPLES])),
            ("x_group", number(x.strides[GROUPS])),
            ("x_channel", number(x.strides[INPUTS])),
            ("w_base", number(w_window.base)),
            ("w_group", number(w.strides[GROUPS])),
            ("w_m", number(w.strides[OUTPUTS])),
            ("w_c", number(w.strides[INPUTS])),
            ("y_base", number(y_window.base)),
            ("y_sample", number(y.strides[SAMPLES])),
            ("y_group", number(y.strides[GROUPS])),
            ("y_channel", number(y.strides[OUTPUTS])),
        ]);
        let mut bindings = vec![("x", x_window.view), ("w", w_window.view), ("y", y_window.view)];
        if options.bias {
            let window = bias.window(part, Place::Input(2), self.align);
            params.push(("bias_base", number(window.base)));
            params.push(("bias_group", number(bias.strides[GROUPS])));
            bindings.push(("bias", window.view));
        }
        if options.residual {
            bindings.push(("residual", y.window(part, Place::Input(3), self.align).view));
        }
        bindings
    }

    fn axis_params(&self, three: &[Axis; 3], options: Options, params: &mut Params) {
        type Names = [&'static str; 8];
        const NAMES: [Names; 3] = [
            ["in_d", "out_d", "k_d", "stride_d", "dilation_d", "pad_d", "step_d", "apart_d"],
            ["in_h", "out_h", "k_h", "stride_h", "dilation_h", "pad_h", "step_h", "apart_h"],
            ["in_w", "out_w", "k_w", "stride_w", "dilation_w", "pad_w", "step_w", "apart_w"],
        ];
        let shown = three.iter().zip(NAMES).skip(usize::from(!options.deep));
        for (axis, names) in shown {
            let Axis { input, output, kernel, stride, dilation, begin } = *axis;
            let (step, apart) = (variants::step(axis), variants::apart(axis));
            let values = [input, output, kernel, stride, dilation, begin, step, apart];
            let used = if options.transposed { 8 } else { 6 };
            for (name, value) in names.into_iter().zip(values).take(used) {
                params.push((name, Param::from(Dim::from(value))));
            }
        }
    }
}
