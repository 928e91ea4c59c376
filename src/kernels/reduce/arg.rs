//! Where along an axis the largest or smallest element is.

use super::{FAMILY, Spans, VARIANTS, is_serial, parts, plain_request, suits, workgroup};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::kernels::elementwise::storage::storage;
use crate::kernels::{CpuCx, CpuTensor, Dispatch, GpuCx, Grid, Kernel, Place, Variant};
use crate::tensor::DType;
use crate::threads::pieces;
use bytemuck::Pod;
use half::{bf16, f16};

const WHAT: &str = "a span of ArgMax or ArgMin";

/// The shader for a dtype of x.
pub(super) fn request(
    variant: &Variant,
    dtype: DType,
    largest: bool,
    select_last: bool,
) -> Result<ShaderRequest> {
    let wanted = [(largest, "largest"), (select_last, "select_last")];
    let wanted = wanted.into_iter().filter(|(on, _)| *on).map(|(_, name)| name);
    Ok(wanted.fold(plain_request(variant, dtype)?, ShaderRequest::feature))
}

/// Finds the place of an extremum in the middle of `[outer, n, inner]`; n is
/// not 0. Output: I32 or I64.
#[derive(Debug, Clone)]
pub struct ArgKernel {
    /// The largest element, or the smallest.
    pub largest: bool,
    /// Of equal ones the last, or the first.
    pub select_last: bool,
    /// Where the elements are.
    pub spans: Spans,
}

impl Kernel for ArgKernel {
    fn name(&self) -> &str {
        "reduce.arg"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (x, y, spans) = (cx.input(0)?, cx.output(0)?, &self.spans);
        storage("ArgMax or ArgMin", y.dtype)?;
        let longest = cx.bound(&spans.n)?;
        let can = |variant: &Variant| {
            let share =
                if is_serial(variant) { 1 } else { workgroup(variant).map_or(1, u64::from) };
            variant.name.starts_with("arg_") && cx.caps.loops_fit(longest / share + 8)
        };
        let variant = cx
            .choose(FAMILY, VARIANTS, |v| can(v) && suits(cx, v, spans).unwrap_or(false))
            .or_else(|_| cx.choose(FAMILY, VARIANTS, can))?;
        let bytes = 4 / storage("ArgMax or ArgMin", x.dtype)?.lanes;
        let (size, cut) = (workgroup(variant)?, parts::Cut::none(spans));
        let shader = request(variant, x.dtype, self.largest, self.select_last)?;
        let sinks = parts::sinks(cx, spans, &cut)?;
        let mut dispatches = Vec::new();
        for source in &parts::sources(cx, WHAT, Place::Input(0), spans, &cut, bytes)? {
            for sink in &sinks {
                let mut params = parts::params(source, sink, spans, &cut);
                params.retain(|(name, _)| !["length", "pieces"].contains(name));
                let grid = match is_serial(variant) {
                    true => source.rows.ceil_div(size),
                    false => source.rows.clone(),
                };
                dispatches.push(Dispatch {
                    shader: shader.clone(),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings: vec![
                        ("x", source.view.clone()),
                        ("y", parts::sink_view(sink, Place::Output(0))),
                    ],
                    params,
                    grid: Grid::Linear(grid),
                    work: &source.rows * &spans.n * 4u64,
                });
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        match x.dtype {
            DType::F32 => self.places::<f32>(&x, cx),
            DType::F64 => self.places::<f64>(&x, cx),
            DType::I16 => self.places::<i16>(&x, cx),
            DType::U16 => self.places::<u16>(&x, cx),
            DType::U64 => self.places::<u64>(&x, cx),
            DType::F16 => self.places::<f16>(&x, cx),
            DType::BF16 => self.places::<bf16>(&x, cx),
            DType::I8 => self.places::<i8>(&x, cx),
            DType::U8 | DType::Bool => self.places::<u8>(&x, cx),
            DType::I32 => self.places::<i32>(&x, cx),
            DType::U32 => self.places::<u32>(&x, cx),
            DType::I64 => self.places::<i64>(&x, cx),
            other => Err(Error::unsupported("ArgMax or ArgMin", format!("{other} on the CPU"))),
        }
    }
}

impl ArgKernel {
    fn places<T: Pod + PartialOrd + Send + Sync>(
        &self,
        x: &CpuTensor<'_>,
        cx: &mut CpuCx<'_>,
    ) -> Result<()> {
        let n = self.spans.n.eval(cx.bindings)? as usize;
        let inner = self.spans.inner.eval(cx.bindings)? as usize;
        let values = x.read::<T>();
        let place = |result: usize| {
            let start = result / inner * n * inner + result % inner;
            let mut best = 0;
            for j in 1..n {
                let (new, old) = (values[start + j * inner], values[start + best * inner]);
                let beaten = if self.largest { new > old } else { new < old };
                if beaten || (self.select_last && new == old) {
                    best = j;
                }
            }
            best
        };
        let y = cx.output(0)?;
        match y.dtype {
            DType::I64 => {
                let y = y.write::<i64>()?;
                pieces(y, 1, 1, &|i, y| y[0] = place(i) as i64);
            }
            _ => {
                let y = y.write::<i32>()?;
                pieces(y, 1, 1, &|i, y| y[0] = place(i) as i32);
            }
        }
        Ok(())
    }
}
