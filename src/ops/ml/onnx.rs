//! The rows of the family, and how they read attributes.

use super::{features, linear, svm, tree};
use crate::error::Result;
use crate::onnx::{NodeCx, OnnxOperator};
use crate::ops::{RefData, RefTensor};

const fn ml(
    name: &'static str,
    since: u32,
    import: fn(&mut NodeCx<'_>) -> Result<()>,
) -> OnnxOperator {
    OnnxOperator { domain: "ai.onnx.ml", name, since, import }
}

pub(crate) const ONNX: &[OnnxOperator] = &[
    ml("ArrayFeatureExtractor", 1, features::array_feature_extractor),
    ml("Binarizer", 1, features::binarizer),
    ml("FeatureVectorizer", 1, features::feature_vectorizer),
    ml("Imputer", 1, features::imputer),
    ml("LinearClassifier", 1, linear::classifier),
    ml("LinearRegressor", 1, linear::regressor),
    ml("Normalizer", 1, features::normalizer),
    ml("SVMRegressor", 1, svm::regressor),
    ml("Scaler", 1, features::scaler),
    ml("TreeEnsemble", 5, tree::ensemble),
    ml("TreeEnsembleClassifier", 1, tree::classifier),
    ml("TreeEnsembleRegressor", 1, tree::regressor),
];

/// Real numbers of an attribute that is FLOATS, or a tensor under the name with
/// `_as_tensor` behind it; none without either.
pub(super) fn reals(cx: &NodeCx<'_>, name: &str) -> Result<Vec<f64>> {
    if let Some(tensor) = cx.attributes().tensor(&format!("{name}_as_tensor"))? {
        return numbers(RefTensor::from_tensor(tensor)?.data);
    }
    let values = cx.attributes().floats(name)?.unwrap_or_default();
    Ok(values.iter().map(|&value| value.into()).collect())
}

/// Whole numbers that are no places beyond memory.
pub(super) fn places(cx: &NodeCx<'_>, name: &str) -> Result<Vec<usize>> {
    let values = cx.attributes().ints(name)?.unwrap_or_default();
    let values = values.iter().map(|&value| usize::try_from(value)).collect::<Vec<_>>();
    let values = values.into_iter().collect::<std::result::Result<Vec<_>, _>>();
    values.map_err(|_| cx.broken(format!("attribute '{name}' has negative numbers")))
}

/// The numbers of an attribute that is a tensor; none without it.
pub(super) fn tensor(cx: &NodeCx<'_>, name: &str) -> Result<Vec<f64>> {
    match cx.attributes().tensor(name)? {
        Some(tensor) => numbers(RefTensor::from_tensor(tensor)?.data),
        None => Ok(Vec::new()),
    }
}

fn numbers(data: RefData) -> Result<Vec<f64>> {
    Ok(match data {
        RefData::Real(values) => values,
        RefData::Int(values) => values.into_iter().map(|value| value as f64).collect(),
    })
}

/// The rows and columns of the first input: a vector is one row.
pub(super) fn rows(cx: &NodeCx<'_>) -> Result<(usize, usize)> {
    match *cx.extents(0)?.as_slice() {
        [columns] => Ok((1, columns)),
        [rows, columns] => Ok((rows, columns)),
        ref other => Err(cx.broken(format!("an input of extents {other:?}"))),
    }
}
