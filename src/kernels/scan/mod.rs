//! Running sums and products, on the GPU and on the CPU.

use super::elementwise::storage::storage;
use super::parts;
use super::reduce::Spans;
use super::{
    CpuCx, CpuTensor, Dispatch, Fault, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant,
    View,
};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::tensor::DType;
use crate::threads::pieces;
use bytemuck::Pod;

/// The name policies and coverage use.
pub const FAMILY: &str = "scan";

const NEEDS: Needs = Needs {
    f16: false,
    subgroups: false,
    coop: None,
    lanes: None,
    int64: false,
    int8: false,
    storage_buffers: 8,
    invocations: 8,
    workgroup_bytes: 0,
};

/// Invocations of a workgroup, each of which takes a piece of a line.
pub const VARIANTS: &[Variant] = &[
    // For software adapters.
    Variant {
        name: "serial",
        shader: "scan/serial",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "wide_serial",
        shader: "scan/serial",
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &[],
        needs: Needs { invocations: 64, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// Pieces that keep a device busy, and the least elements worth one.
const BUSY: (u64, u64) = (16384, 64);
const BUSY_SOFTWARE: (u64, u64) = (64, 4096);

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let mut requests = Vec::new();
    for dtype in [DType::F32, DType::I32, DType::U32, DType::I64, DType::U64] {
        for step in [Step::Whole, Step::Totals, Step::Carried] {
            for (product, reverse, exclusive) in
                [(false, false, false), (true, true, false), (false, true, true)]
            {
                let spans = Spans { outer: 1.into(), n: 1.into(), inner: 1.into() };
                let kernel = ScanKernel { product, reverse, exclusive, spans };
                requests.extend(kernel.request(variant, dtype, step));
            }
        }
    }
    requests
}

/// What a dispatch does with lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// All of it.
    Whole,
    /// The totals of their pieces.
    Totals,
    /// The pieces, from what those before come to.
    Carried,
}

/// Running sums or products along the middle of `[outer, n, inner]`. Input and
/// output are F32, I32, U32, I64, U64, or on the CPU F64.
#[derive(Debug, Clone)]
pub struct ScanKernel {
    /// Products, or sums.
    pub product: bool,
    /// From the end, or from the beginning.
    pub reverse: bool,
    /// Without the element itself.
    pub exclusive: bool,
    /// Where the lines are.
    pub spans: Spans,
}

impl Kernel for ScanKernel {
    fn name(&self) -> &str {
        "scan.axis"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let dtype = cx.input(0)?.dtype;
        let software = cx.caps.is_software();
        let variant = cx
            .choose(FAMILY, VARIANTS, |v| (v.needs.invocations == 8) == software)
            .or_else(|_| cx.choose(FAMILY, VARIANTS, |_| true))?;
        let Spans { outer, n, inner } = &self.spans;
        parts::fits_u32(cx, "elements of a running sum", &(outer * n * inner))?;
        let length = self.length(cx)?;
        let runs = parts::runs(cx, "a row of a running sum", outer, &(n * inner), 4)?;
        let mut dispatches = Vec::new();
        for run in &runs {
            let x = run.view(Place::Input(0));
            let y = run.view(Place::Output(0));
            let lines = Lines { live: run.live.clone(), base: run.base.clone(), n: n.clone() };
            let Some(length) = length else {
                let whole = self.dispatch(variant, dtype, Step::Whole, &lines, n, [x, y], None)?;
                dispatches.push(whole);
                continue;
            };
            let length = Dim::from(length);
            let pieces = n.ceil_div(&length);
            let bytes = cx.bound(&(&run.live * &pieces * inner * 4u64))?.max(4);
            if bytes > cx.caps.max_binding() {
                return Err(parts::too_large(
                    "totals of a running sum",
                    bytes,
                    cx.caps.max_binding(),
                ));
            }
            let scratch = |number| View::range(Place::Scratch(number), 0, bytes);
            let [totals, carry] = [scratch(0), scratch(1)];
            let between = ScanKernel { reverse: false, exclusive: true, ..self.clone() };
            let of_totals = Lines { live: run.live.clone(), base: 0u64.into(), n: pieces };
            let views = [totals.clone(), carry.clone()];
            let all = &of_totals.n;
            dispatches.extend([
                self.dispatch(
                    variant,
                    dtype,
                    Step::Totals,
                    &lines,
                    &length,
                    [x.clone(), totals],
                    None,
                )?,
                between.dispatch(variant, dtype, Step::Whole, &of_totals, all, views, None)?,
                self.dispatch(variant, dtype, Step::Carried, &lines, &length, [x, y], Some(carry))?,
            ]);
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        match x.dtype {
            DType::F32 => self.lines(&x, cx, f64::from, |v| v as f32, REAL),
            DType::F64 => self.lines(&x, cx, |v: f64| v, |v| v, REAL),
            DType::I32 => self.lines(&x, cx, i64::from, |v| v as i32, WHOLE),
            DType::U32 => self.lines(&x, cx, i64::from, |v| v as u32, WHOLE),
            // The low bits are the same with a sign and without.
            DType::I64 | DType::U64 => self.lines(&x, cx, |v: i64| v, |v| v, WHOLE),
            other => Err(Error::unsupported("a running sum", format!("{other} on the CPU"))),
        }
    }
}

/// A sum and a product.
type Steps<A> = [fn(A, A) -> A; 2];

const REAL: Steps<f64> = [|a, b| a + b, |a, b| a * b];
const WHOLE: Steps<i64> = [i64::wrapping_add, i64::wrapping_mul];

/// The lines of a dispatch.
struct Lines {
    live: Dim,
    base: Dim,
    n: Dim,
}

impl ScanKernel {
    /// The elements of a piece, where lines are cut.
    fn length(&self, cx: &GpuCx<'_>) -> Result<Option<u64>> {
        let n = cx.bound(&self.spans.n)?;
        let lines = cx.bound(&(&self.spans.outer * &self.spans.inner))?;
        let (busy, least) = if cx.caps.is_software() { BUSY_SOFTWARE } else { BUSY };
        // Pieces of about the root keep the pass over their totals short.
        let root = (n as f64).sqrt() as u64;
        let pieces = (busy / lines.max(1)).min(n / least.max(root / 4)).max(1);
        let mut length = n.div_ceil(pieces);
        if !cx.caps.loops_fit(length + 8) {
            length = 32768;
        }
        Ok((length < n).then_some(length))
    }

    fn request(&self, variant: &Variant, dtype: DType, step: Step) -> Result<ShaderRequest> {
        let mut request = ShaderRequest::new(variant.shader);
        for (name, value) in variant.consts {
            request = request.with(*name, *value);
        }
        let totals = step == Step::Totals;
        let wanted = [
            (self.product, "product"),
            (self.reverse, "reverse"),
            (self.exclusive && !totals, "exclusive"),
            (totals, "totals"),
            (step == Step::Carried, "carried"),
            (dtype.is_64bit_integer(), "checked"),
        ];
        let wanted = wanted.into_iter().filter(|(on, _)| *on).map(|(_, name)| name);
        let request = request.feature(storage("a running sum", dtype)?.read);
        Ok(wanted.fold(request, ShaderRequest::feature))
    }

    #[allow(clippy::too_many_arguments, reason = "they are what makes one dispatch different")]
    fn dispatch(
        &self,
        variant: &Variant,
        dtype: DType,
        step: Step,
        lines: &Lines,
        length: &Dim,
        [x, y]: [View; 2],
        carry: Option<View>,
    ) -> Result<Dispatch> {
        let pieces = match step {
            Step::Whole => Dim::Const(1),
            _ => lines.n.ceil_div(length),
        };
        let inner = &self.spans.inner;
        let rows = &lines.live * &pieces * inner;
        let mut bindings = vec![("x", x), ("y", y)];
        bindings.extend(carry.map(|carry| ("carry", carry)));
        let mut params: Vec<(&'static str, Param)> = vec![
            ("rows", (&rows).into()),
            ("base", (&lines.base).into()),
            ("n", (&lines.n).into()),
            ("inner", inner.into()),
            ("length", length.into()),
            ("pieces", pieces.into()),
        ];
        if dtype.is_64bit_integer() {
            bindings.push(("status", View::all(Place::Status)));
            params.push(("status_code", Param::Status(Fault::Overflow)));
        }
        Ok(Dispatch {
            shader: self.request(variant, dtype, step)?,
            variant: format!("{FAMILY}/{}", variant.name),
            bindings,
            params,
            // Lines of no elements leave nothing anywhere.
            grid: Grid::Linear(rows.ceil_div(variant.needs.invocations) * lines.n.min(1u64)),
            work: rows * length * 4u64,
        })
    }

    fn lines<T: Pod + Send + Sync, A: Copy + Send + Sync + From<u8>>(
        &self,
        x: &CpuTensor<'_>,
        cx: &mut CpuCx<'_>,
        read: fn(T) -> A,
        write: fn(A) -> T,
        [sum, product]: Steps<A>,
    ) -> Result<()> {
        let n = self.spans.n.eval(cx.bindings)? as usize;
        let inner = self.spans.inner.eval(cx.bindings)? as usize;
        let values = x.read::<T>();
        let y = cx.output(0)?.write::<T>()?;
        if y.is_empty() {
            return Ok(());
        }
        let combine = if self.product { product } else { sum };
        let first = A::from(u8::from(self.product));
        pieces(y, n * inner, 1, &|slab, y| {
            let x = &values[slab * n * inner..][..y.len()];
            let mut all = vec![first; inner];
            for position in 0..n {
                let row = if self.reverse { n - 1 - position } else { position } * inner;
                let places = y[row..row + inner].iter_mut().zip(&x[row..row + inner]);
                for ((y, x), all) in places.zip(&mut all) {
                    let before = *all;
                    *all = combine(before, read(*x));
                    *y = write(if self.exclusive { before } else { *all });
                }
            }
        });
        Ok(())
    }
}
