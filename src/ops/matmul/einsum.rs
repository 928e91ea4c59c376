//! ONNX `Einsum`, from transpositions, reductions and products.

use super::MatMul;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::Binary;
use crate::ops::movement::{Slice, SliceRange};
use crate::ops::reduce::{Reduction, reduced};
use crate::tensor::DType;
use std::collections::BTreeMap;

/// What a dimension is called: a letter, or a dimension of the ellipsis counted
/// from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

/// A value and the labels of its dimensions, no two of them equal.
#[derive(Debug, Clone)]
struct Operand {
    value: ValueId,
    labels: Vec<Label>,
}

/// A term of the equation: letters before and after the ellipsis, if there is one.
#[derive(Debug, Clone, PartialEq)]
struct Term {
    before: Vec<char>,
    after: Option<Vec<char>>,
}

/// An equation's terms.
#[derive(Debug, Clone, PartialEq)]
struct Equation {
    inputs: Vec<Term>,
    output: Option<Term>,
}

type Extents = BTreeMap<Label, usize>;

pub(super) fn import(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let text = cx.string("equation", "")?.to_string();
    let equation = Equation::parse(&text).map_err(|what| cx.broken(format!("'{text}': {what}")))?;
    if equation.inputs.len() != cx.input_count() {
        let what = format!("'{text}' has {} terms", equation.inputs.len());
        return Err(cx.broken(format!("{what}, there are {} inputs", cx.input_count())));
    }
    let (operands, extents, counts) = operands(cx, &equation)?;
    let output = equation.output_labels(&counts).map_err(|what| cx.broken(what))?;
    if let Some(unknown) = output.iter().find(|label| !extents.contains_key(label)) {
        return Err(cx.broken(format!("'{text}': {unknown:?} is in no input")));
    }
    let real = dtype.is_float();
    let y = contract(cx, operands, &output, &extents, real)?;
    let y = arranged(cx, &y, &output, &extents)?;
    cx.output_as(0, y, dtype)
}

impl Term {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let letters = |text: &str| match text.chars().find(|c| !c.is_ascii_alphabetic()) {
            Some(bad) => Err(format!("'{bad}' is no letter")),
            None => Ok(text.chars().collect::<Vec<char>>()),
        };
        match text.split_once("...") {
            None => Ok(Term { before: letters(text)?, after: None }),
            Some((before, after)) => {
                Ok(Term { before: letters(before)?, after: Some(letters(after)?) })
            }
        }
    }

    /// The labels, with so many dimensions for the ellipsis.
    fn labels(&self, ellipsis: usize) -> Vec<Label> {
        let letter = |&c: &char| Label::Letter(c);
        let between = (0..ellipsis).rev().map(Label::Ellipsis);
        let after = self.after.as_deref().unwrap_or_default();
        let between = between.filter(|_| self.after.is_some());
        self.before.iter().map(letter).chain(between).chain(after.iter().map(letter)).collect()
    }

    fn letters(&self) -> usize {
        self.before.len() + self.after.as_ref().map_or(0, Vec::len)
    }
}

impl Equation {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let text: String = text.chars().filter(|c| *c != ' ').collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        Ok(Equation {
            inputs: left.split(',').map(Term::parse).collect::<std::result::Result<_, _>>()?,
            output: right.map(Term::parse).transpose()?,
        })
    }

    /// The labels of the output. Without an output term these are the ellipsis
    /// and the letters that occur once, sorted.
    fn output_labels(
        &self,
        counts: &BTreeMap<Label, usize>,
    ) -> std::result::Result<Vec<Label>, String> {
        let ellipsis: Vec<Label> =
            counts.keys().rev().filter(|l| matches!(l, Label::Ellipsis(_))).copied().collect();
        let Some(term) = &self.output else {
            let once = counts.iter().filter(|(l, n)| matches!(l, Label::Letter(_)) && **n == 1);
            return Ok(ellipsis.into_iter().chain(once.map(|(label, _)| *label)).collect());
        };
        let labels = term.labels(ellipsis.len());
        let mut sorted = labels.clone();
        sorted.sort_unstable();
        sorted.dedup();
        match sorted.len() == labels.len() {
            true => Ok(labels),
            false => Err("the output names a dimension twice".into()),
        }
    }
}

/// The inputs with their labels: diagonals taken, dimensions of one element
/// dropped where another input has more. With the extents of all labels and how
/// often each occurs.
fn operands(
    cx: &mut NodeCx<'_>,
    equation: &Equation,
) -> Result<(Vec<Operand>, Extents, BTreeMap<Label, usize>)> {
    let (mut extents, mut counts) = (Extents::new(), BTreeMap::new());
    let mut labelled = Vec::new();
    for (index, term) in equation.inputs.iter().enumerate() {
        let own = cx.extents(index)?;
        let ellipsis = own.len().checked_sub(term.letters());
        let labels = term.labels(ellipsis.unwrap_or(0));
        if labels.len() != own.len() {
            return Err(cx.broken(format!("input {index} {own:?} does not fit its term")));
        }
        for (&label, &n) in labels.iter().zip(&own) {
            *counts.entry(label).or_insert(0) += 1;
            let known = extents.entry(label).or_insert(n);
            if *known != n && *known != 1 && n != 1 {
                return Err(cx.broken(format!("{label:?} is {known} and {n}")));
            }
            if *known == 1 {
                *known = n;
            }
        }
        labelled.push(labels);
    }
    let mut operands = Vec::new();
    for (index, labels) in labelled.into_iter().enumerate() {
        let value = cx.input(index)?;
        let value = if cx.dtype(index)?.is_float() { cx.cast(value, DType::F32)? } else { value };
        let mut operand = Operand { value, labels };
        while let Some((first, second)) = operand.repeated() {
            operand = diagonal(cx, &operand, first, second)?;
        }
        let own = cx.extents_of(operand.value)?;
        let kept: Vec<usize> =
            (0..own.len()).filter(|&axis| own[axis] == extents[&operand.labels[axis]]).collect();
        let shape: Vec<usize> = kept.iter().map(|&axis| own[axis]).collect();
        let value = cx.reshaped(operand.value, &shape)?;
        let labels = kept.iter().map(|&axis| operand.labels[axis]).collect();
        operands.push(Operand { value, labels });
    }
    Ok((operands, extents, counts))
}

impl Operand {
    fn repeated(&self) -> Option<(usize, usize)> {
        let twin = |first: usize| {
            let second = self.labels[first + 1..].iter().position(|l| *l == self.labels[first]);
            second.map(|second| (first, first + 1 + second))
        };
        (0..self.labels.len()).find_map(twin)
    }

    fn position(&self, label: Label) -> Option<usize> {
        self.labels.iter().position(|own| *own == label)
    }

    /// The value with its dimensions in the order of these labels, which are
    /// its own.
    fn transposed(&self, cx: &mut NodeCx<'_>, labels: &[Label]) -> Result<ValueId> {
        let permutation: Vec<usize> = labels.iter().filter_map(|l| self.position(*l)).collect();
        cx.transposed(self.value, &permutation)
    }
}

/// Makes two dimensions of equal extent n one: last in `[..., n, n]` they are
/// every (n + 1)th element of `[..., n * n]`.
fn diagonal(
    cx: &mut NodeCx<'_>,
    operand: &Operand,
    first: usize,
    second: usize,
) -> Result<Operand> {
    let extents = cx.extents_of(operand.value)?;
    let (n, label) = (extents[first], operand.labels[first]);
    if n != extents[second] {
        return Err(cx.broken(format!("{label:?} is {n} and {} in one input", extents[second])));
    }
    let rest: Vec<usize> = (0..extents.len()).filter(|a| *a != first && *a != second).collect();
    let order: Vec<usize> = rest.iter().copied().chain([first, second]).collect();
    let x = cx.transposed(operand.value, &order)?;
    let mut shape: Vec<usize> = rest.iter().map(|&axis| extents[axis]).collect();
    shape.push(n * n);
    let x = cx.reshaped(x, &shape)?;
    let range = SliceRange { axis: -1, start: 0, end: i64::MAX, step: n as i64 + 1 };
    let value = cx.op1(Slice { ranges: vec![range] }, &[x])?;
    let labels = rest.iter().map(|&axis| operand.labels[axis]).chain([label]).collect();
    Ok(Operand { value, labels })
}

/// One operand of all, from left to right. Labels that neither the output nor
/// a later operand has are summed over as soon as they can be.
fn contract(
    cx: &mut NodeCx<'_>,
    operands: Vec<Operand>,
    output: &[Label],
    extents: &Extents,
    real: bool,
) -> Result<Operand> {
    let mut left = operands.into_iter();
    let mut all = left.next().ok_or_else(|| cx.broken("an equation without terms"))?;
    loop {
        let later: Vec<Operand> = left.as_slice().to_vec();
        let needed = |label: &Label, from: usize| {
            let more = later.get(from..).unwrap_or_default();
            output.contains(label) || more.iter().any(|o| o.labels.contains(label))
        };
        all = summed(cx, all, |label| needed(label, 0))?;
        let Some(next) = left.next() else { return Ok(all) };
        let next = summed(cx, next, |l| needed(l, 1) || all.labels.contains(l))?;
        let kept = |label: &Label| needed(label, 1);
        all = match real {
            true => product(cx, &all, &next, kept, extents)?,
            false => multiplied(cx, &all, &next)?,
        };
    }
}

/// Sums over the labels that are not needed.
fn summed(
    cx: &mut NodeCx<'_>,
    operand: Operand,
    needed: impl Fn(&Label) -> bool,
) -> Result<Operand> {
    let axes: Vec<i64> = (0..operand.labels.len())
        .filter(|&axis| !needed(&operand.labels[axis]))
        .map(|axis| axis as i64)
        .collect();
    if axes.is_empty() {
        return Ok(operand);
    }
    let value = reduced(cx, Reduction::Sum, operand.value, &axes, false)?;
    Ok(Operand { value, labels: operand.labels.into_iter().filter(needed).collect() })
}

/// A matrix product for every element of the labels that both have and keep.
fn product(
    cx: &mut NodeCx<'_>,
    a: &Operand,
    b: &Operand,
    kept: impl Fn(&Label) -> bool,
    extents: &Extents,
) -> Result<Operand> {
    let both = |l: &&Label| b.labels.contains(l);
    let batch: Vec<Label> = a.labels.iter().filter(both).filter(|l| kept(l)).copied().collect();
    let inner: Vec<Label> = a.labels.iter().filter(both).filter(|l| !kept(l)).copied().collect();
    let m: Vec<Label> = a.labels.iter().filter(|l| !both(l)).copied().collect();
    let n: Vec<Label> = b.labels.iter().filter(|l| !a.labels.contains(l)).copied().collect();
    if inner.is_empty() {
        return multiplied(cx, a, b);
    }
    let (left, trans_a) = matrices(cx, a, [&batch, &m, &inner], extents)?;
    let (right, trans_b) = matrices(cx, b, [&batch, &inner, &n], extents)?;
    let op = MatMul { trans_a, trans_b, activation: None };
    let value = cx.op1(op, &[left, right])?;
    let labels: Vec<Label> = batch.into_iter().chain(m).chain(n).collect();
    let shape: Vec<usize> = labels.iter().map(|label| extents[label]).collect();
    Ok(Operand { value: cx.reshaped(value, &shape)?, labels })
}

/// The operand as `[batch, rows, columns]`, or as `[batch, columns, rows]` where
/// that is how it lies.
fn matrices(
    cx: &mut NodeCx<'_>,
    operand: &Operand,
    [batch, rows, columns]: [&[Label]; 3],
    extents: &Extents,
) -> Result<(ValueId, bool)> {
    let order = |a: &[Label], b: &[Label]| [batch, a, b].concat();
    let size = |labels: &[Label]| labels.iter().map(|label| extents[label]).product::<usize>();
    let turned = operand.labels == order(columns, rows);
    let (first, second) = if turned { (columns, rows) } else { (rows, columns) };
    let value = operand.transposed(cx, &order(first, second))?;
    let value = cx.reshaped(value, &[size(batch), size(first), size(second)])?;
    Ok((value, turned))
}

/// The product of every element with every element that agrees in the labels
/// that both have.
fn multiplied(cx: &mut NodeCx<'_>, a: &Operand, b: &Operand) -> Result<Operand> {
    let more = b.labels.iter().filter(|label| !a.labels.contains(label));
    let labels: Vec<Label> = a.labels.iter().chain(more).copied().collect();
    let left = spread(cx, a, &labels)?;
    let right = spread(cx, b, &labels)?;
    Ok(Operand { value: cx.map2(Binary::Mul, left, right)?, labels })
}

/// The operand with its dimensions in the order of `labels`, and dimensions of
/// one element for those it has not.
fn spread(cx: &mut NodeCx<'_>, operand: &Operand, labels: &[Label]) -> Result<ValueId> {
    let own: Vec<Label> =
        labels.iter().filter(|label| operand.labels.contains(label)).copied().collect();
    let value = operand.transposed(cx, &own)?;
    let extents = cx.extents_of(value)?;
    let mut left = extents.iter();
    let extent = |label: &Label| match operand.labels.contains(label) {
        true => left.next().copied().unwrap_or(1),
        false => 1,
    };
    let shape: Vec<usize> = labels.iter().map(extent).collect();
    cx.reshaped(value, &shape)
}

/// The result with its dimensions in the order of the output; a dimension that
/// all inputs had with one element and dropped is put back.
fn arranged(
    cx: &mut NodeCx<'_>,
    operand: &Operand,
    output: &[Label],
    extents: &Extents,
) -> Result<ValueId> {
    let value = spread(cx, operand, output)?;
    let shape: Vec<usize> = output.iter().map(|label| extents[label]).collect();
    cx.expanded(value, &shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(equation: &str, ranks: &[usize]) -> (Vec<Vec<Label>>, Vec<Label>) {
        let equation = Equation::parse(equation).unwrap();
        let (mut counts, mut all) = (BTreeMap::new(), Vec::new());
        for (term, rank) in equation.inputs.iter().zip(ranks) {
            let own = term.labels(rank - term.letters());
            own.iter().for_each(|l| *counts.entry(*l).or_insert(0) += 1);
            all.push(own);
        }
        (all, equation.output_labels(&counts).unwrap())
    }

    #[test]
    fn equations_are_read_with_and_without_output() {
        use Label::{Ellipsis, Letter};
        let (inputs, output) = labels(" ij, jk ", &[2, 2]);
        assert_eq!(inputs, [[Letter('i'), Letter('j')], [Letter('j'), Letter('k')]]);
        assert_eq!(output, [Letter('i'), Letter('k')]);
        let (inputs, output) = labels("a...b,...b", &[4, 2]);
        assert_eq!(inputs[0], [Letter('a'), Ellipsis(1), Ellipsis(0), Letter('b')]);
        assert_eq!(inputs[1], [Ellipsis(0), Letter('b')]);
        assert_eq!(output, [Ellipsis(1), Ellipsis(0), Letter('a')]);
        assert_eq!(labels("bA->Ab", &[2]).1, [Letter('A'), Letter('b')]);
        assert_eq!(labels("ii->", &[2]).1, []);
        assert!(Equation::parse("i1->i").is_err());
        let twice = Equation::parse("i->ii").unwrap();
        assert!(twice.output_labels(&BTreeMap::from([(Letter('i'), 1)])).is_err());
    }
}
