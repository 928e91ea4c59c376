//! From a picture to lines of text: the three models in turn.

use crate::detect::{Detector, Quad};
use crate::picture;
use crate::recognise::{Recogniser, Turner};
use image::RgbImage;
use std::path::Path;
use wginfer::{Backend, Result};

/// Lines that are read with less certainty are dropped.
const CERTAIN: f32 = 0.5;

/// A line of text.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// The mean probability of its characters.
    pub(crate) score: f32,
    /// Its corners in the picture, clockwise from the upper left.
    pub(crate) corners: Quad,
}

/// The three models on a backend.
#[derive(Debug)]
pub(crate) struct Reader {
    detector: Detector,
    turner: Turner,
    recogniser: Recogniser,
}

impl Reader {
    /// Loads the models from the folder that `scripts/fetch_ocr_models.sh` prints.
    pub(crate) fn open(folder: &Path, backend: &Backend) -> Result<Self> {
        Ok(Reader {
            detector: Detector::open(&folder.join("PP-OCRv6_det_small.onnx"), backend)?,
            turner: Turner::open(&folder.join("ch_ppocr_mobile_v2.0_cls_mobile.onnx"), backend)?,
            recogniser: Recogniser::open(&folder.join("PP-OCRv6_rec_small.onnx"), backend)?,
        })
    }

    /// The lines of a picture, from top to bottom.
    pub(crate) fn read(&mut self, page: &RgbImage) -> Result<Vec<Line>> {
        let quads = self.detector.find(page)?;
        let mut crops: Vec<_> = quads.iter().map(|quad| picture::cut_out(page, quad)).collect();
        self.turner.turn(&mut crops)?;
        let texts = self.recogniser.read(&crops)?;
        let line = |(corners, (text, score))| Line { text, score, corners };
        let lines = quads.into_iter().zip(texts).map(line);
        Ok(lines.filter(|line| line.score >= CERTAIN).collect())
    }
}
