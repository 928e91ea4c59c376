//! Windows and Fourier transforms of signals: all of it is made of other
//! operators and of tables made while importing.

mod fourier;
mod windows;

use crate::onnx::{OnnxOperator, row};

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("BlackmanWindow", 17, windows::blackman),
    row("DFT", 17, fourier::dft_17),
    row("DFT", 20, fourier::dft),
    row("HammingWindow", 17, windows::hamming),
    row("HannWindow", 17, windows::hann),
    row("MelWeightMatrix", 17, windows::mel_weight_matrix),
    row("STFT", 17, fourier::stft),
];
