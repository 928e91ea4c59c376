//! Where along an axis the largest or smallest element is.

use super::{FAMILY, SHORT, Spans, VARIANTS, is_serial, parts, plain_request, suits, workgroup};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::graph::Dim;
use crate::kernels::elementwise::storage::storage;
use crate::kernels::{CpuCx, CpuTensor, Dispatch, GpuCx, Grid, Kernel, Place, Variant, View};
use crate::tensor::DType;
use crate::threads::pieces;
use bytemuck::Pod;
use half::{bf16, f16};

/// Invocations of a workgroup that chooses among pieces.
const JOINING: u32 = 8;

const WHAT: &str = "a span of ArgMax or ArgMin";

/// The shader for a dtype of x, and where spans are cut into pieces.
fn request(
    variant: &Variant,
    dtype: DType,
    [largest, select_last, pieced]: [bool; 3],
) -> Result<ShaderRequest> {
    let wanted = [(largest, "largest"), (select_last, "select_last"), (pieced, "pieced")];
    let wanted = wanted.into_iter().filter(|(on, _)| *on).map(|(_, name)| name);
    Ok(wanted.fold(plain_request(variant, dtype)?, ShaderRequest::feature))
}

/// The shader that chooses among what pieces have.
fn joining(dtype: DType, largest: bool, select_last: bool) -> Result<ShaderRequest> {
    let request = ShaderRequest::new("reduce/arg_join").with("WORKGROUP", JOINING);
    let wanted = [(largest, "largest"), (select_last, "select_last")];
    let wanted = wanted.into_iter().filter(|(on, _)| *on).map(|(_, name)| name);
    let read = storage("ArgMax or ArgMin", dtype)?.read;
    Ok(wanted.fold(request.feature(read), ShaderRequest::feature))
}

/// All of them.
pub(super) fn requests(
    variant: &Variant,
    dtype: DType,
    largest: bool,
    last: bool,
) -> Vec<ShaderRequest> {
    let ways = [false, true].map(|pieced| request(variant, dtype, [largest, last, pieced]));
    ways.into_iter().chain([joining(dtype, largest, last)]).flatten().collect()
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
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        storage("ArgMax or ArgMin", y.dtype)?;
        let variant = self.variant(cx)?;
        match self.cut(cx, variant, x.dtype)? {
            Some(cut) => self.pieced(cx, variant, &cut),
            None => self.plain(cx, variant),
        }
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
    fn variant(&self, cx: &GpuCx<'_>) -> Result<&'static Variant> {
        let (longest, inner) = (cx.bound(&self.spans.n)?, cx.bound(&self.spans.inner)?);
        // In pieces a span may be of any length.
        let can = |variant: &Variant| {
            let share =
                if is_serial(variant) { 1 } else { workgroup(variant).map_or(1, u64::from) };
            let fits = cx.caps.loops_fit(longest / share + 8);
            variant.name.starts_with("arg_") && (fits || self.cuttable(cx).unwrap_or(false))
        };
        let lanes = cx.caps.is_software() && inner == 1 && longest > SHORT;
        let preferred = |variant: &Variant| match variant.name {
            "arg_lanes" => lanes,
            _ => !lanes && suits(cx, variant, &self.spans).unwrap_or(false),
        };
        cx.choose(FAMILY, VARIANTS, |v| can(v) && preferred(v))
            .or_else(|_| cx.choose(FAMILY, VARIANTS, can))
    }

    /// Whether all of x and of the results is in one binding, so that places can
    /// be counted through pieces.
    fn cuttable(&self, cx: &GpuCx<'_>) -> Result<bool> {
        let limit = cx.caps.max_binding();
        let bytes = 4 / storage("ArgMax or ArgMin", cx.input(0)?.dtype)?.lanes;
        let all = cx.bound(&(&self.spans.outer * &self.spans.n * &self.spans.inner * bytes))?;
        Ok(all <= limit && cx.bound(&(self.spans.results() * 4u64))? <= limit)
    }

    /// How spans are cut, where there are too few to keep the device busy.
    fn cut(&self, cx: &GpuCx<'_>, variant: &Variant, dtype: DType) -> Result<Option<parts::Cut>> {
        if !self.cuttable(cx)? {
            return Ok(None);
        }
        let Some(cut) = super::gpu::cut(cx, variant, &self.spans, dtype)? else { return Ok(None) };
        let bytes = cx.bound(&(self.spans.results() * &cut.pieces * 8u64))?;
        Ok((bytes <= cx.caps.max_binding()).then_some(cut))
    }

    /// A pass over the pieces and one over what they have.
    fn pieced(
        &self,
        cx: &GpuCx<'_>,
        variant: &'static Variant,
        cut: &parts::Cut,
    ) -> Result<Vec<Dispatch>> {
        let (dtype, spans) = (cx.input(0)?.dtype, &self.spans);
        let (results, size) = (spans.results(), workgroup(variant)?);
        let rows = &results * &cut.pieces;
        let bytes = cx.bound(&(&rows * 8u64))?.max(8);
        let partial = ("partial", View::range(Place::Scratch(0), 0, bytes));
        let name = format!("{FAMILY}/{}", variant.name);
        let none = Dim::Const(0);
        let first = Dispatch {
            shader: request(variant, dtype, [self.largest, self.select_last, true])?,
            variant: name.clone(),
            bindings: vec![("x", View::all(Place::Input(0))), partial.clone()],
            params: vec![
                ("rows", (&rows).into()),
                ("base", (&none).into()),
                ("n", (&spans.n).into()),
                ("inner", (&spans.inner).into()),
                ("first", (&none).into()),
                ("y_first", (&none).into()),
                ("y_count", (&rows).into()),
                ("length", (&cut.length).into()),
                ("pieces", (&cut.pieces).into()),
            ],
            grid: Grid::Linear(if is_serial(variant) { rows.ceil_div(size) } else { rows }),
            work: &results * &spans.n * 4u64,
        };
        let second = Dispatch {
            shader: joining(dtype, self.largest, self.select_last)?,
            variant: name,
            bindings: vec![partial, ("y", View::all(Place::Output(0)))],
            params: vec![
                ("rows", (&results).into()),
                ("inner", (&spans.inner).into()),
                ("pieces", (&cut.pieces).into()),
            ],
            grid: Grid::Linear(results.ceil_div(u64::from(JOINING))),
            work: &results * &cut.pieces * 4u64,
        };
        Ok(vec![first, second])
    }

    fn plain(&self, cx: &GpuCx<'_>, variant: &'static Variant) -> Result<Vec<Dispatch>> {
        let (x, spans) = (cx.input(0)?, &self.spans);
        let bytes = 4 / storage("ArgMax or ArgMin", x.dtype)?.lanes;
        let (size, cut) = (workgroup(variant)?, parts::Cut::none(spans));
        let shader = request(variant, x.dtype, [self.largest, self.select_last, false])?;
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
