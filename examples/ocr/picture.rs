//! Pictures to tensors, and pieces of pictures.

use crate::detect::Quad;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use imageproc::geometric_transformations::{Border, Interpolation, Projection, warp_into};
use wginfer::{Result, Tensor};

/// Several pictures as one F32 tensor `[pictures, 3, height, width]`: blue first,
/// values from -1 to 1, zeros to the right of a picture that is narrower.
pub(crate) fn tensor(pictures: &[RgbImage], width: u32, height: u32) -> Result<Tensor> {
    let (w, h) = (width as usize, height as usize);
    let mut values = vec![0.0; pictures.len() * 3 * h * w];
    for (picture, out) in pictures.iter().zip(values.chunks_exact_mut(3 * h * w)) {
        for (x, y, Rgb(rgb)) in picture.enumerate_pixels() {
            for (channel, value) in rgb.iter().rev().enumerate() {
                out[(channel * h + y as usize) * w + x as usize] = f32::from(*value) / 127.5 - 1.0;
            }
        }
    }
    Tensor::from_f32(&[pictures.len(), 3, h, w], &values)
}

/// A picture in another size.
pub(crate) fn scaled(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    imageops::resize(picture, width, height, FilterType::Triangle)
}

/// A picture as high as a model wants it, in proportion but not too wide.
pub(crate) fn of_height(picture: &RgbImage, height: u32, widest: u32) -> RgbImage {
    let width = (f64::from(height) * ratio(picture)).ceil() as u32;
    scaled(picture, width.clamp(1, widest), height)
}

/// Width over height.
pub(crate) fn ratio(picture: &RgbImage) -> f64 {
    f64::from(picture.width()) / f64::from(picture.height())
}

/// What is within four corners, straightened. Lines that run upwards are laid down.
pub(crate) fn cut_out(page: &RgbImage, corners: &Quad) -> RgbImage {
    let side = |a: usize, b: usize| {
        let (dx, dy) = (corners[a].0 - corners[b].0, corners[a].1 - corners[b].1);
        dx.hypot(dy)
    };
    let width = side(0, 1).max(side(2, 3)).trunc().max(1.0);
    let height = side(0, 3).max(side(1, 2)).trunc().max(1.0);
    let straight = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
    let mut crop = RgbImage::new(width as u32, height as u32);
    // There is none for corners on one line, whose crop stays black.
    if let Some(projection) = Projection::from_control_points(*corners, straight) {
        warp_into(page, projection, Interpolation::Bicubic, Border::Replicate, &mut crop);
    }
    if height / width >= 1.5 { imageops::rotate270(&crop) } else { crop }
}
