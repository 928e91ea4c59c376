//! Forests as their nodes' attributes have them.

use super::onnx::{places, reals, rows, tensor};
use super::scores::{Labels, Transform, above, best, column, pair};
use super::walk::{Forest, Mode, Step};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::reduce::Reduction;
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;

/// Where a node is in the list, by its tree and its number there.
type Index = HashMap<(usize, usize), usize>;

/// The nodes of `TreeEnsembleRegressor` and `TreeEnsembleClassifier`, whose leaves
/// say nothing yet, and where each is by tree and number.
fn forest(cx: &NodeCx<'_>, targets: usize) -> Result<(Forest, Index)> {
    let trees = places(cx, "nodes_treeids")?;
    let numbers = places(cx, "nodes_nodeids")?;
    let features = places(cx, "nodes_featureids")?;
    let (yes, no) = (places(cx, "nodes_truenodeids")?, places(cx, "nodes_falsenodeids")?);
    let tracks = places(cx, "nodes_missing_value_tracks_true")?;
    let values = reals(cx, "nodes_values")?;
    let modes = cx.attributes().strings("nodes_modes")?.unwrap_or_default();
    let count = trees.len();
    let lengths = [numbers.len(), features.len(), yes.len(), no.len(), values.len(), modes.len()];
    if count == 0 || lengths.iter().any(|&n| n != count) || ![0, count].contains(&tracks.len()) {
        return Err(cx.broken(format!("attributes of {count} nodes have {lengths:?} entries")));
    }
    let mut index = HashMap::new();
    for (at, key) in trees.iter().copied().zip(numbers.iter().copied()).enumerate() {
        if index.insert(key, at).is_some() {
            return Err(cx.broken(format!("node {} of tree {} is given twice", key.1, key.0)));
        }
    }
    let mut steps = Vec::with_capacity(count);
    let mut led_to = vec![false; count];
    for at in 0..count {
        let mode = mode(cx, modes[at])?;
        let mut to = |number: usize| match mode {
            None => Ok(at),
            Some(_) => {
                let found = index.get(&(trees[at], number)).copied();
                let found = found.ok_or_else(|| cx.broken(format!("no node {number}")))?;
                led_to[found] = true;
                Ok(found)
            }
        };
        let (yes, no) = (to(yes[at])?, to(no[at])?);
        let missing = tracks.get(at).is_some_and(|&tracks| tracks != 0);
        steps.push(Step { mode, feature: features[at], value: values[at], yes, no, missing });
    }
    let roots: Vec<usize> = (0..count).filter(|&at| !led_to[at]).collect();
    let weights = vec![0.0; count.saturating_mul(targets)];
    Ok((Forest { steps, roots, weights, targets, reduction: Reduction::Sum }, index))
}

fn mode(cx: &NodeCx<'_>, name: &str) -> Result<Option<Mode>> {
    Ok(Some(match name {
        "LEAF" => return Ok(None),
        "BRANCH_LEQ" => Mode::LessOrEqual,
        "BRANCH_LT" => Mode::Less,
        "BRANCH_GTE" => Mode::GreaterOrEqual,
        "BRANCH_GT" => Mode::Greater,
        "BRANCH_EQ" => Mode::Equal,
        "BRANCH_NEQ" => Mode::NotEqual,
        other => return Err(cx.broken(format!("mode '{other}' of a node"))),
    }))
}

/// Adds what leaves say, which attributes of this prefix have.
fn weigh(
    cx: &NodeCx<'_>,
    prefix: &str,
    forest: &mut Forest,
    index: &Index,
) -> Result<(Vec<usize>, Vec<f64>)> {
    let ids = places(cx, &format!("{prefix}_ids"))?;
    let trees = places(cx, &format!("{prefix}_treeids"))?;
    let numbers = places(cx, &format!("{prefix}_nodeids"))?;
    let weights = reals(cx, &format!("{prefix}_weights"))?;
    if [trees.len(), numbers.len(), weights.len()].iter().any(|&n| n != ids.len()) {
        return Err(cx.broken(format!("attributes '{prefix}_..' of several lengths")));
    }
    for (at, &id) in ids.iter().enumerate() {
        let leaf = index.get(&(trees[at], numbers[at]));
        let leaf = leaf.filter(|_| id < forest.targets);
        let leaf = leaf.ok_or_else(|| cx.broken(format!("weight {at} is of no leaf or target")))?;
        forest.weights[leaf * forest.targets + id] += weights[at];
    }
    Ok((ids, weights))
}

/// The features as a matrix, in F64 if they are F64 and in F32 otherwise.
fn features(cx: &mut NodeCx<'_>) -> Result<ValueId> {
    let (rows, columns) = rows(cx)?;
    let x = match cx.dtype(0)? {
        DType::F64 => cx.input(0)?,
        _ => cx.input_f32(0)?,
    };
    cx.reshaped(x, &[rows, columns])
}

/// Adds a number for each target.
fn based(cx: &mut NodeCx<'_>, scores: ValueId, base: &[f64]) -> Result<ValueId> {
    if base.is_empty() {
        return Ok(scores);
    }
    let base: Vec<f32> = base.iter().map(|&value| value as f32).collect();
    let base = cx.constant(Tensor::from_f32(&[base.len()], &base)?)?;
    cx.map2(Binary::Add, scores, base)
}

pub(super) fn regressor(cx: &mut NodeCx<'_>) -> Result<()> {
    let targets = cx.int("n_targets", 1)?;
    let targets = usize::try_from(targets).map_err(|_| cx.broken(format!("{targets} targets")))?;
    let (mut forest, index) = forest(cx, targets)?;
    weigh(cx, "target", &mut forest, &index)?;
    forest.reduction = match cx.string("aggregate_function", "SUM")? {
        "SUM" => Reduction::Sum,
        "AVERAGE" => Reduction::Mean,
        "MIN" => Reduction::Min,
        "MAX" => Reduction::Max,
        other => return Err(cx.broken(format!("aggregate_function '{other}'"))),
    };
    several(cx, forest.reduction, targets)?;
    let base = reals(cx, "base_values")?;
    if ![0, targets].contains(&base.len()) {
        return Err(cx.broken(format!("{} base values for {targets} targets", base.len())));
    }
    let transform = Transform::of(cx)?;
    let x = features(cx)?;
    let scores = forest.scores(cx, x)?;
    let scores = cx.cast(scores, DType::F32)?;
    let scores = based(cx, scores, &base)?;
    let y = transform.apply(cx, scores)?;
    cx.output(0, y);
    Ok(())
}

pub(super) fn classifier(cx: &mut NodeCx<'_>) -> Result<()> {
    let labels = Labels::of(cx, "classlabels_strings", "classlabels_int64s")?;
    let classes = labels.len();
    let (mut forest, index) = forest(cx, classes)?;
    let (ids, weights) = weigh(cx, "class", &mut forest, &index)?;
    let base = reals(cx, "base_values")?;
    let transform = Transform::of(cx)?;
    let x = features(cx)?;
    let scores = forest.scores(cx, x)?;
    let scores = cx.cast(scores, DType::F32)?;
    let one = ids.first().filter(|&first| classes == 2 && ids.iter().all(|id| id == first));
    if let Some(&at) = one {
        let positive = weights.iter().all(|&weight| weight >= 0.0);
        let added = base.get(at).or(base.first()).copied().unwrap_or(0.0);
        let score = column(cx, scores, at)?;
        let score = cx.map2_f32(Binary::Add, score, added as f32)?;
        return binary(cx, &labels, score, positive, transform);
    }
    if ![0, classes].contains(&base.len()) {
        return Err(cx.broken(format!("{} base values for {classes} classes", base.len())));
    }
    let scores = based(cx, scores, &base)?;
    let place = best(cx, scores)?;
    labels.give(cx, place)?;
    let y = transform.apply(cx, scores)?;
    cx.output(1, y);
    Ok(())
}

/// Two classes, and one score: a probability if no leaf says less than 0, else a
/// number above 0 for the second class.
fn binary(
    cx: &mut NodeCx<'_>,
    labels: &Labels,
    score: ValueId,
    positive: bool,
    transform: Transform,
) -> Result<()> {
    let place = above(cx, score, if positive { 0.5 } else { 0.0 })?;
    let first = match (positive, transform) {
        (true, _) => {
            let one = cx.scalar_f32(1.0)?;
            cx.map2(Binary::Sub, one, score)?
        }
        (false, _) => cx.map1(Unary::Neg, score)?,
    };
    let both = pair(cx, first, score)?;
    labels.give(cx, place)?;
    let both = match transform {
        Transform::Logistic if !positive => transform.apply(cx, both)?,
        _ => both,
    };
    cx.output(1, both);
    Ok(())
}

/// `TreeEnsemble`: nodes lead to nodes or to leaves, by their places in lists.
pub(super) fn ensemble(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let forest = listed(cx)?;
    let transforms = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"];
    let number = cx.int("post_transform", 0)?;
    let name = usize::try_from(number).ok().and_then(|at| transforms.get(at).copied());
    let name = name.ok_or_else(|| cx.broken(format!("post_transform {number}")))?;
    let transform = Transform::named(cx, name)?;
    let x = features(cx)?;
    let mut scores = forest.scores(cx, x)?;
    if transform != Transform::None {
        scores = cx.cast(scores, DType::F32)?;
    }
    let y = transform.apply(cx, scores)?;
    cx.output_as(0, y, dtype)
}

fn listed(cx: &NodeCx<'_>) -> Result<Forest> {
    let targets = cx.int("n_targets", 1)?;
    let targets = usize::try_from(targets).map_err(|_| cx.broken(format!("{targets} targets")))?;
    let features = places(cx, "nodes_featureids")?;
    let (yes, no) = (places(cx, "nodes_truenodeids")?, places(cx, "nodes_falsenodeids")?);
    let (yes_leaf, no_leaf) = (places(cx, "nodes_trueleafs")?, places(cx, "nodes_falseleafs")?);
    let tracks = places(cx, "nodes_missing_value_tracks_true")?;
    let (values, modes) = (tensor(cx, "nodes_splits")?, tensor(cx, "nodes_modes")?);
    let (ids, weights) = (places(cx, "leaf_targetids")?, tensor(cx, "leaf_weights")?);
    let (count, leaves) = (features.len(), ids.len());
    let lengths = [yes.len(), no.len(), yes_leaf.len(), no_leaf.len(), values.len(), modes.len()];
    if lengths.iter().any(|&n| n != count)
        || weights.len() != leaves
        || ![0, count].contains(&tracks.len())
    {
        return Err(cx.broken(format!("attributes of {count} nodes have {lengths:?} entries")));
    }
    let mut members = Members::new(&tensor(cx, "membership_values")?);
    let mut steps: Vec<Step> = Vec::with_capacity(count + leaves);
    // Leaves stand behind the nodes.
    let to = |place: usize, leaf: usize| if leaf != 0 { count + place } else { place };
    for at in 0..count {
        let missing = tracks.get(at).is_some_and(|&tracks| tracks != 0);
        let mode = numbered(cx, modes[at])?;
        let (yes, no) = (to(yes[at], yes_leaf[at]), to(no[at], no_leaf[at]));
        let value = match mode {
            Some(_) => values[at],
            None => members.first(at).ok_or_else(|| cx.broken("a set without members"))?,
        };
        let mode = Some(mode.unwrap_or(Mode::Equal));
        steps.push(Step { mode, feature: features[at], value, yes, no, missing });
    }
    for leaf in count..count + leaves {
        let (yes, no) = (leaf, leaf);
        steps.push(Step { mode: None, feature: 0, value: 0.0, yes, no, missing: false });
    }
    let mut all = vec![0.0; steps.len().saturating_mul(targets)];
    for (leaf, (&id, &weight)) in ids.iter().zip(&weights).enumerate() {
        if id >= targets {
            return Err(cx.broken(format!("target {id} of {targets}")));
        }
        all[(count + leaf) * targets + id] = weight;
    }
    members.unfold(&mut steps);
    all.resize(steps.len().saturating_mul(targets), 0.0);
    let reductions = [Reduction::Mean, Reduction::Sum, Reduction::Min, Reduction::Max];
    let number = cx.int("aggregate_function", 1)?;
    let reduction = usize::try_from(number).ok().and_then(|at| reductions.get(at).copied());
    let reduction = reduction.ok_or_else(|| cx.broken(format!("aggregate_function {number}")))?;
    let roots = places(cx, "tree_roots")?;
    several(cx, reduction, targets)?;
    Ok(Forest { steps, roots, weights: all, targets, reduction })
}

/// Refuses what a leaf that says nothing of a target would spoil.
fn several(cx: &NodeCx<'_>, reduction: Reduction, targets: usize) -> Result<()> {
    if targets > 1 && matches!(reduction, Reduction::Min | Reduction::Max) {
        return Err(
            cx.unsupported(format!("aggregate_function {reduction:?} of {targets} targets"))
        );
    }
    Ok(())
}

/// The sets that nodes compare with, unfolded to a node for each member.
struct Members {
    sets: std::vec::IntoIter<Vec<f64>>,
    /// Nodes that compare with a first member, and the others.
    left: Vec<(usize, Vec<f64>)>,
}

impl Members {
    fn new(values: &[f64]) -> Self {
        let sets = values.split(|value| value.is_nan()).filter(|set| !set.is_empty());
        let sets: Vec<Vec<f64>> = sets.map(<[f64]>::to_vec).collect();
        Members { sets: sets.into_iter(), left: Vec::new() }
    }

    /// The first member of the next set, which a node compares with.
    fn first(&mut self, node: usize) -> Option<f64> {
        let set = self.sets.next()?;
        let (&first, others) = set.split_first()?;
        self.left.push((node, others.to_vec()));
        Some(first)
    }

    /// Adds nodes for the other members.
    fn unfold(self, steps: &mut Vec<Step>) {
        for (node, others) in self.left {
            let mut last = node;
            for value in others {
                let next = steps.len();
                let step = Step { value, ..steps[last].clone() };
                steps.push(step);
                steps[last].no = next;
                last = next;
            }
        }
    }
}

/// The mode of a number; `None` for membership of a set.
fn numbered(cx: &NodeCx<'_>, number: f64) -> Result<Option<Mode>> {
    const MODES: [Mode; 6] = [
        Mode::LessOrEqual,
        Mode::Less,
        Mode::GreaterOrEqual,
        Mode::Greater,
        Mode::Equal,
        Mode::NotEqual,
    ];
    match number as usize {
        6 => Ok(None),
        at => MODES.get(at).copied().map(Some).ok_or_else(|| cx.broken(format!("mode {number}"))),
    }
}
