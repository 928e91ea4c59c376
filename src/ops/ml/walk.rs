//! Forests as a graph: all rows go down all trees together, one level at a time.

use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::RefTensor;
use crate::ops::elementwise::{Binary, Test, Where};
use crate::ops::gather::{GatherElements, Take};
use crate::ops::reduce::{Reduce, Reduction};
use crate::tensor::{DType, Tensor};

/// How a node compares a feature with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
}

impl Mode {
    fn binary(self) -> Binary {
        match self {
            Mode::LessOrEqual => Binary::LessOrEqual,
            Mode::Less => Binary::Less,
            Mode::GreaterOrEqual => Binary::GreaterOrEqual,
            Mode::Greater => Binary::Greater,
            Mode::Equal | Mode::NotEqual => Binary::Equal,
        }
    }

    /// The F32 by which it gives for all F32 what it gives by the value.
    fn narrow(self, value: f64) -> f32 {
        let near = value as f32;
        match self {
            Mode::LessOrEqual | Mode::Greater if f64::from(near) > value => near.next_down(),
            Mode::Less | Mode::GreaterOrEqual if f64::from(near) < value => near.next_up(),
            _ => near,
        }
    }
}

/// A node of a tree; a leaf leads to itself.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// `None` for a leaf.
    pub(super) mode: Option<Mode>,
    pub(super) feature: usize,
    pub(super) value: f64,
    pub(super) yes: usize,
    pub(super) no: usize,
    /// Whether what is no number goes where the comparison holds.
    pub(super) missing: bool,
}

/// Trees over one list of nodes.
#[derive(Debug)]
pub(super) struct Forest {
    pub(super) steps: Vec<Step>,
    pub(super) roots: Vec<usize>,
    /// For each node and target what a leaf adds.
    pub(super) weights: Vec<f64>,
    pub(super) targets: usize,
    pub(super) reduction: Reduction,
}

/// The most levels of a tree.
const DEEPEST: usize = 1 << 12;

impl Forest {
    /// What the leaves say together, `[rows, targets]`, for features `[rows, columns]`:
    /// F64 if those are, else F32.
    ///
    /// # Errors
    /// If nodes lead nowhere or around, or ask for features that are not there.
    pub(super) fn scores(&self, cx: &mut NodeCx<'_>, x: ValueId) -> Result<ValueId> {
        let extents = cx.extents_of(x)?;
        let (rows, columns) = (extents[0], extents[1]);
        let asks = self.steps.iter().filter(|step| step.mode.is_some()).map(|step| step.feature);
        if let Some(feature) = asks.max().filter(|&feature| feature >= columns) {
            return Err(cx.broken(format!("feature {feature} of {columns}")));
        }
        let depth = self.depth().map_err(|what| cx.broken(what))?;
        let wide = cx.builder().ty(x).dtype == DType::F64;
        let tables = Tables::new(self, cx, wide)?;
        let roots: Vec<i32> = self.roots.iter().map(|&root| root as i32).collect();
        let roots = cx.constant(Tensor::from_i32(&[1, roots.len()], &roots)?)?;
        let mut at = cx.expanded(roots, &[rows, self.roots.len()])?;
        for _ in 0..depth {
            at = tables.down(cx, x, at)?;
        }
        let dtype = cx.builder().ty(x).dtype;
        let weights = reals(cx, dtype, &[self.steps.len(), self.targets], &self.weights)?;
        let said = cx.op1(Take { axis: 0, batch_dims: 0 }, &[weights, at])?;
        let reduction = self.reduction;
        cx.op1(Reduce { reduction, axes: vec![1], keepdims: false }, &[said])
    }

    /// The most comparisons from a root to a leaf.
    fn depth(&self) -> std::result::Result<usize, String> {
        let mut level: Vec<usize> = self.roots.clone();
        for depth in 0..DEEPEST {
            let mut next = Vec::new();
            for &at in &level {
                let step = self.steps.get(at).ok_or("a tree leads to a node that is not there")?;
                if step.mode.is_some() {
                    next.extend([step.yes, step.no]);
                }
            }
            // Nodes may be led to from several.
            next.sort_unstable();
            next.dedup();
            let leaf = |&at: &usize| self.steps.get(at).is_some_and(|step| step.mode.is_none());
            if next.iter().all(leaf) {
                return Ok(depth + usize::from(!next.is_empty()));
            }
            level = next;
        }
        Err(format!("a tree of more than {DEEPEST} levels, or one that leads around"))
    }
}

/// Numbers of a type as a constant.
fn reals(cx: &mut NodeCx<'_>, dtype: DType, extents: &[usize], values: &[f64]) -> Result<ValueId> {
    let tensor = RefTensor::real(dtype, extents, values.to_vec()).to_tensor()?;
    cx.constant(tensor)
}

/// The columns of the list of nodes, each a constant.
struct Tables {
    feature: ValueId,
    value: ValueId,
    yes: ValueId,
    no: ValueId,
    /// The modes there are, and each node's if there are several.
    modes: Vec<Mode>,
    mode: ValueId,
    /// Whether what is missing goes where the comparison holds, if that is so anywhere.
    missing: Option<ValueId>,
}

impl Tables {
    fn new(forest: &Forest, cx: &mut NodeCx<'_>, wide: bool) -> Result<Self> {
        let steps = &forest.steps;
        let mut ints = |of: &dyn Fn(&Step) -> usize| -> Result<ValueId> {
            let values: Vec<i32> = steps.iter().map(|step| of(step) as i32).collect();
            cx.constant(Tensor::from_i32(&[values.len()], &values)?)
        };
        let feature = ints(&|step| if step.mode.is_some() { step.feature } else { 0 })?;
        let (yes, no) = (ints(&|step| step.yes)?, ints(&|step| step.no)?);
        let mode = ints(&|step| step.mode.unwrap_or(Mode::LessOrEqual) as usize)?;
        let any = steps.iter().any(|step| step.missing);
        let missing = if any { Some(ints(&|step| usize::from(step.missing))?) } else { None };
        let value = |step: &Step| match step.mode {
            None => 0.0,
            Some(_) if wide => step.value,
            Some(mode) => f64::from(mode.narrow(step.value)),
        };
        let values: Vec<f64> = steps.iter().map(value).collect();
        let dtype = if wide { DType::F64 } else { DType::F32 };
        let value = reals(cx, dtype, &[values.len()], &values)?;
        let mut modes: Vec<Mode> = steps.iter().filter_map(|step| step.mode).collect();
        modes.sort_unstable();
        modes.dedup();
        Ok(Tables { feature, value, yes, no, modes, mode, missing })
    }

    /// One level down: the nodes `[rows, trees]` that come after these.
    fn down(&self, cx: &mut NodeCx<'_>, x: ValueId, at: ValueId) -> Result<ValueId> {
        let of = |cx: &mut NodeCx<'_>, table: ValueId| {
            cx.op1(Take { axis: 0, batch_dims: 0 }, &[table, at])
        };
        let feature = of(cx, self.feature)?;
        let x = cx.op1(GatherElements { axis: 1 }, &[x, feature])?;
        let value = of(cx, self.value)?;
        let mut holds: Option<ValueId> = None;
        for &mode in &self.modes {
            let mut one = cx.map2(mode.binary(), x, value)?;
            if mode == Mode::NotEqual {
                one = cx.op1(crate::ops::elementwise::Whole::Not, &[one])?;
            }
            if self.modes.len() > 1 {
                let own = of(cx, self.mode)?;
                let code = cx.constant(Tensor::from_i32(&[], &[mode as i32])?)?;
                let own = cx.map2(Binary::Equal, own, code)?;
                one = cx.map2(Binary::And, own, one)?;
            }
            holds = Some(match holds {
                Some(others) => cx.map2(Binary::Or, others, one)?,
                None => one,
            });
        }
        // Without a comparison there is no level to go down.
        let Some(mut holds) = holds else { return Ok(at) };
        if let Some(missing) = self.missing {
            let goes = of(cx, missing)?;
            let one = cx.constant(Tensor::from_i32(&[], &[1])?)?;
            let goes = cx.map2(Binary::Equal, goes, one)?;
            let none = cx.op1(Test::IsNaN, &[x])?;
            let goes = cx.map2(Binary::And, goes, none)?;
            holds = cx.map2(Binary::Or, holds, goes)?;
        }
        let (yes, no) = (of(cx, self.yes)?, of(cx, self.no)?);
        cx.op1(Where, &[holds, yes, no])
    }
}
