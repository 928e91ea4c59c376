//! The ceiling of computing: multiply-adds in registers, as an operator of an
//! application, so that it is planned, run and checked like any other.

use rayon::prelude::*;
use wginfer::gpu::ShaderRequest;
use wginfer::graph::TensorType;
use wginfer::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Place, View};
use wginfer::ops::{BoundCx, Lowering, Operator, RefTensor};
use wginfer::{DType, Error, Result};

const NAME: &str = "MultiplyAdd";
const STEPS: u32 = 512;
const CHAINS: usize = 16;
const WORKGROUP: u32 = 128;
/// Below one, so that values stay small; near it, so that the number of steps
/// shows in the result.
const FACTOR: f32 = 0.998;
const SHIFT: f32 = 0.01;

/// `y` is the sum of sixteen chains. Chain `j` starts with `x + j`, and each
/// step makes `v * FACTOR + SHIFT` of `v`.
#[derive(Debug, Clone, Copy)]
pub struct MultiplyAdd;

impl MultiplyAdd {
    /// Operations for each element.
    pub const OPERATIONS: u64 = 2 * STEPS as u64 * CHAINS as u64;

    /// All steps in one: what `v` is multiplied with, and what is added.
    fn steps() -> (f64, f64) {
        let (factor, shift) = (f64::from(FACTOR), f64::from(SHIFT));
        (0..STEPS).fold((1.0, 0.0), |(f, s), _| (f * factor, s * factor + shift))
    }
}

impl Operator for MultiplyAdd {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        match inputs {
            [Some(x)] if x.dtype == DType::F32 => Ok(vec![(*x).clone()]),
            other => Err(Error::Graph {
                node: String::new(),
                op: NAME.into(),
                what: format!("takes one F32 tensor, got {other:?}"),
            }),
        }
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = inputs[0].expect("inferred");
        let (factor, shift) = Self::steps();
        let sum = |x: &f64| (0..CHAINS).map(|j| (x + j as f64) * factor + shift).sum();
        let y = x.reals()?.iter().map(sum).collect();
        Ok(vec![RefTensor::real(x.dtype, &x.extents, y)])
    }

    /// Every step rounds twice at most, and later steps do not enlarge what it
    /// leaves. No value exceeds the larger of its start and the fixed point.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let unit = cx.arithmetic.unit();
        let fixed = f64::from(SHIFT) / (1.0 - f64::from(FACTOR));
        let bound = |x: &f64| {
            let largest = (x.abs() + CHAINS as f64).max(fixed);
            CHAINS as f64 * largest * unit * (2.0 * f64::from(STEPS) + 5.0)
        };
        Ok(vec![cx.input(0)?.reals()?.iter().map(bound).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        cx.call(*self, &[Some(x)], &[y]);
        Ok(())
    }
}

impl Kernel for MultiplyAdd {
    fn name(&self) -> &str {
        "bench.multiply_add"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let count = cx.output(0)?.elements();
        let source = include_str!("multiply_add.wgsl");
        Ok(vec![Dispatch {
            shader: ShaderRequest::from_source("bench/multiply_add", source)
                .with("STEPS", STEPS)
                .with("WORKGROUP", WORKGROUP),
            variant: "bench/multiply_add".into(),
            bindings: vec![("x", View::all(Place::Input(0))), ("y", View::all(Place::Output(0)))],
            params: vec![
                ("count", (&count).into()),
                ("factor", FACTOR.into()),
                ("shift", SHIFT.into()),
            ],
            grid: Grid::Linear(count.ceil_div(u64::from(WORKGROUP))),
            work: count * Self::OPERATIONS,
        }])
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let x = x.read::<f32>();
        let y = cx.output(0)?.write::<f32>()?;
        y.par_chunks_mut(GROUP * 64).zip(x.par_chunks(GROUP * 64)).for_each(|(y, x)| {
            for (y, x) in y.chunks_mut(GROUP).zip(x.chunks(GROUP)) {
                chains(x, y);
            }
        });
        Ok(())
    }
}

/// Elements computed together: enough independent chains to fill the registers.
const GROUP: usize = 4;

/// With the CPU's fused multiply-add where it has one: the library's matrix
/// product finds that out at run time too.
fn chains(x: &[f32], y: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn fused(x: &[f32], y: &mut [f32]) {
            step_all(x, y, |v| v.mul_add(FACTOR, SHIFT));
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features are there.
            return unsafe { fused(x, y) };
        }
    }
    if cfg!(target_arch = "aarch64") {
        return step_all(x, y, |v| v.mul_add(FACTOR, SHIFT));
    }
    step_all(x, y, |v| v * FACTOR + SHIFT);
}

#[inline(always)]
fn step_all(x: &[f32], y: &mut [f32], step: impl Fn(f32) -> f32) {
    let mut values = [0f32; GROUP * CHAINS];
    for (values, x) in values.chunks_mut(CHAINS).zip(x) {
        values.iter_mut().enumerate().for_each(|(j, v)| *v = x + j as f32);
    }
    for _ in 0..STEPS {
        values.iter_mut().for_each(|v| *v = step(*v));
    }
    for (values, y) in values.chunks(CHAINS).zip(y) {
        *y = values.iter().sum();
    }
}
