//! Several elementwise operations in one pass.

mod cpu;
mod source;

use super::access::{Access, Layout};
use super::map::{self, Map};
use super::split::{self, Chunk};
use super::storage::storage;
use super::variants::{self, FAMILY, Wide};
use super::windows::{Window, windows};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::graph::{Dim, TensorType};
use crate::kernels::{CpuCx, Dispatch, Fault, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use crate::ops::elementwise::{Arg, Binary, Test, Unary};
use crate::tensor::{DType, SmallRounding};
use source::Written;

/// One operation of a [`Chain`].
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is computed.
    pub map: Map,
    /// The dtype of the operands (of the last one, where the first is a condition).
    pub from: DType,
    /// The dtype of the result.
    pub to: DType,
    /// The operands.
    pub args: Vec<Arg>,
}

impl Step {
    /// Whether the result is rounded to the dtype before other steps use it.
    fn rounds(&self) -> bool {
        matches!(self.map, Map::Cast(_)) && self.from != self.to
    }
}

/// Elementwise operations, each on inputs and on results of those before it. The
/// result of the last is the kernel's, and has the shape of all of them but for
/// inputs that are broadcast.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// The operations.
    pub steps: Vec<Step>,
}

const LABEL: &str = "elementwise.chain";

/// How many steps a chain has at most that is taken to be a few instructions.
const PLAIN: usize = 4;

/// Names of what belongs to an input, in the shader.
struct Names {
    data: &'static str,
    extent: &'static str,
    first: &'static str,
    count: &'static str,
    strides: [&'static str; 8],
}

macro_rules! names {
    ($($x:literal)*) => {
        [$(Names {
            data: $x,
            extent: concat!($x, "_n"),
            first: concat!($x, "_first"),
            count: concat!($x, "_count"),
            strides: [
                concat!($x, "_s0"), concat!($x, "_s1"), concat!($x, "_s2"), concat!($x, "_s3"),
                concat!($x, "_s4"), concat!($x, "_s5"), concat!($x, "_s6"), concat!($x, "_s7"),
            ],
        }),*]
    };
}

const NAMES: [Names; 6] = names!("x0" "x1" "x2" "x3" "x4" "x5");

/// The dtype a value has between steps: 16-bit floats are held as binary32.
fn held(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// How the operands of a dispatch are read.
struct Reading<'a> {
    layout: &'a Layout,
    access: &'a [Access],
    windows: &'a [Window],
    /// Several words at a time.
    wide: Option<Wide>,
}

impl Reading<'_> {
    fn is_placed(&self) -> bool {
        self.access.iter().any(|access| !matches!(access, Access::Flat | Access::Scalar))
    }

    fn has_window(&self, input: usize) -> bool {
        self.windows.get(input).is_some_and(Option::is_some)
    }

    /// Whether an input's binding has several words to an element.
    fn is_wide(&self, input: usize) -> bool {
        self.wide.is_some() && matches!(self.access[input], Access::Flat | Access::Row)
    }

    fn is_windowed(&self) -> bool {
        self.windows.iter().any(Option::is_some)
    }
}

impl Chain {
    /// One operation alone.
    pub(super) fn single(map: Map, from: DType, to: DType, inputs: usize) -> Self {
        let args = (0..inputs).map(Arg::Input).collect();
        Chain { steps: vec![Step { map, from, to, args }] }
    }

    fn is_checked(&self) -> bool {
        self.steps.iter().any(|step| step.map.is_checked(step.from, step.to))
    }

    /// Whether an element takes a few instructions of a processor.
    fn is_plain(&self) -> bool {
        let plain = |step: &Step| step.map.is_plain(step.from, step.to);
        self.steps.len() <= PLAIN && self.steps.iter().all(plain)
    }

    fn output(&self) -> Result<DType> {
        let last = self.steps.last();
        last.map(|step| step.to).ok_or_else(|| Error::internal("a chain without steps"))
    }

    fn request(
        &self,
        variant: &Variant,
        inputs: &[DType],
        reading: &Reading<'_>,
    ) -> Result<ShaderRequest> {
        let mut request = variants::instance("elementwise/chain", variant);
        // A chain is long as it is.
        variants::not_unrolled(&mut request);
        request = request.with("LANES", storage(LABEL, self.output()?)?.lanes as u32);
        // Steps that are few instructions are written out twice as often.
        let light = |step: &Step| step.map.is_light(step.from, step.to);
        let pairs = reading.wide == Some(Wide::Pairs);
        if pairs && self.steps.len() == 1 && self.steps.iter().all(light) {
            request = request.feature("twice");
        }
        if reading.wide == Some(Wide::Alone) && self.is_plain() {
            request = request.feature("many");
        }
        if reading.is_windowed() {
            request = request.feature("windowed");
        }
        if self.is_checked() {
            request = request.feature("checked");
        }
        let Written { text, instances } = source::write(self, inputs, reading)?;
        request.instances = instances;
        request.written = vec![("steps".into(), text.into())];
        Ok(request)
    }

    fn params(&self, chunk: &Chunk, reading: &Reading<'_>) -> Result<Vec<(&'static str, Param)>> {
        let mut params = vec![("count", Param::from(&chunk.count))];
        if self.is_checked() {
            params.push(("status_code", Param::Status(Fault::Overflow)));
        }
        if reading.is_placed() {
            params.push(("start", split::index32(LABEL, chunk.start)?.into()));
        }
        if reading.access.contains(&Access::Strided) {
            let extents = map::EXTENTS.iter().zip(&reading.layout.dims).skip(1);
            params.extend(extents.map(|(name, dim)| (*name, dim.into())));
        }
        for (i, (names, access)) in NAMES.iter().zip(reading.access).enumerate() {
            if let Some(Some(window)) = reading.windows.get(i) {
                params.push((names.first, split::index32(LABEL, window.start)?.into()));
                params.push((names.count, split::index32(LABEL, window.most)?.into()));
            }
            match access {
                Access::Flat | Access::Scalar => {}
                Access::Row | Access::Column => {
                    params.push((names.extent, (&reading.layout.dims[1]).into()));
                }
                Access::Strided => {
                    let strides = names.strides.iter().zip(reading.layout.strides(i));
                    let own = strides.zip(&reading.layout.has[i]).filter(|(_, has)| **has);
                    params.extend(own.map(|((name, stride), _)| (*name, stride.into())));
                }
            }
        }
        Ok(params)
    }

    fn bindings(
        &self,
        types: &[&TensorType],
        output: &TensorType,
        chunk: &Chunk,
        reading: &Reading<'_>,
    ) -> Vec<(&'static str, View)> {
        let mut bindings = Vec::new();
        for (i, (names, ty)) in NAMES.iter().zip(types).enumerate() {
            let (place, unit) = (Place::Input(i), ty.dtype.device_block_bytes() as u64);
            let view = match (reading.windows.get(i), reading.access[i]) {
                (Some(Some(window)), _) => window.view(place, unit),
                (_, Access::Flat) => chunk.view(place, unit),
                _ => View::all(place),
            };
            bindings.push((names.data, view));
        }
        let unit = output.dtype.device_block_bytes() as u64;
        bindings.push(("y", chunk.view(Place::Output(0), unit)));
        if self.is_checked() {
            bindings.push(("status", View::all(Place::Status)));
        }
        bindings
    }
}

impl Kernel for Chain {
    fn name(&self) -> &str {
        LABEL
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let output = cx.output(0)?;
        let types: Vec<&TensorType> =
            (0..cx.inputs.len()).map(|i| cx.input(i)).collect::<Result<_>>()?;
        let shapes: Vec<&[Dim]> = types.iter().map(|ty| ty.shape.as_slice()).collect();
        let layout = Layout::new(&output.shape, &shapes);
        let access: Vec<Access> = (0..types.len()).map(|i| layout.access(i)).collect();
        let dtypes: Vec<DType> = types.iter().map(|ty| ty.dtype).collect();
        let total = output.elements();
        split::index32(LABEL, cx.bound(&total)?)?;
        let sizes: Vec<u64> = dtypes
            .iter()
            .chain([&output.dtype])
            .map(|dtype| dtype.device_block_bytes() as u64)
            .collect();
        let all_windows = windows(cx, LABEL, &access)?;
        let whole = all_windows.len() == 1 && map::is_whole(cx, output)?;
        let stored = dtypes.iter().chain([&output.dtype]);
        let suited = whole && variants::suit_wide(&layout, &access, stored);
        let variant = variants::choose(cx, suited, self.is_plain(), cx.bound(&total)?)?;
        let per_group = variants::words(variant) * storage(LABEL, output.dtype)?.lanes;
        let wide = Wide::of(variant);
        let reading = |windows| Reading { layout: &layout, access: &access, windows, wide };
        let shader = self.request(variant, &dtypes, &reading(all_windows[0].as_slice()))?;
        let mut dispatches = Vec::new();
        for chunk in split::elements(cx, &total, &sizes)? {
            for windows in &all_windows {
                let reading = reading(windows.as_slice());
                dispatches.push(Dispatch {
                    shader: shader.clone(),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings: self.bindings(&types, output, &chunk, &reading),
                    params: self.params(&chunk, &reading)?,
                    grid: Grid::Linear(chunk.count.ceil_div(per_group)),
                    work: chunk.count.clone() * (8 * self.steps.len() as u64),
                });
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self, cx)
    }
}

/// Chains with every way of reading, dtypes that are converted and narrowed
/// between steps, and arithmetic that notes overflow.
pub(super) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    use Access::*;
    let mut all = Vec::new();
    let mut add = |steps: &[Step], inputs: &[DType], access: &[Access], dims: usize| {
        let dims: Vec<Dim> = (0..dims).map(|i| Dim::Const(8 * (i as u64 + 2))).collect();
        let has = |access: &Access| match access {
            Flat => vec![true; dims.len()],
            Scalar => vec![false; dims.len()],
            Row => vec![false, true],
            Column => vec![true, false],
            Strided => (0..dims.len()).map(|i| i % 2 == 0).collect(),
        };
        let layout = Layout { has: access.iter().map(has).collect(), dims };
        let chain = Chain { steps: steps.to_vec() };
        let windows: Vec<Window> = Vec::new();
        let wide = Wide::of(variant);
        let dtypes = inputs.iter().chain(steps.last().map(|step| &step.to));
        if wide.is_some() && !variants::suit_wide(&layout, access, dtypes) {
            return;
        }
        let reading = Reading { layout: &layout, access, windows: &windows, wide };
        all.extend(chain.request(variant, inputs, &reading));
    };
    let step = |map, from, to, args: &[Arg]| Step { map, from, to, args: args.to_vec() };
    let cast = Map::Cast(SmallRounding::default());
    // The plainest, which some variants write out more often.
    let sum =
        step(Map::Binary(Binary::Add), DType::F32, DType::F32, &[Arg::Input(0), Arg::Input(1)]);
    add(&[sum], &[DType::F32; 2], &[Flat, Row], 2);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let steps = [
            step(Map::Binary(Binary::Mul), dtype, dtype, &[Arg::Input(0), Arg::Input(1)]),
            step(Map::Unary(Unary::Silu), dtype, dtype, &[Arg::Step(0)]),
            step(Map::Gated(Unary::Gelu), dtype, dtype, &[Arg::Step(1), Arg::Input(2)]),
            step(Map::Binary(Binary::Less), dtype, DType::Bool, &[Arg::Step(2), Arg::Input(3)]),
            step(Map::Where, dtype, dtype, &[Arg::Step(3), Arg::Step(2), Arg::Number(0.5, dtype)]),
        ];
        for access in [[Flat, Row, Column, Scalar], [Flat; 4]] {
            add(&steps, &[dtype; 4], &access, 2);
        }
        for dims in 3..=8 {
            add(&steps, &[dtype; 4], &[Flat, Strided, Scalar, Strided], dims);
        }
    }
    for (from, to) in [(DType::I64, DType::I8), (DType::U8, DType::I64), (DType::F32, DType::U16)] {
        let steps = [
            step(Map::Binary(Binary::Add), from, from, &[Arg::Input(0), Arg::Number(3.0, from)]),
            step(cast, from, to, &[Arg::Step(0)]),
            step(Map::Binary(Binary::Mul), to, to, &[Arg::Step(1), Arg::Input(1)]),
            step(cast, to, DType::F16, &[Arg::Step(2)]),
            step(cast, DType::F16, DType::F32, &[Arg::Step(3)]),
            step(Map::Test(Test::IsNaN), DType::F32, DType::Bool, &[Arg::Step(4)]),
        ];
        add(&steps, &[from, to], &[Flat, Flat], 1);
        add(&steps[..3], &[from, to], &[Flat, Flat], 1);
    }
    all
}
