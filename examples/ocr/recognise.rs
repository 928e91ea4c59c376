//! What lines say, and which of them stand on their head.

use crate::picture;
use image::{RgbImage, imageops};
use std::path::Path;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, Error, Result, Tensor};

/// Lines read at a time.
const BATCH: usize = 6;
/// The height in which both models see a line.
const HEIGHT: u32 = 48;

/// A model with one input and one output.
fn run(session: &mut OnnxSession, input: &Tensor) -> Result<Tensor> {
    let name = session.model().inputs()[0].name.clone();
    Ok(session.run_blocking(&[(&name, input)])?.remove(0).1)
}

/// The model that finds lines that stand on their head.
#[derive(Debug)]
pub(crate) struct Turner {
    session: OnnxSession,
}

impl Turner {
    const WIDTH: u32 = 192;
    /// A line is turned if the model is as certain as this.
    const CERTAIN: f32 = 0.9;

    pub(crate) fn open(path: &Path, backend: &Backend) -> Result<Self> {
        let session = OnnxSession::new(Model::open(path)?, backend, OnnxOptions::default())?;
        Ok(Turner { session })
    }

    /// Turns the lines that stand on their head.
    pub(crate) fn turn(&mut self, lines: &mut [RgbImage]) -> Result<()> {
        for batch in lines.chunks_mut(BATCH) {
            let scaled: Vec<_> =
                batch.iter().map(|line| picture::of_height(line, HEIGHT, Self::WIDTH)).collect();
            let input = picture::tensor(&scaled, Self::WIDTH, HEIGHT)?;
            let scores = run(&mut self.session, &input)?.to_f32()?;
            for (line, score) in batch.iter_mut().zip(scores.chunks_exact(2)) {
                if score[1] > score[0] && score[1] > Self::CERTAIN {
                    imageops::rotate180_in_place(line);
                }
            }
        }
        Ok(())
    }
}

/// The model that reads lines.
#[derive(Debug)]
pub(crate) struct Recogniser {
    session: OnnxSession,
    /// What its classes stand for; the first one is for nothing.
    characters: Vec<String>,
}

impl Recogniser {
    /// The width over height that every batch has at least.
    const RATIO: f64 = 320.0 / 48.0;

    pub(crate) fn open(path: &Path, backend: &Backend) -> Result<Self> {
        let model = Model::open(path)?;
        let list = model.file().metadata.iter().find(|(key, _)| key == "character");
        let (_, list) = list.ok_or_else(|| Error::Format {
            file: model.name().into(),
            at: "metadata".into(),
            what: "no list of characters".into(),
        })?;
        let mut characters = vec![String::new()];
        characters.extend(list.lines().map(String::from));
        characters.push(" ".into());
        let session = OnnxSession::new(model, backend, OnnxOptions::default())?;
        Ok(Recogniser { session, characters })
    }

    /// The text of each line, and the mean probability of its characters. Lines
    /// of like width are read together, as wide as the widest.
    pub(crate) fn read(&mut self, lines: &[RgbImage]) -> Result<Vec<(String, f32)>> {
        let mut order: Vec<usize> = (0..lines.len()).collect();
        order.sort_by(|&a, &b| picture::ratio(&lines[a]).total_cmp(&picture::ratio(&lines[b])));
        let mut texts = vec![(String::new(), 0.0); lines.len()];
        for batch in order.chunks(BATCH) {
            let ratios = batch.iter().map(|&index| picture::ratio(&lines[index]));
            let widest = (f64::from(HEIGHT) * ratios.fold(Self::RATIO, f64::max)) as u32;
            let scaled: Vec<_> = batch
                .iter()
                .map(|&index| picture::of_height(&lines[index], HEIGHT, widest))
                .collect();
            let input = picture::tensor(&scaled, widest, HEIGHT)?;
            let scores = run(&mut self.session, &input)?;
            let (&classes, values) = (scores.extents().last().unwrap_or(&1), scores.to_f32()?);
            let each = values.len() / batch.len();
            for (&index, values) in batch.iter().zip(values.chunks_exact(each)) {
                texts[index] = self.decoded(values, classes);
            }
        }
        Ok(texts)
    }

    /// The likeliest class of each column, repetitions and nothings left out
    /// (connectionist temporal classification, Graves et al. 2006).
    fn decoded(&self, values: &[f32], classes: usize) -> (String, f32) {
        let (mut text, mut sum, mut count, mut before) = (String::new(), 0.0, 0u16, 0);
        for column in values.chunks_exact(classes) {
            let scores = column.iter().copied().enumerate();
            let likelier = |a: (usize, f32), b: (usize, f32)| if b.1 > a.1 { b } else { a };
            let (class, score) = scores.reduce(likelier).unwrap_or((0, 0.0));
            if class != 0 && class != before {
                text.push_str(self.characters.get(class).map_or("", String::as_str));
                sum += score;
                count += 1;
            }
            before = class;
        }
        (text, sum / f32::from(count.max(1)))
    }
}
