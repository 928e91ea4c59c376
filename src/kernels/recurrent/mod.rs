//! Recurrent networks. The products of all inputs are there; what is left are
//! the steps, in one of two ways:
//!
//! | Algorithm | For | How |
//! |---|---|---|
//! | `loop` | small hidden states | a workgroup takes a sequence through all steps, its state in workgroup memory |
//! | `step` | any | for each step the products of the state, then the cells |
//!
//! The state goes from dispatch to dispatch in scratch memory, so that gates and
//! results may be cut by steps where they are over the limit of a binding.

mod cpu;
mod dispatch;

use super::{CpuCx, Dispatch, GpuCx, Kernel, Language, Needs, Variant};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::ops::recurrent::{Cell, Direction, Function, Recurrent};

/// The name policies and coverage use.
pub const FAMILY: &str = "recurrent";

/// The largest hidden state of the loops.
const LOOP_HIDDEN: u64 = 256;
/// Rows of the recurrent weights that a workgroup multiplies at a time.
const ROWS: u32 = 4;

const NEEDS: Needs = Needs {
    f16: false,
    subgroups: false,
    coop: None,
    lanes: None,
    int64: false,
    int8: false,
    storage_buffers: 8,
    invocations: 64,
    workgroup_bytes: 0,
};

/// Who takes the steps.
pub const VARIANTS: &[Variant] = &[
    // One workgroup for each sequence and direction, through all steps.
    Variant {
        name: "loop",
        shader: "recurrent/loop",
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &[],
        needs: Needs { workgroup_bytes: 2048, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // The same for states of more units.
    Variant {
        name: "loop_wide",
        shader: "recurrent/loop",
        consts: &[("WORKGROUP", ConstValue::U32(256))],
        features: &[],
        needs: Needs { invocations: 256, workgroup_bytes: 2048, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // Two dispatches a step; workgroups share the rows of the weights.
    Variant {
        name: "step",
        shader: "recurrent/products_tiled",
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &[],
        needs: Needs { workgroup_bytes: 4416, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // Two dispatches a step; one invocation for each product, without barriers.
    Variant {
        name: "step_serial",
        shader: "recurrent/products_serial",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let cells = [
        Cell::Rnn,
        Cell::Lstm { input_forget: false },
        Cell::Lstm { input_forget: true },
        Cell::Gru { linear_before_reset: false },
        Cell::Gru { linear_before_reset: true },
    ];
    let looping = variant.shader == "recurrent/loop";
    let mut requests = Vec::new();
    for cell in cells {
        for (hidden, rich) in [(64, false), (7, true)] {
            let mut op = Recurrent::new(cell, Direction::Bidirectional);
            op.clip = rich.then_some(3.0);
            if let Some(last) = op.activations.last_mut() {
                *last = Function::Softsign.into();
            }
            let lstm = matches!(cell, Cell::Lstm { .. });
            let shaders = Shaders { op: &op, variant, hidden, given: [rich; 5] };
            requests.extend([
                shaders.begin([rich, rich && lstm]),
                shaders.end(),
                shaders.turn(),
                shaders.cells(false),
                shaders.cells(true),
            ]);
            if !looping {
                requests.extend([shaders.products(1), shaders.products(4)]);
            }
        }
    }
    // Each algorithm has its own shaders besides those at both ends.
    let own = |request: &ShaderRequest| match request.file.as_ref() {
        "recurrent/begin" | "recurrent/end" => true,
        "recurrent/loop" | "recurrent/turn" => looping,
        _ => !looping,
    };
    requests.retain(own);
    requests
}

/// What the shaders of a call are instantiated with.
#[derive(Debug, Clone, Copy)]
struct Shaders<'a> {
    op: &'a Recurrent,
    variant: &'static Variant,
    hidden: u64,
    /// Whether there are biases, lengths, initial states (two) and peepholes.
    given: [bool; 5],
}

impl Shaders<'_> {
    fn request(&self, file: &'static str) -> ShaderRequest {
        let consts = self.variant.consts.iter();
        consts.fold(ShaderRequest::new(file), |request, (name, value)| request.with(*name, *value))
    }

    /// The same of a shader that does more for an LSTM.
    fn request_of_cell(&self, file: &'static str) -> ShaderRequest {
        let request = self.request(file);
        if let Cell::Lstm { .. } = self.op.cell { request.feature("lstm") } else { request }
    }

    fn begin(&self, [h, c]: [bool; 2]) -> ShaderRequest {
        let request = self.request_of_cell("recurrent/begin");
        let given = [(h, "given_h"), (c, "given_c")].into_iter().filter(|(on, _)| *on);
        given.fold(request, |request, (_, name)| request.feature(name))
    }

    fn end(&self) -> ShaderRequest {
        self.request_of_cell("recurrent/end")
    }

    fn turn(&self) -> ShaderRequest {
        let gates = self.op.cell.gates() as u32;
        self.request("recurrent/turn")
            .with("GATES", ConstValue::U32(gates))
            .with("HIDDEN", ConstValue::U32(self.hidden as u32))
    }

    /// The loop, or the cells of one step; `opening` for the first of two halves.
    fn cells(&self, opening: bool) -> ShaderRequest {
        let looping = self.variant.shader == "recurrent/loop";
        let file = if looping { "recurrent/loop" } else { "recurrent/cell" };
        let mut request = self
            .request_of_cell(file)
            .with("HIDDEN", ConstValue::U32(self.hidden as u32))
            .with("CLIP", ConstValue::F32(self.op.clip.unwrap_or(0.0)))
            // What the functions of `common/activation` take, of which none is used.
            .with("ACT_A", ConstValue::F32(0.0))
            .with("ACT_B", ConstValue::F32(0.0));
        for (d, names) in NAMES.iter().enumerate() {
            // Where there is one direction the second is never asked for.
            let functions = self.op.functions(d.min(self.op.direction.count() - 1));
            for (function, [kind, alpha, beta]) in functions.iter().zip(names) {
                request = request
                    .with(*kind, ConstValue::U32(function.number()))
                    .with(*alpha, ConstValue::F32(function.alpha))
                    .with(*beta, ConstValue::F32(function.beta));
            }
        }
        let [biased, lengths, _, _, peepholes] = self.given;
        let (gru, linear, coupled) = match self.op.cell {
            Cell::Rnn => (false, false, false),
            Cell::Lstm { input_forget } => (false, false, input_forget),
            Cell::Gru { linear_before_reset } => (true, linear_before_reset, false),
        };
        let lstm = matches!(self.op.cell, Cell::Lstm { .. });
        let wanted = [
            (gru, "gru"),
            (linear, "linear"),
            (coupled, "coupled"),
            (biased, "biased"),
            (lengths, "lengths"),
            (peepholes && lstm, "peepholes"),
            (self.op.clip.is_some(), "clip"),
            (opening && gru && !linear && !looping, "opening"),
        ];
        let wanted = wanted.into_iter().filter(|(on, _)| *on);
        wanted.fold(request, |request, (_, name)| request.feature(name))
    }

    fn products(&self, sequences: u32) -> ShaderRequest {
        let request = self
            .request(self.variant.shader)
            .with("HIDDEN", ConstValue::U32(self.hidden as u32))
            .with("WIDTH", ConstValue::U32((self.op.cell.gates() as u64 * self.hidden) as u32));
        if self.variant.shader == "recurrent/products_tiled" {
            return request
                .with("ROWS", ConstValue::U32(ROWS))
                .with("SEQUENCES", ConstValue::U32(sequences));
        }
        request
    }
}

/// The constants of the functions of each direction.
const NAMES: [[[&str; 3]; 3]; 2] = [
    [["F0", "F0_A", "F0_B"], ["G0", "G0_A", "G0_B"], ["H0", "H0_A", "H0_B"]],
    [["F1", "F1_A", "F1_B"], ["G1", "G1_A", "G1_B"], ["H1", "H1_A", "H1_B"]],
];

/// Takes the steps of a [`Recurrent`]. Inputs: the products of all inputs with
/// the weights `[D, S B, N H]`, then the operator's inputs from `r` on. Outputs:
/// the operator's.
#[derive(Debug, Clone)]
pub struct RecurrentKernel {
    /// What to compute.
    pub op: Recurrent,
}

impl Kernel for RecurrentKernel {
    fn name(&self) -> &str {
        "recurrent.steps"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        dispatch::all(&self.op, cx)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(&self.op, cx)
    }
}

fn workgroup(variant: &Variant) -> Result<u32> {
    match variant.consts {
        [("WORKGROUP", ConstValue::U32(size))] => Ok(*size),
        _ => Err(Error::internal("a recurrent variant without WORKGROUP")),
    }
}
