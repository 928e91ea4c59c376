//! What folding makes of weights, so that importing a model again makes no
//! other copies of them.

use crate::error::Result;
use crate::ops::Operator;
use crate::passes::fold;
use crate::tensor::{DType, Identity, Tensor};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Smaller tensors are told apart by their content; folding them is cheap, and
/// what comes of small ones alone is not kept.
const SMALL: usize = 1024;

/// Which tensor: where its bytes are, or what they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Which {
    Absent,
    Large(Identity),
    Small(DType, Vec<usize>, Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    /// The operator with its attributes.
    op: String,
    inputs: Vec<Which>,
    extents: Vec<Vec<usize>>,
}

/// What folding made of weights.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// The weights, and what was made of them: what lives as long as the memo.
    lasting: HashSet<Identity>,
    results: HashMap<Question, Vec<Tensor>>,
    /// Keeps the weights alive.
    weights: Vec<Tensor>,
    /// The most elements of what is folded, where that is less than usual.
    pub(super) most: Option<usize>,
    /// The nodes that compute in F32 what they are given in F64.
    pub(super) narrowed: BTreeSet<String>,
}

impl Memo {
    /// A memo for these weights.
    pub(super) fn new(weights: impl Iterator<Item = Tensor>) -> Self {
        let mut memo = Memo::default();
        for weight in weights.filter(|weight| weight.bytes().len() > SMALL) {
            memo.lasting.insert(Identity::of(&weight));
            memo.weights.push(weight);
        }
        memo
    }

    /// Whether a tensor of these extents is small enough to be folded.
    pub(super) fn folds(&self, extents: &[usize]) -> bool {
        let within = |most| extents.iter().product::<usize>() <= most;
        fold::is_small(extents) && self.most.is_none_or(within)
    }

    /// The results of an operator on known inputs, computed if need be.
    pub(super) fn evaluate(
        &mut self,
        op: &dyn Operator,
        inputs: &[Option<&Tensor>],
        extents: &[Vec<usize>],
    ) -> Result<Vec<Tensor>> {
        let Some(question) = self.question(op, inputs, extents) else {
            return fold::evaluate(op, inputs, extents);
        };
        if let Some(results) = self.results.get(&question) {
            return Ok(results.clone());
        }
        let results = fold::evaluate(op, inputs, extents)?;
        for result in results.iter().filter(|result| result.bytes().len() > SMALL) {
            self.lasting.insert(Identity::of(result));
        }
        self.results.insert(question, results.clone());
        Ok(results)
    }

    /// `None` if no input is a weight, or one is neither weight nor small.
    fn question(
        &self,
        op: &dyn Operator,
        inputs: &[Option<&Tensor>],
        extents: &[Vec<usize>],
    ) -> Option<Question> {
        let mut any = false;
        let mut which = Vec::with_capacity(inputs.len());
        for input in inputs {
            which.push(match input {
                None => Which::Absent,
                Some(tensor) if tensor.bytes().len() <= SMALL => {
                    Which::Small(tensor.dtype(), tensor.extents().to_vec(), tensor.bytes().to_vec())
                }
                Some(tensor) => {
                    let identity = Identity::of(tensor);
                    if !self.lasting.contains(&identity) {
                        return None;
                    }
                    any = true;
                    Which::Large(identity)
                }
            });
        }
        let (op, extents) = (format!("{op:?}"), extents.to_vec());
        any.then_some(Question { op, inputs: which, extents })
    }
}
