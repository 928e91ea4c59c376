//! Elements at places that indices say, as they are stored.

use super::{FAMILY, VARIANTS, cpu};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::{Dim, TensorType};
use crate::kernels::movement::bits_of;
use crate::kernels::parts::{self, Part};
use crate::kernels::{CpuCx, Dispatch, Fault, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use crate::ops::gather::Places;
use crate::ops::movement::strides;

const DIMS: [&str; 8] = ["dim0", "dim1", "dim2", "dim3", "dim4", "dim5", "dim6", "dim7"];
const SIZES: [&str; 8] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];
const STRIDES: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// Gathers the elements of its first input that its second one means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacesKernel {
    /// How indices say which.
    pub places: Places,
}

/// A shader that imports `gather/places` for `dims` dimensions.
pub(crate) fn placed(
    shader: &'static str,
    places: Places,
    bits: u32,
    dims: usize,
) -> ShaderRequest {
    let kind = match places {
        Places::Slices { .. } => "slices",
        Places::Elements { .. } => "elements",
        Places::Tuples { .. } => "tuples",
    };
    let request = ShaderRequest::new(shader)
        .with("BITS", ConstValue::U32(bits))
        .with("LANES", ConstValue::U32(32 / bits))
        .feature(kind);
    DIMS[..dims].iter().skip(1).fold(request, |request, dim| request.feature(*dim))
}

/// How many dimensions the shader has to know.
pub(crate) fn dims(places: Places, indices: &TensorType) -> Result<usize> {
    match places {
        Places::Slices { .. } => Ok(1),
        Places::Elements { .. } => Ok(indices.rank().max(1)),
        Places::Tuples { .. } => places.depth(&indices.shape),
    }
}

/// The indices in parts that fit a binding, in whole tuples.
pub(crate) fn index_parts(
    cx: &GpuCx<'_>,
    what: &str,
    places: Places,
    indices: &TensorType,
) -> Result<Vec<Part>> {
    if bits_of("indices", indices.dtype)? != 32 {
        return Err(Error::unsupported(what, format!("indices of {}", indices.dtype)));
    }
    let depth = places.depth(&indices.shape)? as u64;
    parts::fits_u32(cx, what, &indices.elements())?;
    parts::split(cx, what, &(indices.elements() / depth.max(1)), &[(depth * 4).into()])
}

/// The bytes of an index in a part of [`index_parts`].
pub(crate) fn index_bytes(places: Places, indices: &TensorType) -> Result<u64> {
    Ok(places.depth(&indices.shape)? as u64 * 4)
}

/// What `gather/places.wgsl` has to know of data and indices.
pub(crate) fn params(
    places: Places,
    data: &TensorType,
    indices: &TensorType,
) -> Result<Vec<(&'static str, Param)>> {
    let from = strides(&data.shape, Dim::Const(1), |a, b| a * b);
    let mut params = vec![("index_code", Param::Status(Fault::Index))];
    match places {
        Places::Slices { axis, batch_dims } => {
            params.push(("entries", (&data.shape[axis]).into()));
            params.push(("inner", (&from[axis]).into()));
            params.push(("picked", Dim::product(&indices.shape[batch_dims..]).into()));
            params.push(("per_batch", Dim::product(&data.shape[batch_dims..axis]).into()));
        }
        Places::Elements { axis } => {
            params.push(("entries", (&data.shape[axis]).into()));
            params.push(("stride", (&from[axis]).into()));
            for i in 0..data.rank() {
                // The position along the axis is the index's to say.
                let stride = if i == axis { Dim::Const(0) } else { from[i].clone() };
                params.push((STRIDES[i], stride.into()));
                if i > 0 {
                    params.push((SIZES[i], (&indices.shape[i]).into()));
                }
            }
        }
        Places::Tuples { batch_dims } => {
            let depth = places.depth(&indices.shape)?;
            let rows = indices.rank().saturating_sub(1);
            params.push(("inner", Dim::product(&data.shape[batch_dims + depth..]).into()));
            params.push(("picked", Dim::product(&indices.shape[batch_dims..rows]).into()));
            params.push(("slab", Dim::product(&data.shape[batch_dims..]).into()));
            for d in 0..depth {
                params.push((SIZES[d], (&data.shape[batch_dims + d]).into()));
                params.push((STRIDES[d], (&from[batch_dims + d]).into()));
            }
        }
    }
    Ok(params)
}

fn request(
    variant: &Variant,
    places: Places,
    bits: u32,
    dims: usize,
    windowed: bool,
) -> ShaderRequest {
    let request = placed(variant.shader, places, bits, dims);
    if windowed { request.feature("windowed") } else { request }
}

/// One of each kind.
pub(crate) const KINDS: [Places; 3] = [
    Places::Slices { axis: 0, batch_dims: 0 },
    Places::Elements { axis: 0 },
    Places::Tuples { batch_dims: 0 },
];

pub(super) fn requests(variant: &Variant) -> Vec<ShaderRequest> {
    let mut requests = Vec::new();
    for places in KINDS {
        let most = if matches!(places, Places::Slices { .. }) { 1 } else { 8 };
        for bits in [8, 16, 32] {
            requests.push(request(variant, places, bits, most.min(2), true));
            requests.push(request(variant, places, bits, most, false));
        }
    }
    requests
}

impl Kernel for PlacesKernel {
    fn name(&self) -> &str {
        "gather.places"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (data, indices, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let bits = bits_of("a gather", data.dtype)?;
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "places")?;
        let bytes = u64::from(bits / 8);
        let (count, all) = (y.elements(), data.elements());
        parts::fits_u32(cx, "elements of a gather's result", &count)?;
        parts::fits_u32(cx, "elements of a gather's data", &all)?;
        let sources = parts::split(cx, "data of a gather", &all, &[bytes.into()])?;
        let results = parts::split(cx, "the result of a gather", &count, &[bytes.into()])?;
        let index_parts = index_parts(cx, "indices of a gather", self.places, indices)?;
        let index_bytes = index_bytes(self.places, indices)?;
        let windowed = sources.len() > 1 || index_parts.len() > 1;
        let dims = dims(self.places, indices)?;
        let own = params(self.places, data, indices)?;
        let mut dispatches = Vec::new();
        for result in &results {
            for source in &sources {
                for part in &index_parts {
                    let live = result.live(&count);
                    let mut params = own.clone();
                    params.extend([
                        ("count", (&live).into()),
                        ("first", Param::U32(result.first as u32)),
                        ("index_first", Param::U32(part.first as u32)),
                        ("index_count", Param::U32(part.count as u32)),
                        ("part_first", Param::U32(source.first as u32)),
                        ("part_count", Param::U32(source.count as u32)),
                    ]);
                    dispatches.push(Dispatch {
                        shader: request(variant, self.places, bits, dims, windowed),
                        variant: format!("{FAMILY}/{}", variant.name),
                        bindings: vec![
                            ("data", source.view(Place::Input(0), bytes)),
                            ("indices", part.view(Place::Input(1), index_bytes)),
                            ("result", result.view(Place::Output(0), bytes)),
                            ("status", View::all(Place::Status)),
                        ],
                        params,
                        grid: Grid::Linear(live.ceil_div(64 * 32 / bits)),
                        work: live * 16u64,
                    });
                }
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::places(self.places, cx)
    }
}
