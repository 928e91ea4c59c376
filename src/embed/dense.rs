//! A matrix that a text's vector goes through behind pooling.

/// A matrix without bias, `[outputs, inputs]` in rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dense {
    values: Vec<f32>,
    inputs: usize,
}

impl Dense {
    /// From rows of `inputs` elements, of which there is at least one.
    pub(crate) fn new(values: Vec<f32>, inputs: usize) -> Self {
        Dense { values, inputs: inputs.max(1) }
    }

    /// The elements of what it gives.
    pub(crate) fn outputs(&self) -> usize {
        self.values.len() / self.inputs
    }

    /// The product with a vector of as many elements as there are inputs, in f64.
    pub(crate) fn apply(&self, vector: &[f64]) -> Vec<f64> {
        let dot = |row: &[f32]| row.iter().zip(vector).map(|(&a, b)| f64::from(a) * b).sum();
        self.values.chunks_exact(self.inputs).map(dot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_outputs() {
        let dense = Dense::new(vec![1.0, 2.0, 0.0, -1.0, 0.5, 0.5], 2);
        assert_eq!(dense.outputs(), 3);
        assert_eq!(dense.apply(&[3.0, 5.0]), [13.0, -5.0, 4.0]);
    }
}
