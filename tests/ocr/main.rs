//! Real models with real weights: text detection, direction and recognition on
//! every backend, compared with what ONNX Runtime makes of the same pictures, and
//! the whole of `examples/ocr` on a scanned page (`tests/data/ocr`).
//!
//! The models are in the user's cache; `scripts/fetch_ocr_models.sh` puts them
//! there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test program: what is wrong should stop it"
)]

#[path = "../../examples/ocr/detect.rs"]
mod detect;
#[path = "../../examples/ocr/picture.rs"]
mod picture;
#[path = "../../examples/ocr/reader.rs"]
mod reader;
#[path = "../../examples/ocr/recognise.rs"]
mod recognise;
#[path = "../support/mod.rs"]
mod support;

use image::RgbImage;
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use support::backends::{self, Named};
use support::spared;
use wginfer::Backend;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};

/// The largest distance from ONNX Runtime's result, relative to its length.
const LARGEST: f64 = 1e-4;
/// How much worse than the Python package a page may be read: a point.
const MARGIN: f64 = 0.01;

/// A model and what it makes of a part of the page.
#[derive(Debug, Clone, Deserialize)]
struct Case {
    model: String,
    /// Left, top, width, height.
    #[serde(rename = "box")]
    part: [u32; 4],
    extents: Vec<usize>,
    values: Vec<f32>,
    /// Of each row of the last dimension the values' places; all where absent.
    places: Option<Vec<usize>>,
}

fn main() {
    let arguments = Arguments::from_args();
    let text = std::fs::read_to_string(data("models.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    let mut trials = Vec::new();
    for backend in backends::all() {
        for case in &cases {
            let (backend, case) = (backend.clone(), case.clone());
            let title = format!("ocr::{}::{}", backend.name, case.model);
            trials.push(Trial::test(title, move || compared(&backend, &case)));
        }
        if !backend.is_slow() || std::env::var_os("WGINFER_TEST_ALL").is_some() {
            trials
                .push(Trial::test(format!("ocr::{}::page", backend.name), move || page(&backend)));
        }
    }
    backends::conclude(&arguments, trials);
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ocr").join(name)
}

/// The folder of models and page.
fn folder() -> Result<PathBuf, Failed> {
    let folder = support::cache::dir().ok_or("no cache directory")?.join("models/ocr");
    if folder.join("page.png").exists() {
        return Ok(folder);
    }
    Err(format!("{} is missing; run scripts/fetch_ocr_models.sh", folder.display()).into())
}

fn scan() -> Result<RgbImage, Failed> {
    Ok(image::open(folder()?.join("page.png"))?.into_rgb8())
}

fn compared(backend: &Named, case: &Case) -> Result<(), Failed> {
    let model = Model::open(folder()?.join(format!("{}.onnx", case.model)))?;
    let [left, top, width, height] = case.part;
    let part = image::imageops::crop_imm(&scan()?, left, top, width, height).to_image();
    let input = picture::tensor(&[part], width, height)?;
    let options = OnnxOptions { gpu_only: backend.is_gpu(), ..OnnxOptions::default() };
    let name = model.inputs()[0].name.clone();
    if let Backend::Gpu(gpu) = &backend.backend {
        let spared = spared::run(&case.model, &model, gpu, &[(&name, &input)])?;
        spared::conclude(&spared.over)?;
    }
    let mut options = options;
    options.session.poison = true;
    let mut session = OnnxSession::new(model, &backend.backend, options)?;
    let output = session.run_blocking(&[(&name, &input)])?.remove(0).1;
    assert_eq!(output.extents(), case.extents);
    let all = output.to_f32()?;
    let got: Vec<f32> = match &case.places {
        None => all,
        Some(places) => {
            let row = *case.extents.last().unwrap();
            let kept = places.len() / (all.len() / row);
            places.iter().enumerate().map(|(i, &place)| all[i / kept * row + place]).collect()
        }
    };
    assert_eq!(got.len(), case.values.len());
    let distance = distance(&got, &case.values);
    if distance.is_nan() || distance > LARGEST {
        return Err(format!("{distance:e} from ONNX Runtime's").into());
    }
    Ok(())
}

/// The length of the difference relative to that of what is wanted.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = got.iter().zip(want).map(|(&g, &w)| f64::from(g) - f64::from(w));
    length(&mut { pairs }) / length(&mut want.iter().map(|&w| f64::from(w)))
}

/// The share of characters that are wrong.
fn error_rate(read: &str, truth: &str) -> f64 {
    strsim::levenshtein(read, truth) as f64 / truth.chars().count() as f64
}

fn page(backend: &Named) -> Result<(), Failed> {
    let mut reader = reader::Reader::open(&folder()?, &backend.backend)?;
    let lines = reader.read(&scan()?)?;
    let own: String = lines.iter().map(|line| format!("{}\n", line.text)).collect();
    let truth = std::fs::read_to_string(data("page.txt"))?;
    let theirs = std::fs::read_to_string(data("page.rapidocr.txt"))?;
    let rates = [error_rate(&own, &truth), error_rate(&theirs, &truth)];
    println!(
        "wrong characters: {:.2}%, of the Python package {:.2}%; {:.2}% apart\n{own}",
        100.0 * rates[0],
        100.0 * rates[1],
        100.0 * error_rate(&own, &theirs)
    );
    if rates[0] > rates[1] + MARGIN {
        return Err(format!("{rates:?} of characters are wrong in\n{own}").into());
    }
    Ok(())
}
