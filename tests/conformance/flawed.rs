//! Kernels with known flaws on each adapter: if they pass, the suite proves
//! nothing there.

use crate::adapters::{Config, Tested};
use crate::failures::Failures;
use libtest_mimic::{Failed, Trial};
use std::sync::Arc;
use wginfer::gpu::ShaderRequest;
use wginfer::graph::{Dim, TensorType};
use wginfer::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, View};
use wginfer::ops::{BoundCx, Lowering, Operator, RefTensor};
use wginfer::validate::error_model::gamma;
use wginfer::validate::{
    Case, CaseFamily, CaseInput, Extents, Failure, Passed, Target, run_family,
};
use wginfer::{Backend, DType, Error, Result};

/// What is wrong with the kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    None,
    /// Counts rows by the bound of their length, not by the length.
    BoundForExtent,
    /// Leaves the last element as it was.
    Unwritten,
    /// Writes the last element wrong.
    LastElement,
    /// Dispatches nothing.
    NoDispatch,
    /// Writes the last element wrong where bindings are small.
    SmallBindings,
    /// Uses f16 and does not say so.
    Undeclared,
}

/// `y = x * scale` with a scale of 3.
#[derive(Debug, Clone)]
struct Triple(Flaw);

const SHADER: &str = "
struct Params { rows: u32, columns: u32, count: u32, last: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * 64u + local;
    if i >= params.count { return; }
    let row = i / max(params.columns, 1u);
    if row >= params.rows { return; }
    let last = i + 1u == params.count;
    y[i] = x[i] * select(3.0, params.last, last);
}
";

impl Operator for Triple {
    fn name(&self) -> &str {
        "Triple"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        Ok(inputs.iter().flatten().map(|ty| (*ty).clone()).collect())
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let triple = |x: &RefTensor| {
            let data = x.reals()?.iter().map(|v| v * 3.0).collect();
            Ok(RefTensor::real(x.dtype, &x.extents, data))
        };
        inputs.iter().flatten().map(|x| triple(x)).collect()
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let unit = gamma(1, cx.arithmetic.unit());
        Ok(vec![cx.outputs[0].reals()?.iter().map(|y| y.abs() * unit).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        cx.call(self.clone(), &[Some(x)], &[y]);
        Ok(())
    }
}

impl Kernel for Triple {
    fn name(&self) -> &str {
        "test.triple"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        if self.0 == Flaw::NoDispatch {
            return Ok(Vec::new());
        }
        let ty = cx.input(0)?;
        let count = match self.0 {
            Flaw::Unwritten => ty.elements() - 1u32,
            _ => ty.elements(),
        };
        let columns = match self.0 {
            Flaw::BoundForExtent => Dim::Const(cx.bound(&ty.width())?),
            _ => ty.width(),
        };
        // With columns too wide, the rows they are counted in come out fewer.
        let rows = match self.0 {
            Flaw::BoundForExtent => ty.elements() / columns.clone().max(1u32),
            _ => ty.rows(),
        };
        let wrong = match self.0 {
            Flaw::LastElement => true,
            Flaw::SmallBindings => cx.caps.binding_cap.is_some(),
            _ => false,
        };
        let source = match self.0 {
            Flaw::Undeclared => {
                format!("enable f16;{}", SHADER.replace("3.0", "f32(f16(params.last))"))
            }
            _ => SHADER.to_string(),
        };
        Ok(vec![Dispatch {
            shader: ShaderRequest::from_source("test_triple", source),
            variant: "test/triple".into(),
            bindings: vec![("x", View::all(Place::Input(0))), ("y", View::all(Place::Output(0)))],
            params: vec![
                ("rows", rows.into()),
                ("columns", columns.into()),
                ("count", count.into()),
                ("last", Param::F32(if wrong { 2.9 } else { 3.0 })),
            ],
            grid: Grid::Linear(ty.elements().ceil_div(64u32)),
            work: ty.elements(),
        }])
    }

    fn cpu(&self, _: &mut CpuCx<'_>) -> Result<()> {
        Err(Error::Unsupported { at: "test.triple".into(), what: "the CPU".into() })
    }
}

/// One trial for each flaw.
pub(crate) fn trials(adapter: &Arc<Tested>, failures: &Failures) -> Vec<Trial> {
    let trial = |name: &str, flaw, sign: &'static str, extents| {
        let adapter = adapter.clone();
        let title = format!("{}::flawed::{name}", adapter.name);
        failures.trial(title, move || caught(&adapter, flaw, sign, extents))
    };
    let again = |name: &str, flaw, other| {
        let adapter = adapter.clone();
        let title = format!("{}::flawed::{name}", adapter.name);
        failures.trial(title, move || known(&adapter, flaw, other))
    };
    let mut trials = vec![
        trial("none", Flaw::None, "", None),
        trial("unwritten", Flaw::Unwritten, "never written", Some(Extents::Fixed)),
        trial("last_element", Flaw::LastElement, "1 of", Some(Extents::Fixed)),
        trial("bound_for_extent", Flaw::BoundForExtent, "got", Some(Extents::Symbolic)),
        trial("no_dispatch", Flaw::NoDispatch, "never written", Some(Extents::Fixed)),
        again("same", Flaw::None, Config::Minimum),
        again("small_bindings", Flaw::SmallBindings, Config::Minimum),
    ];
    // Without f16 there is nothing to leave undeclared; a device that does not open fails
    // all others.
    if adapter.open(Config::Full).is_ok_and(|gpu| gpu.caps().f16) {
        trials.push(again("undeclared", Flaw::Undeclared, Config::Plain));
    }
    trials
}

fn family(flaw: Flaw) -> CaseFamily {
    let build =
        move |shape: &[usize]| Some(Case::new(Triple(flaw), [CaseInput::run(DType::F32, shape)]));
    CaseFamily::new("triple", [vec![30, 50]], build)
}

/// What is right on one device of an adapter is not run again if it is the same, and a
/// flaw that only another device shows is found there all the same.
fn known(adapter: &Tested, flaw: Flaw, other: Config) -> std::result::Result<(), Failed> {
    let family = family(flaw);
    let proven = Some(Arc::default());
    let run = |config: Config, seed: u64| {
        let target = Target::new(Backend::Gpu(adapter.open(config)?));
        let target = Target { proven: proven.clone(), ..target };
        Ok::<_, Failed>(run_family(&family, &family.shapes, seed, &target, None))
    };
    let same = |passed: std::result::Result<Passed, _>| {
        let passed = passed.map_err(|failure: Box<Failure>| Failed::from(*failure))?;
        Ok::<_, Failed>((passed.runs, passed.same))
    };
    for (config, seed, wanted) in
        [(Config::Full, 7, (2, 0)), (Config::Full, 7, (2, 2)), (Config::Full, 8, (2, 0))]
    {
        let found = same(run(config, seed)?)?;
        if found != wanted {
            return Err(format!("{found:?} runs and same ones, not {wanted:?}").into());
        }
    }
    match (flaw, run(other, 7)?) {
        (Flaw::None, passed) if same(passed.clone())? == (2, 2) => Ok(()),
        (Flaw::SmallBindings, Err(failure)) if failure.what.contains("1 of") => Ok(()),
        (Flaw::Undeclared, Err(failure)) if failure.what.contains("f16") => Ok(()),
        (_, found) => Err(format!("found something else: {found:?}").into()),
    }
}

/// The flaw must be found, with this in the message, first with these extents.
fn caught(
    adapter: &Tested,
    flaw: Flaw,
    sign: &str,
    extents: Option<Extents>,
) -> std::result::Result<(), Failed> {
    let target = Target::new(Backend::Gpu(adapter.open(Config::Full)?));
    let family = family(flaw);
    match (run_family(&family, &family.shapes, 7, &target, None), extents) {
        (Ok(passed), None) if passed.variants.contains("test/triple") => Ok(()),
        (Ok(_), _) => Err("the flaw was not found".into()),
        (Err(failure), Some(extents))
            if failure.extents == extents && failure.what.contains(sign) =>
        {
            Ok(())
        }
        (Err(failure), _) => Err(format!("found something else: {failure}").into()),
    }
}
