//! Conversions between numbers and their quantised form, element by element.

use super::{FAMILY, VARIANTS, cpu, plain};
use crate::error::Result;
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::{Dim, TensorType};
use crate::kernels::elementwise::split;
use crate::kernels::elementwise::storage::storage;
use crate::kernels::parts::{self, too_large};
use crate::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use crate::ops::quantize::Granularity;
use crate::tensor::DType;

/// Which way numbers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// Divided by their scale in this dtype's precision, rounded and moved.
    Quantize {
        /// F32, F16 or BF16.
        precision: DType,
        /// For floating-point results; see [`crate::tensor::SmallRounding`].
        saturate: bool,
    },
    /// Multiplied by their scale, rounded and moved.
    Requantize,
    /// Moved and multiplied by their scale.
    Dequantize,
}

/// Quantises, requantises or dequantises. Inputs: x, the scales (F32) and
/// optionally the zero points (I32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Which way.
    pub conversion: Conversion,
    /// Which elements share a scale.
    pub granularity: Granularity,
}

/// What one dispatch computes.
struct Piece {
    start: u64,
    count: Dim,
    x: View,
    y: View,
    /// The part of the scales and zero points, where that is not all.
    scales: Option<(u64, u64)>,
}

impl Linear {
    fn request(
        &self,
        variant: &Variant,
        from: DType,
        to: DType,
        zero: bool,
    ) -> Result<ShaderRequest> {
        let at = "linear quantisation";
        let (read, write) = (storage(at, from)?, storage(at, to)?);
        let mut request = plain(variant).feature(read.read).feature(write.write);
        let (least, most) = to.range().unwrap_or((0, 0));
        for (name, end) in [("LEAST", least), ("MOST", most)] {
            request = request.with(name, ConstValue::I32(end as i32));
        }
        let small = match self.conversion {
            Conversion::Dequantize => from.is_small_float(),
            _ => to.is_small_float(),
        };
        match self.conversion {
            Conversion::Quantize { precision, saturate } => {
                request = request.feature("quantize");
                match precision {
                    DType::F16 => request = request.feature("precision_f16"),
                    DType::BF16 => request = request.feature("precision_bf16"),
                    _ => {}
                }
                if small && !saturate {
                    request = request.feature("unsaturated");
                }
            }
            Conversion::Requantize => request = request.feature("multiply"),
            Conversion::Dequantize => {}
        }
        match self.granularity {
            Granularity::Tensor => {}
            Granularity::Axis(_) => request = request.feature("per_axis"),
            Granularity::Block { .. } => request = request.feature("blocked"),
        }
        if small {
            request = request.feature("small");
        }
        Ok(if zero { request.feature("shifted") } else { request })
    }

    /// The parts of the work. Where the scales fit a binding they are bound as
    /// they are, and the elements are cut anywhere; otherwise both are cut
    /// before the axis.
    fn pieces(&self, cx: &GpuCx<'_>) -> Result<Vec<Piece>> {
        let (x, scale, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let total = x.elements();
        split::index32("elements of a quantised tensor", cx.bound(&total)?)?;
        let sizes = [x.dtype, y.dtype].map(|dtype| dtype.device_block_bytes() as u64);
        let scales = cx.bound(&(scale.elements() * 4u64))?;
        if scales <= cx.caps.max_binding() {
            let chunks = split::elements(cx, &total, &sizes)?;
            let piece = |chunk: &split::Chunk| Piece {
                start: chunk.start,
                count: chunk.count.clone(),
                x: chunk.view(Place::Input(0), sizes[0]),
                y: chunk.view(Place::Output(0), sizes[1]),
                scales: None,
            };
            return Ok(chunks.iter().map(piece).collect());
        }
        let Granularity::Block { axis, .. } = self.granularity else {
            return Err(too_large(
                "the scales of a quantised tensor",
                scales,
                cx.caps.max_binding(),
            ));
        };
        let rows = Dim::product(&x.shape[..axis]);
        let width = Dim::product(&x.shape[axis..]);
        let scale_row = Dim::product(&scale.shape[axis..]) * 4u64;
        let bytes = [&width * sizes[0], &width * sizes[1], scale_row.clone()];
        let what = "a row of a quantised tensor and its scales";
        let all = parts::split(cx, what, &rows, &bytes)?;
        let number = |dim: &Dim| cx.bound(dim);
        let piece = |part: &parts::Part| {
            let range = (part.first * number(&scale_row)?, part.count * number(&scale_row)?);
            Ok(Piece {
                start: 0,
                count: part.live(&rows) * &width,
                x: part.view(Place::Input(0), number(&bytes[0])?),
                y: part.view(Place::Output(0), number(&bytes[1])?),
                scales: Some(range),
            })
        };
        all.iter().map(piece).collect()
    }

    fn params(
        &self,
        x: &TensorType,
        scale: &TensorType,
        piece: &Piece,
    ) -> Result<Vec<(&'static str, Param)>> {
        let mut params: Vec<(&'static str, Param)> = vec![
            ("count", (&piece.count).into()),
            ("start", split::index32("elements of a quantised tensor", piece.start)?.into()),
        ];
        let axis = match self.granularity {
            Granularity::Tensor => return Ok(params),
            Granularity::Axis(axis) | Granularity::Block { axis, .. } => axis,
        };
        params.push(("inner", Dim::product(&x.shape[axis + 1..]).into()));
        params.push(("extent", (&x.shape[axis]).into()));
        if let Granularity::Block { size, .. } = self.granularity {
            params.push(("size", Dim::from(size).into()));
            params.push(("blocks", (&scale.shape[axis]).into()));
        }
        Ok(params)
    }
}

impl Kernel for Linear {
    fn name(&self) -> &str {
        match self.conversion {
            Conversion::Quantize { .. } => "quantize.quantize",
            Conversion::Requantize => "quantize.requantize",
            Conversion::Dequantize => "quantize.dequantize",
        }
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (x, scale, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let shifted = cx.inputs.get(2).is_some_and(Option::is_some);
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "linear")?;
        let shader = self.request(variant, x.dtype, y.dtype, shifted)?;
        let lanes = storage("linear quantisation", y.dtype)?.lanes;
        let mut dispatches = Vec::new();
        for piece in self.pieces(cx)? {
            let of_scales = |place: Place| match piece.scales {
                Some((offset, bytes)) => View::range(place, offset, bytes),
                None => View::all(place),
            };
            let mut bindings = vec![
                ("x", piece.x.clone()),
                ("scale", of_scales(Place::Input(1))),
                ("y", piece.y.clone()),
            ];
            if shifted {
                bindings.push(("zero", of_scales(Place::Input(2))));
            }
            dispatches.push(Dispatch {
                shader: shader.clone(),
                variant: format!("{FAMILY}/{}", variant.name),
                bindings,
                params: self.params(x, scale, &piece)?,
                grid: Grid::Linear(piece.count.ceil_div(64 * 4 * lanes)),
                work: &piece.count * 16u64,
            });
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
        cpu::linear(self, &x, &scale, zero.as_ref(), cx.output(0)?)
    }
}

/// Each way with each dtype, and each granularity with one of them.
pub(super) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let mut all = Vec::new();
    let mut add = |conversion, granularity, from, to, zero| {
        all.extend(Linear { conversion, granularity }.request(variant, from, to, zero));
    };
    let quantize = |precision, saturate| Conversion::Quantize { precision, saturate };
    let grains =
        [Granularity::Tensor, Granularity::Axis(0), Granularity::Block { axis: 0, size: 2 }];
    let stored =
        [DType::I8, DType::U8, DType::I16, DType::U16, DType::I4, DType::U4, DType::I2, DType::U2];
    for to in stored.into_iter().chain(DType::ALL.into_iter().filter(|d| d.is_small_float())) {
        add(quantize(DType::F32, true), Granularity::Tensor, DType::F32, to, false);
        add(quantize(DType::F32, false), Granularity::Tensor, DType::F32, to, false);
        add(Conversion::Dequantize, Granularity::Tensor, to, DType::F32, false);
    }
    for granularity in grains {
        for zero in [true, false] {
            for real in [DType::F32, DType::F16, DType::BF16] {
                add(quantize(real, true), granularity, real, DType::I8, zero);
                add(Conversion::Dequantize, granularity, DType::U8, real, zero);
            }
            add(Conversion::Requantize, granularity, DType::I32, DType::U8, zero);
        }
    }
    all
}
