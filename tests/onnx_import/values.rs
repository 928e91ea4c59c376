//! Models with strings, sequences, optional values and operators of `ai.onnx.ml`
//! (`scripts/make_value_models.py`), compared with what ONNX Runtime makes of the
//! same inputs.

use super::support::backends::{self, Named};
use libtest_mimic::{Failed, Trial};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession, OnnxValue};
use wginfer::ops::{RefData, RefTensor};
use wginfer::{DType, Tensor};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx_values").join(name)
}

pub fn trials() -> Vec<Trial> {
    let text = std::fs::read_to_string(file("cases.json")).unwrap();
    let cases: Vec<Json> = serde_json::from_str(&text).unwrap();
    let mut models: Vec<(String, Vec<Json>)> = Vec::new();
    for case in cases {
        let name = case["model"].as_str().unwrap().to_string();
        match models.last_mut() {
            Some((last, cases)) if *last == name => cases.push(case),
            _ => models.push((name, vec![case])),
        }
    }
    let mut trials = Vec::new();
    let models: Vec<_> = models.into_iter().map(Arc::new).collect();
    for backend in backends::all() {
        for model in &models {
            let (backend, model) = (backend.clone(), model.clone());
            let title = format!("onnx_import::{}::values::{}", backend.name, model.0);
            trials.push(Trial::test(title, move || judge(&backend, &model.0, &model.1)));
        }
    }
    trials
}

/// All cases of a model in one session, twice.
fn judge(backend: &Named, name: &str, cases: &[Json]) -> Result<(), Failed> {
    let model = Model::from_bytes(name, std::fs::read(file(&format!("{name}.onnx")))?)?;
    let gpu_only = backend.is_gpu();
    let options = OnnxOptions { gpu_only, ..OnnxOptions::default() };
    let mut session = OnnxSession::new(model, &backend.backend, options)?;
    for case in cases.iter().chain(cases) {
        let given = case["inputs"].as_object().unwrap().iter();
        let given = given.map(|(name, json)| (name.clone(), value(json))).collect();
        let got = session.run_values_blocking(given)?;
        let wanted = case["outputs"].as_object().unwrap();
        assert_eq!(got.len(), wanted.len());
        for (name, got) in &got {
            let wanted = wanted.get(name).ok_or(format!("no output '{name}' is wanted"))?;
            alike(got, wanted).map_err(|what| format!("output '{name}': {what}"))?;
        }
    }
    let before = session.counters().stages;
    let given = cases[0]["inputs"].as_object().unwrap().iter();
    let given = given.map(|(name, json)| (name.clone(), value(json))).collect();
    session.run_values_blocking(given)?;
    assert_eq!(session.counters().stages, before, "what was seen before is imported again");
    Ok(())
}

fn value(json: &Json) -> OnnxValue {
    if json.is_null() {
        return OnnxValue::Nothing;
    }
    match json["items"].as_array() {
        Some(items) => OnnxValue::Sequence(items.iter().map(value).collect()),
        None => OnnxValue::Tensor(tensor(json)),
    }
}

fn tensor(json: &Json) -> Tensor {
    let extents = json["extents"].as_array().unwrap().iter();
    let extents: Vec<usize> = extents.map(|n| n.as_u64().unwrap() as usize).collect();
    let values = json["values"].as_array().unwrap();
    let name = json["dtype"].as_str().unwrap();
    if name == "STRING" {
        let words: Vec<&str> = values.iter().map(|word| word.as_str().unwrap()).collect();
        return Tensor::from_strings(&extents, &words).unwrap();
    }
    let dtype = DType::ALL.into_iter().find(|dtype| dtype.name() == name).unwrap();
    let data = if dtype.is_float() {
        let named = |value: &Json| value.as_str().unwrap().parse().unwrap();
        let real = |value: &Json| value.as_f64().unwrap_or_else(|| named(value));
        RefData::Real(values.iter().map(real).collect())
    } else {
        let whole = |value: &Json| value.as_i64().or(value.as_bool().map(i64::from)).unwrap();
        RefData::Int(values.iter().map(whole).collect())
    };
    RefTensor { dtype, extents, data }.to_tensor().unwrap()
}

fn alike(got: &OnnxValue, wanted: &Json) -> Result<(), String> {
    match got {
        OnnxValue::Nothing if wanted.is_null() => Ok(()),
        OnnxValue::Tensor(got) if wanted["extents"].is_array() => near(got, &tensor(wanted)),
        OnnxValue::Sequence(got) => {
            let wanted = wanted["items"].as_array().ok_or("a sequence")?;
            if got.len() != wanted.len() {
                return Err(format!("{} elements, not {}", got.len(), wanted.len()));
            }
            got.iter().zip(wanted).try_for_each(|(got, wanted)| alike(got, wanted))
        }
        OnnxValue::Map { keys, values } => {
            let wanted_keys = wanted["keys"].as_array().ok_or("a map")?;
            let shown: Vec<Json> = match keys.dtype() {
                DType::String => keys.to_strings().unwrap().into_iter().map(Json::from).collect(),
                _ => keys.to_i64().unwrap().into_iter().map(Json::from).collect(),
            };
            if shown != *wanted_keys {
                return Err(format!("keys {shown:?}, not {wanted_keys:?}"));
            }
            near(values, &tensor(&wanted["values"]))
        }
        other => Err(format!("{other:?}, not {wanted}")),
    }
}

fn near(got: &Tensor, wanted: &Tensor) -> Result<(), String> {
    let kind = |t: &Tensor| (t.dtype(), t.extents().to_vec());
    if kind(got) != kind(wanted) {
        return Err(format!("{:?}, not {:?}", kind(got), kind(wanted)));
    }
    if got.dtype() == DType::String {
        let (got, wanted) = (got.to_strings().unwrap(), wanted.to_strings().unwrap());
        return if got == wanted { Ok(()) } else { Err(format!("{got:?}, not {wanted:?}")) };
    }
    let data = |t: &Tensor| RefTensor::from_tensor(t).map(|t| t.data).map_err(|e| e.to_string());
    match (data(got)?, data(wanted)?) {
        (RefData::Int(got), RefData::Int(wanted)) if got == wanted => Ok(()),
        (RefData::Real(got), RefData::Real(wanted)) => {
            let off = got.iter().zip(&wanted).find(|(g, w)| {
                let near = (*g - *w).abs() <= 2e-5 * w.abs().max(1.0);
                !(near || g == w || (g.is_nan() && w.is_nan()))
            });
            off.map_or(Ok(()), |(g, w)| Err(format!("{g}, not {w}")))
        }
        (got, wanted) => Err(format!("{got:?}, not {wanted:?}")),
    }
}
