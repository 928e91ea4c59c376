//! An operator of an application: `y = x * scale + shift`, elementwise.

use wginfer::gpu::ShaderRequest;
use wginfer::graph::{Dim, TensorType};
use wginfer::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Place, View};
use wginfer::ops::{BoundCx, Lowering, Operator, RefTensor};
use wginfer::{Error, Result};

#[derive(Debug, Clone, Copy)]
pub struct Affine {
    pub scale: f32,
    pub shift: f32,
}

const WGSL: &str = "
struct Params { count: u32, scale: f32, shift: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32,
        @builtin(workgroup_id) group: vec3<u32>,
        @builtin(num_workgroups) groups: vec3<u32>) {
    let i = (group.x + group.y * groups.x) * 64u + local;
    if i < params.count {
        y[i] = x[i] * params.scale + params.shift;
    }
}
";

impl Operator for Affine {
    fn name(&self) -> &str {
        "Affine"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        match inputs {
            [Some(x)] if x.dtype == wginfer::DType::F32 => Ok(vec![(*x).clone()]),
            other => Err(Error::Graph {
                node: String::new(),
                op: "Affine".into(),
                what: format!("one F32 input, not {other:?}"),
            }),
        }
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = inputs[0].expect("inferred");
        let (scale, shift) = (f64::from(self.scale), f64::from(self.shift));
        let y = x.reals()?.iter().map(|x| x * scale + shift).collect();
        Ok(vec![RefTensor::real(x.dtype, &x.extents, y)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (scale, shift) = (f64::from(self.scale).abs(), f64::from(self.shift).abs());
        let unit = 2.0 * cx.arithmetic.unit();
        Ok(vec![cx.input(0)?.reals()?.iter().map(|x| unit * (x.abs() * scale + shift)).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        cx.call(*self, &[Some(x)], &[y]);
        Ok(())
    }
}

impl Kernel for Affine {
    fn name(&self) -> &str {
        "test.affine"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let count = cx.output(0)?.elements();
        Ok(vec![Dispatch {
            shader: ShaderRequest::from_source("affine", WGSL),
            variant: "affine/only".into(),
            bindings: vec![("x", View::all(Place::Input(0))), ("y", View::all(Place::Output(0)))],
            params: vec![
                ("count", (&count).into()),
                ("scale", self.scale.into()),
                ("shift", self.shift.into()),
            ],
            grid: Grid::Linear(count.ceil_div(Dim::from(64u32))),
            work: count * 2u32,
        }])
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let x = x.read::<f32>();
        for (y, x) in cx.output(0)?.write::<f32>()?.iter_mut().zip(x.iter()) {
            *y = x * self.scale + self.shift;
        }
        Ok(())
    }
}
