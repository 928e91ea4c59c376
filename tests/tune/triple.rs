//! `y = 3 x`, with kernels that are bad on purpose.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use wginfer::gpu::{Gpu, ShaderRequest};
use wginfer::graph::{Graph, GraphBuilder, TensorType};
use wginfer::kernels::registry::KernelFamily;
use wginfer::kernels::{
    CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Place, Variant, View,
};
use wginfer::ops::{BoundCx, Lowering, Operator, RefTensor};
use wginfer::{Backend, DType, Result, Session, SessionOptions, Tensor};

const WORKGROUP: u32 = 8;

const fn variant(name: &'static str) -> Variant {
    Variant {
        name,
        shader: "test/triple",
        consts: &[],
        features: &[],
        needs: Needs {
            f16: false,
            subgroups: false,
            coop: None,
            lanes: None,
            int64: false,
            int8: false,
            storage_buffers: 8,
            invocations: WORKGROUP,
            workgroup_bytes: 0,
        },
        languages: Language::ALL,
        executed_on: &["this test"],
    }
}

/// The order in which they are chosen: what is bad comes first.
pub(crate) static UNTUNED: &[Variant] = &[variant("wrong"), variant("broken"), variant("plain")];
/// Both are good.
pub(crate) static SLOW: &[Variant] = &[variant("slow"), variant("plain")];
pub(crate) static LOSING: &[Variant] = &[variant("loses"), variant("plain")];
pub(crate) static HANGING: &[Variant] = &[variant("hangs"), variant("plain")];
pub(crate) static HOPELESS: &[Variant] = &[variant("wrong"), variant("broken")];
/// A kernel that has only this and asks nobody whether it may be used.
pub(crate) static STUBBORN: &[Variant] = &[variant("wrong")];
/// What is good comes first, so the model can be run before the rest is tried.
pub(crate) static ALL: &[Variant] = &[
    variant("slow"),
    variant("wrong"),
    variant("broken"),
    variant("hangs"),
    variant("crashes"),
    variant("loses"),
    variant("stalls"),
    variant("plain"),
];

/// The table of [`ALL`], for the process that tries variants.
pub(crate) const FAMILY: KernelFamily =
    KernelFamily { name: "triple", variants: ALL, requests: |_| Vec::new() };

fn source(name: &str) -> String {
    let body = match name {
        // One element in a hundred is off.
        "wrong" => "y[i] = select(3.0, 4.0, i % 100u == 7u) * x[i];",
        "broken" => "y[i] = 3.0 * nothing_of_this_name;",
        "hangs" => {
            "var t = 3.0 * x[i];
             loop { if t == 12345.678 { break; } t = select(t, t + 1.0, t == 54321.0); }
             y[i] = t;"
        }
        // Right on the few elements of a trial.
        "stalls" => {
            "var t = 3.0 * x[i];
             loop {
                 if params.count < 500u || t == 12345.678 { break; }
                 t = select(t, t + 1.0, t == 54321.0);
             }
             y[i] = t;"
        }
        "slow" => {
            "var t = 0.0;
             for (var j = 0u; j < 3000u; j++) { t += 0.001 * x[i]; }
             y[i] = select(t, 3.0 * x[i], t != 12345.678);"
        }
        "crashes" => "let t = 3.0; y[i] = t * x[i];",
        "loses" => "let u = 3.0; y[i] = x[i] * u;",
        _ => "y[i] = 3.0 * x[i];",
    };
    format!(
        "struct Params {{ count: u32 }}
         @group(0) @binding(0) var<uniform> params: Params;
         @group(0) @binding(1) var<storage, read> x: array<f32>;
         @group(0) @binding(2) var<storage, read_write> y: array<f32>;
         @compute @workgroup_size({WORKGROUP})
         fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) local: u32) {{
             let i = (group.x + group.y * groups.x) * {WORKGROUP}u + local;
             if i < params.count {{ {body} }}
         }}"
    )
}

/// What the operator sees and does beside computing.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// How often the reference was asked: once for each trial.
    pub(crate) references: AtomicUsize,
    /// The variant that was described last.
    last: Mutex<String>,
    /// The device that the variant `loses` loses.
    pub(crate) device: Mutex<Option<Arc<Gpu>>>,
}

/// The operator.
#[derive(Debug, Clone)]
pub(crate) struct Triple {
    pub(crate) table: &'static [Variant],
    pub(crate) watch: Arc<Watch>,
}

impl Triple {
    pub(crate) fn new(table: &'static [Variant]) -> Self {
        Triple { table, watch: Arc::default() }
    }

    /// A graph of it over one vector.
    pub(crate) fn graph(&self, count: usize) -> Graph {
        let mut g = GraphBuilder::new();
        let x = g.input("x", DType::F32, [count.into()]).unwrap();
        let y = g.op1(self.clone(), &[x]).unwrap();
        g.output("y", y).unwrap();
        g.finish().unwrap()
    }

    /// Runs it: the result, and the variants that took part.
    pub(crate) fn run(&self, gpu: &Arc<Gpu>) -> Result<(Vec<f32>, Vec<String>)> {
        *self.watch.device.lock().unwrap() = Some(gpu.clone());
        let backend = Backend::Gpu(gpu.clone());
        let options = SessionOptions::default();
        let mut session = Session::new_blocking(self.graph(1000), &backend, options)?;
        let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let results = session.run_blocking(&[("x", &Tensor::from_f32(&[1000], &x)?)])?;
        Ok((results[0].1.to_f32()?, session.executed_variants().into_iter().collect()))
    }
}

impl Operator for Triple {
    fn name(&self) -> &str {
        "Triple"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        Ok(inputs.iter().flatten().map(|ty| (*ty).clone()).collect())
    }

    /// The trial that is about to run may end this process or its device, as a driver
    /// would with these variants.
    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        self.watch.references.fetch_add(1, Ordering::Relaxed);
        match self.watch.last.lock().unwrap().as_str() {
            "loses" => {
                if let Some(gpu) = &*self.watch.device.lock().unwrap() {
                    gpu.lose_for_test();
                }
            }
            "crashes" => std::process::abort(),
            _ => {}
        }
        let x = inputs[0].unwrap();
        let y = x.reals()?.iter().map(|x| 3.0 * x).collect();
        Ok(vec![RefTensor::real(x.dtype, &x.extents, y)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(vec![cx.outputs[0].reals()?.iter().map(|y| 1e-6 * y.abs()).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        cx.call(TripleKernel(self.clone()), &[Some(x)], &[y]);
        Ok(())
    }
}

struct TripleKernel(Triple);

/// What tells kernels apart is their attributes, of which there are none.
impl std::fmt::Debug for TripleKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TripleKernel")
    }
}

impl Kernel for TripleKernel {
    fn name(&self) -> &str {
        "triple.plain"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let variant = match self.0.table {
            [only] => only,
            table => cx.choose("triple", table, |_| true)?,
        };
        *self.0.watch.last.lock().unwrap() = variant.name.into();
        let count = cx.output(0)?.elements();
        Ok(vec![Dispatch {
            shader: ShaderRequest::from_source("test/triple", source(variant.name)),
            variant: format!("triple/{}", variant.name),
            bindings: vec![("x", View::all(Place::Input(0))), ("y", View::all(Place::Output(0)))],
            params: vec![("count", (&count).into())],
            grid: Grid::Linear(count.ceil_div(u64::from(WORKGROUP))),
            work: count,
        }])
    }

    fn cpu(&self, _cx: &mut CpuCx<'_>) -> Result<()> {
        panic!("this is about the GPU")
    }
}
