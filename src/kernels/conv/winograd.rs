//! Winograd's F(2x2, 3x3): 16 matrix products in the place of a window of 3 by 3,
//! with less than half of the multiplications.
//!
//! Tiles of 2 by 2 outputs are computed in chunks, such that what lies between the
//! three steps stays small. The products are those of `matmul`, on scratch memory.

use super::ConvKernel;
use super::variants::{FAMILY, Options};
use crate::error::{Error, Result};
use crate::gpu::{DeviceCaps, ShaderRequest};
use crate::graph::{Dim, Shape, TensorType};
use crate::kernels::matmul::MatMulKernel;
use crate::kernels::parts::Part;
use crate::kernels::{Dispatch, GpuCx, Grid, Kernel, Place, Variant, View};
use crate::ops::conv::geometry::{Axis, Geometry};
use crate::tensor::DType;

const WEIGHTS: Place = Place::Scratch(0);
const INPUTS: Place = Place::Scratch(1);
const PRODUCTS: Place = Place::Scratch(2);

/// Matrices: a tile has 4 by 4 inputs.
const MATRICES: u64 = 16;
/// Invocations of a workgroup.
const WORKGROUP: u64 = 64;
/// Tiles that the products take side by side.
const LANES: u64 = 32;

/// The most bytes for the inputs of a chunk and for their products; the transformed
/// weights may take twice as many. A GPU is not kept busy by as little as one core is.
fn most_bytes(caps: &DeviceCaps) -> u64 {
    let most = if caps.is_software() { 256 << 10 } else { 4 << 20 };
    most.min(caps.max_binding() / 2)
}

/// Tiles that are computed together: those that scratch memory has room for. If that is
/// much less than what keeps a device busy, the dispatches would be many.
fn chunk(cx: &GpuCx<'_>, g: &Geometry, tiles: u64) -> Option<u64> {
    let (c, m) = (g.c as u64, g.m as u64);
    let (most, weights) = (most_bytes(cx.caps), MATRICES * 4 * c * m);
    // Who asks for it by name gets it.
    let forced = cx.policy.force.get(FAMILY).is_some_and(|name| name == "winograd");
    let room = if forced { u64::MAX } else { cx.room };
    let room = room.checked_sub(weights).filter(|_| weights <= 2 * most)?;
    let tile = MATRICES * 4;
    let wanted = (most / (tile * c.max(m))).min(tiles);
    let chunk = (room / (tile * (c + m))).min(wanted);
    // Whole rows of lanes.
    let chunk = if chunk > LANES { chunk / LANES * LANES } else { chunk };
    let enough = wanted > 0 && 2 * chunk >= wanted;
    (enough || tiles == 0).then_some(chunk.max(1))
}

/// Whether a convolution can be computed this way: a plain window of 3 by 3 whose
/// transformed weights have room in scratch memory, and operands that fit a binding.
pub(super) fn possible(cx: &GpuCx<'_>, g: &Geometry, samples: u64) -> bool {
    let plain = |axis: &Axis| axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1;
    let (c, m) = (g.c as u64, g.m as u64);
    let planes = [(c, g.plane_in() as u64), (m, g.plane_out() as u64)];
    let fits = |(channels, plane): (u64, u64)| {
        let elements = samples.checked_mul(channels).and_then(|n| n.checked_mul(plane));
        elements.is_some_and(|n| n <= cx.caps.max_binding() / 4)
    };
    g.groups == 1
        && !g.transposed
        && g.axes.len() == 2
        && g.axes.iter().all(plain)
        && chunk(cx, g, samples.saturating_mul(tiles(g))).is_some()
        && planes.into_iter().all(fits)
}

/// Tiles along h and w.
fn across(g: &Geometry) -> (u64, u64) {
    let [_, h, w] = g.three();
    ((h.output as u64).div_ceil(2), (w.output as u64).div_ceil(2))
}

/// Tiles of a sample.
fn tiles(g: &Geometry) -> u64 {
    let (h, w) = across(g);
    h.saturating_mul(w)
}

/// The dispatches of a convolution.
pub(super) fn dispatches(
    kernel: &ConvKernel,
    cx: &GpuCx<'_>,
    variant: &'static Variant,
    options: Options,
) -> Result<Vec<Dispatch>> {
    let call = Call::new(kernel, cx, variant, options);
    let count = cx.bound(&call.tiles)?;
    let chunk = chunk(cx, &kernel.geometry, count)
        .ok_or_else(|| Error::unsupported(FAMILY, "no room for Winograd's transforms"))?;
    let mut all = vec![call.weights()];
    for first in (0..count).step_by(chunk as usize) {
        let part = Part { first, count: chunk.min(count - first) };
        all.push(call.input(&part));
        all.extend(call.products(&part)?);
        all.push(call.output(&part));
    }
    Ok(all)
}

/// A convolution on a device.
struct Call<'a> {
    cx: &'a GpuCx<'a>,
    g: &'a Geometry,
    h: Axis,
    w: Axis,
    variant: &'static Variant,
    options: Options,
    /// Tiles of all samples.
    tiles: Dim,
    /// Of a sample, along h and w.
    across: (u64, u64),
}

impl<'a> Call<'a> {
    fn new(
        kernel: &'a ConvKernel,
        cx: &'a GpuCx<'a>,
        variant: &'static Variant,
        options: Options,
    ) -> Self {
        let g = &kernel.geometry;
        let [_, h, w] = g.three();
        let across = across(g);
        let tiles = &g.batch * (across.0 * across.1);
        Call { cx, g, h, w, variant, options, tiles, across }
    }

    /// A view of scratch memory for so many columns of each of 16 matrices.
    fn scratch(&self, place: Place, rows: usize, columns: u64) -> View {
        View::range(place, 0, MATRICES * 4 * rows as u64 * columns)
    }

    fn weights(&self) -> Dispatch {
        let pairs = (self.g.m * self.g.c) as u64;
        let u = self.scratch(WEIGHTS, self.g.m, self.g.c as u64);
        Dispatch {
            shader: ShaderRequest::new("conv/winograd_weights"),
            variant: self.name(),
            bindings: vec![("w", View::all(Place::Input(1))), ("u", u)],
            params: vec![("pairs", Dim::from(pairs).into())],
            grid: Grid::Linear(pairs.div_ceil(WORKGROUP).into()),
            work: Dim::from(pairs * 64),
        }
    }

    fn input(&self, part: &Part) -> Dispatch {
        let invocations = part.live(&self.tiles) * self.g.c;
        let number = |n: usize| Dim::from(n).into();
        let mut params = self.tile_params(part, self.g.c);
        params.extend([
            ("in_h", number(self.h.input)),
            ("in_w", number(self.w.input)),
            ("pad_h", number(self.h.begin)),
            ("pad_w", number(self.w.begin)),
        ]);
        let v = self.scratch(INPUTS, self.g.c, part.count);
        Dispatch {
            shader: ShaderRequest::new("conv/winograd_input"),
            variant: self.name(),
            bindings: vec![("x", View::all(Place::Input(0))), ("v", v)],
            params,
            grid: Grid::Linear(invocations.ceil_div(WORKGROUP)),
            work: invocations * 64u64,
        }
    }

    /// `[16, m, c]` times `[16, c, tiles]`, which `matmul` computes in scratch memory.
    fn products(&self, part: &Part) -> Result<Vec<Dispatch>> {
        let (m, c) = (Dim::from(self.g.m), Dim::from(self.g.c));
        let live = part.live(&self.tiles);
        let matrices = |rows: &Dim, columns: &Dim| {
            let shape: Shape = vec![MATRICES.into(), rows.clone(), columns.clone()];
            TensorType { dtype: DType::F32, shape }
        };
        let kernel =
            MatMulKernel { trans_a: false, trans_b: false, activation: None, gated: false };
        let mut dispatches = kernel.gpu(&GpuCx {
            inputs: &[Some(matrices(&m, &c)), Some(matrices(&c, &live)), None],
            outputs: &[matrices(&m, &live)],
            ..*self.cx
        })?;
        let whole = [
            (Place::Input(0), self.scratch(WEIGHTS, self.g.m, self.g.c as u64)),
            (Place::Input(1), self.scratch(INPUTS, self.g.c, part.count)),
            (Place::Output(0), self.scratch(PRODUCTS, self.g.m, part.count)),
        ];
        let views = dispatches.iter_mut().flat_map(|dispatch| &mut dispatch.bindings);
        for (_, view) in views {
            let Some((_, all)) = whole.iter().find(|(place, _)| *place == view.place) else {
                continue;
            };
            view.place = all.place;
            view.size = view.size.or(all.size);
        }
        Ok(dispatches)
    }

    fn output(&self, part: &Part) -> Dispatch {
        let invocations = part.live(&self.tiles) * self.g.m;
        let mut params = self.tile_params(part, self.g.m);
        params.push(("out_h", Dim::from(self.h.output).into()));
        params.push(("out_w", Dim::from(self.w.output).into()));
        let product = self.scratch(PRODUCTS, self.g.m, part.count);
        let mut bindings = vec![("product", product), ("y", View::all(Place::Output(0)))];
        if self.options.bias {
            bindings.push(("bias", View::all(Place::Input(2))));
        }
        if self.options.residual {
            bindings.push(("residual", View::all(Place::Input(3))));
        }
        Dispatch {
            shader: output_request(self.options),
            variant: self.name(),
            bindings,
            params,
            grid: Grid::Linear(invocations.ceil_div(WORKGROUP)),
            work: invocations * 64u64,
        }
    }

    fn tile_params(
        &self,
        part: &Part,
        channels: usize,
    ) -> Vec<(&'static str, crate::kernels::Param)> {
        vec![
            ("channels", Dim::from(channels).into()),
            ("tiles", part.live(&self.tiles).into()),
            ("first", Dim::from(part.first).into()),
            ("tiles_h", Dim::from(self.across.0).into()),
            ("tiles_w", Dim::from(self.across.1).into()),
        ]
    }

    fn name(&self) -> String {
        format!("{FAMILY}/{}", self.variant.name)
    }
}

fn output_request(options: Options) -> ShaderRequest {
    let mut request = ShaderRequest::new("conv/winograd_output");
    let flags = [
        ("bias", options.bias),
        ("residual", options.residual),
        ("activated", options.activation.is_some()),
    ];
    for (name, _) in flags.iter().filter(|(_, on)| *on) {
        request = request.feature(*name);
    }
    if let Some(activation) = options.activation {
        activation.configure(&mut request);
    }
    request
}

/// Every shader of this algorithm but those of the products.
pub(super) fn requests(all: &[Options]) -> Vec<ShaderRequest> {
    let steps = ["conv/winograd_weights", "conv/winograd_input"];
    let outputs = all.iter().map(|options| output_request(*options));
    steps.map(ShaderRequest::new).into_iter().chain(outputs).collect()
}
