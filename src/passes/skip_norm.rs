//! The residual with the normalisation after it.

use super::rewrite::Rewrite;
use crate::error::Result;
use crate::graph::Graph;
use crate::ops::elementwise::Binary;
use crate::ops::norm::{Normalization, SkipNormalization};

/// `Normalization(Add(x, skip))` to one node that gives both the normalised sum
/// and the sum, at the place of the addition.
pub(super) fn run(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for at in 0..rewrite.len() {
        fuse(&mut rewrite, at);
    }
    Ok(rewrite.finish())
}

fn fuse(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let (node, norm) = rewrite.op::<Normalization>(at)?;
    let (norm, normed, sum) = (*norm, *node.outputs.first()?, node.inputs[0]?);
    let vectors = node.inputs[1..].to_vec();
    let add = rewrite.producer(sum)?;
    let (node, op) = rewrite.op::<Binary>(add)?;
    let (x, skip) = (node.inputs[0]?, node.inputs[1]?);
    let alike = rewrite.ty(x) == rewrite.ty(skip);
    if *op != Binary::Add || !alike || !rewrite.known_at(&vectors, add) {
        return None;
    }
    let inputs = [Some(x), Some(skip)].into_iter().chain(vectors).collect();
    let op = SkipNormalization { norm };
    rewrite.fuse(add, &[at], op, inputs, vec![normed, sum]);
    Some(())
}
