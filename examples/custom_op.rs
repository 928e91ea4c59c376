//! An operator of an application's own, from meaning to shader.
//!
//! `cargo run --release --example custom_op -- [ADAPTER]`
//!
//! The operator is the gate of a feed-forward layer with squared ReLU,
//! `y = max(gate, 0)² · up`. It gets the same treatment as the built-in ones:
//! a shape rule, an f64 reference, an error bound, a WGSL kernel and a CPU
//! kernel. The program tries it alone on the adapter, on generated cases, and
//! then in a graph between built-in operators.

use wginfer::exec::reference::Reference;
use wginfer::gpu::{DeviceOptions, ShaderRequest};
use wginfer::graph::{Bindings, GraphBuilder, TensorType};
use wginfer::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Place, View};
use wginfer::ops::{BoundCx, Lowering, Operator, RefTensor};
use wginfer::validate::error_model::{gamma, smallest_normal};
use wginfer::validate::{Case, CaseFamily, CaseInput, Target, run_family};
use wginfer::{Backend, BackendChoice, DType, Error, Result, Session, SessionOptions, Tensor};

const NAME: &str = "SquaredReluGate";

/// What the operator means. Attributes would be fields.
#[derive(Debug, Clone, Copy)]
struct SquaredReluGate;

impl Operator for SquaredReluGate {
    fn name(&self) -> &str {
        NAME
    }

    /// The shape rule. Dimensions may be symbols, so this runs once for all
    /// lengths. The graph adds the node's name to the error.
    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        match inputs {
            [Some(gate), Some(up)] if gate.dtype == DType::F32 && gate == up => {
                Ok(vec![(*gate).clone()])
            }
            other => Err(Error::Graph {
                node: String::new(),
                op: NAME.into(),
                what: format!("takes two F32 tensors of one shape, got {other:?}"),
            }),
        }
    }

    /// The value, as plainly as it can be said.
    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (gate, up) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let pairs = gate.reals()?.iter().zip(up.reals()?);
        let y = pairs.map(|(&gate, &up)| gate.max(0.0).powi(2) * up).collect();
        Ok(vec![RefTensor::real(gate.dtype, &gate.extents, y)])
    }

    /// Two products are rounded. Where the square falls below the normal
    /// numbers a device may flush it to zero, which `up` then magnifies.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let relative = gamma(2, cx.arithmetic.unit());
        let flushed = smallest_normal(DType::F32);
        let pairs = cx.outputs[0].reals()?.iter().zip(cx.input(1)?.reals()?);
        Ok(vec![pairs.map(|(y, up)| relative * y.abs() + flushed * up.abs()).collect()])
    }

    /// One call of one kernel. An operator may make several, with temporaries
    /// between them, and may call the built-in kernels.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), Some(cx.input(1)?)];
        let output = cx.output(0)?;
        cx.call(GateKernel, &inputs, &[output]);
        Ok(())
    }
}

fn operand<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    inputs.get(index).copied().flatten().ok_or_else(|| Error::Input {
        name: format!("{NAME} operand {index}"),
        expected: "a tensor".into(),
        got: "none".into(),
    })
}

/// How the operator is computed.
#[derive(Debug)]
struct GateKernel;

const WORKGROUP: u32 = 64;

/// Bindings and parameters are matched by name with what `gpu` gives; a missing
/// or mistyped one is an error before anything runs.
const SOURCE: &str = "
import package::config::WORKGROUP;

struct Params { count: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i < params.count {
        let open = max(gate[i], 0.0);
        y[i] = open * open * up[i];
    }
}
";

impl Kernel for GateKernel {
    fn name(&self) -> &str {
        "example.squared_relu_gate"
    }

    /// The work as data: nothing is dispatched here. The number of elements is
    /// a dimension, so one plan serves every number of rows up to its bound.
    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let count = cx.output(0)?.elements();
        let (needed, limit) = (cx.bound(&count)? * 4, cx.caps.max_binding());
        if needed > limit {
            // A kernel for large tensors would give several dispatches here.
            return Err(Error::Limit {
                what: NAME.into(),
                limit_name: "maxStorageBufferBindingSize".into(),
                needed,
                limit,
            });
        }
        Ok(vec![Dispatch {
            shader: ShaderRequest::from_source("example/squared_relu_gate", SOURCE)
                .with("WORKGROUP", WORKGROUP),
            variant: "example/squared_relu_gate".into(),
            bindings: vec![
                ("gate", View::all(Place::Input(0))),
                ("up", View::all(Place::Input(1))),
                ("y", View::all(Place::Output(0))),
            ],
            params: vec![("count", (&count).into())],
            grid: Grid::Linear(count.ceil_div(u64::from(WORKGROUP))),
            work: count * 3u64,
        }])
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let (gate, up) = (cx.input(0)?, cx.input(1)?);
        let (gate, up) = (gate.read::<f32>(), up.read::<f32>());
        let y = cx.output(0)?.write::<f32>()?;
        for ((y, &gate), &up) in y.iter_mut().zip(gate.iter()).zip(up.iter()) {
            let open = gate.max(0.0);
            *y = open * open * up;
        }
        Ok(())
    }
}

const WIDTH: usize = 64;
const INNER: usize = 96;
const ROWS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let choice = std::env::args().nth(1).unwrap_or_else(|| "auto".into());
    let choice: BackendChoice = choice.parse()?;
    let (backend, why) = Backend::open_blocking(&choice, DeviceOptions::default())?;
    println!("{why}");
    alone(&backend)?;
    in_a_graph(&backend)
}

/// Generated inputs of many shapes, each element against its own bound.
fn alone(backend: &Backend) -> Result<(), Box<dyn std::error::Error>> {
    let shapes = [vec![0, 3], vec![1, 1], vec![7, 13], vec![64, 64], vec![3, 1021]];
    let family = CaseFamily::new(NAME, shapes, |shape| {
        let input = CaseInput::run(DType::F32, shape);
        Some(Case::new(SquaredReluGate, [input.clone(), input]))
    });
    let target = Target::new(backend.clone());
    let passed =
        run_family(&family, &family.shapes, 1, &target, None).map_err(|e| e.to_string())?;
    println!("alone: {} runs, {:.2} of the error bound", passed.runs, passed.worst_ratio);
    Ok(())
}

/// A feed-forward layer: `down · (max(gate · x, 0)² · (up · x))`.
fn in_a_graph(backend: &Backend) -> Result<(), Box<dyn std::error::Error>> {
    let mut g = GraphBuilder::new();
    let rows = g.symbol("rows");
    let x = g.input("x", DType::F32, [rows.into(), WIDTH.into()])?;
    let gate = g.constant("gate", wave(&[INNER, WIDTH], 0.1)?)?;
    let up = g.constant("up", wave(&[INNER, WIDTH], 0.7)?)?;
    let down = g.constant("down", wave(&[WIDTH, INNER], 1.3)?)?;
    let gate = g.linear(x, gate, None)?;
    let up = g.linear(x, up, None)?;
    let gated = g.op1(SquaredReluGate, &[gate, up])?;
    let y = g.linear(gated, down, None)?;
    g.output("y", y)?;
    let graph = g.finish()?;

    let input = wave(&[ROWS, WIDTH], 2.9)?;
    let wanted = Reference::new(&graph, Bindings::new(graph.symbols().len()))?
        .run(&[("x", &input)])?
        .remove(0)
        .1;
    let mut session = Session::new_blocking(graph, backend, SessionOptions::default())?;
    let got = session.run_blocking(&[("x", &input)])?.remove(0).1.to_f32()?;

    let wanted = wanted.reals()?;
    let square = |x: f64| x * x;
    let off: f64 = got.iter().zip(wanted).map(|(&g, &w)| square(f64::from(g) - w)).sum();
    let error = (off / wanted.iter().map(|&w| square(w)).sum::<f64>()).sqrt();
    println!("in a graph: relative error {error:.1e}");
    // Sums of a hundred products in f32 stay far below this; NaN does not.
    if error < 1e-5 { Ok(()) } else { Err("the graph's result is not the reference's".into()) }
}

/// Numbers that look irregular and are the same everywhere.
fn wave(extents: &[usize], start: f64) -> Result<Tensor> {
    let count: usize = extents.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (start + 1.7 * i as f64).sin() as f32).collect();
    Tensor::from_f32(extents, &values)
}
