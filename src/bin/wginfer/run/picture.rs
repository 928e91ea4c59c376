//! Pictures as tensors.

use image::imageops::{FilterType, crop_imm, overlay, resize};
use image::{ImageReader, RgbImage};
use std::path::Path;
use wginfer::{DType, Error, Tensor};

/// How a picture is fitted into a size of another shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Resize {
    Stretch,
    Crop,
    Pad,
}

/// Order of a picture's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Layout {
    Nchw,
    Nhwc,
}

/// How pictures become tensors.
#[derive(Debug, Clone)]
pub(crate) struct PictureOptions {
    pub(crate) size: Option<(u32, u32)>,
    pub(crate) resize: Resize,
    pub(crate) layout: Option<Layout>,
    pub(crate) bgr: bool,
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
}

/// What a model's input asks of a picture: its dtype, and its extents where
/// they are numbers.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<Option<usize>>,
}

/// Whether a file is named like a picture.
pub(crate) fn is_picture(path: &Path) -> bool {
    const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// No picture has more pixels.
const MOST_PIXELS: u64 = 1 << 28;

/// Reads a picture as a tensor of four dimensions, or of three where the model's input
/// has no batch.
pub(crate) fn read(
    path: &Path,
    options: &PictureOptions,
    wanted: &Wanted,
) -> Result<Tensor, Error> {
    let picture = open(path)?;
    let mut dims = wanted.dims.clone();
    let alone = dims.len() == 3;
    if alone {
        dims.insert(0, Some(1));
    }
    let layout = options.layout.unwrap_or_else(|| fitting_layout(&dims));
    let fixed = |axis: usize| dims.get(axis).copied().flatten();
    let (channels, height, width) = match layout {
        Layout::Nchw => (fixed(1), fixed(2), fixed(3)),
        Layout::Nhwc => (fixed(3), fixed(1), fixed(2)),
    };
    let (own_width, own_height) = picture.dimensions();
    let size = options.size.unwrap_or((
        width.and_then(|n| n.try_into().ok()).unwrap_or(own_width),
        height.and_then(|n| n.try_into().ok()).unwrap_or(own_height),
    ));
    let pixels = u64::from(size.0) * u64::from(size.1);
    if pixels > MOST_PIXELS {
        let got = format!("{}x{}", size.0, size.1);
        return Err(wrong(path, &format!("at most {MOST_PIXELS} pixels"), got));
    }
    let channels = channels.unwrap_or(3);
    if channels != 1 && channels != 3 {
        return Err(wrong(path, "an input of 1 or 3 channels", format!("{channels} channels")));
    }
    normalisable(path, options, channels)?;
    let picture = fit(&picture, size, options.resize);
    let planes = planes(&picture, channels, options.bgr);
    let (w, h) = (size.0 as usize, size.1 as usize);
    let (extents, order) = match layout {
        Layout::Nchw => ([1, channels, h, w], planes),
        Layout::Nhwc => ([1, h, w, channels], interleaved(&planes, channels)),
    };
    let channel = |i: usize| match layout {
        Layout::Nchw => i / (w * h),
        Layout::Nhwc => i % channels,
    };
    tensor(path, options, wanted.dtype, &extents[usize::from(alone)..], &order, channel)
}

/// Whether mean and deviation have one number, or one for each channel.
fn normalisable(path: &Path, options: &PictureOptions, channels: usize) -> Result<(), Error> {
    for (name, list) in [("--mean", &options.mean), ("--std", &options.std)] {
        if list.len() != 1 && list.len() != channels {
            let expected = format!("{name} with 1 number or {channels}, one for each channel");
            return Err(wrong(path, &expected, format!("{list:?}")));
        }
        let usable = |&v: &f32| v.is_finite() && (name == "--mean" || v != 0.0);
        if !list.iter().all(usable) {
            let expected = format!("{name} of finite numbers that can be divided by");
            return Err(wrong(path, &expected, format!("{list:?}")));
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<RgbImage, Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let reader = ImageReader::open(path).map_err(io)?.with_guessed_format().map_err(io)?;
    let picture = reader.decode().map_err(|error| Error::Format {
        file: path.display().to_string(),
        at: "the picture".into(),
        what: error.to_string(),
    })?;
    Ok(picture.into_rgb8())
}

/// The channels come second unless they can only come last.
fn fitting_layout(dims: &[Option<usize>]) -> Layout {
    let channels = |axis: usize| matches!(dims.get(axis), Some(Some(1 | 3)));
    if !channels(1) && channels(3) { Layout::Nhwc } else { Layout::Nchw }
}

fn fit(picture: &RgbImage, (width, height): (u32, u32), how: Resize) -> RgbImage {
    let (own_width, own_height) = picture.dimensions();
    if (own_width, own_height) == (width, height) {
        return picture.clone();
    }
    let scales =
        (f64::from(width) / f64::from(own_width), f64::from(height) / f64::from(own_height));
    let scaled = |scale: f64| {
        let size = |own: u32| ((f64::from(own) * scale).round() as u32).max(1);
        (size(own_width), size(own_height))
    };
    match how {
        Resize::Stretch => resize(picture, width, height, FilterType::Triangle),
        Resize::Crop => {
            let (w, h) = scaled(scales.0.max(scales.1));
            let (w, h) = (w.max(width), h.max(height));
            let large = resize(picture, w, h, FilterType::Triangle);
            crop_imm(&large, (w - width) / 2, (h - height) / 2, width, height).to_image()
        }
        Resize::Pad => {
            let (w, h) = scaled(scales.0.min(scales.1));
            let small = resize(picture, w.min(width), h.min(height), FilterType::Triangle);
            let mut padded = RgbImage::new(width, height);
            overlay(&mut padded, &small, 0, 0);
            padded
        }
    }
}

/// The channels one after another. A single one is the luma of BT.601.
fn planes(picture: &RgbImage, channels: usize, bgr: bool) -> Vec<u8> {
    let pixels = picture.pixels();
    if channels == 1 {
        let luma = |[r, g, b]: [u8; 3]| {
            (0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)).round() as u8
        };
        return pixels.map(|pixel| luma(pixel.0)).collect();
    }
    let order = if bgr { [2, 1, 0] } else { [0, 1, 2] };
    order.iter().flat_map(|&c| picture.pixels().map(move |pixel| pixel.0[c])).collect()
}

fn interleaved(planes: &[u8], channels: usize) -> Vec<u8> {
    let area = planes.len() / channels;
    (0..planes.len()).map(|i| planes[i % channels * area + i / channels]).collect()
}

fn tensor(
    path: &Path,
    options: &PictureOptions,
    dtype: DType,
    extents: &[usize],
    values: &[u8],
    channel: impl Fn(usize) -> usize,
) -> Result<Tensor, Error> {
    if dtype == DType::U8 {
        return Tensor::new(dtype, extents, values.to_vec());
    }
    let of = |list: &[f32], c: usize| list.get(c).or(list.first()).copied().unwrap_or(0.0);
    let value = |(i, &v): (usize, &u8)| {
        let c = channel(i);
        (f32::from(v) / 255.0 - of(&options.mean, c)) / of(&options.std, c)
    };
    let real: Vec<f32> = values.iter().enumerate().map(value).collect();
    match dtype {
        DType::F32 => Tensor::from_f32(extents, &real),
        DType::F16 => {
            let half = real.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes());
            Tensor::new(dtype, extents, half.collect::<Vec<u8>>())
        }
        other => Err(wrong(path, "an input of type F32, F16 or U8", other.to_string())),
    }
}

fn wrong(path: &Path, expected: &str, got: String) -> Error {
    Error::Input { name: format!("picture {}", path.display()), expected: expected.into(), got }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> RgbImage {
        RgbImage::from_fn(4, 2, |x, y| image::Rgb([x as u8 * 10, y as u8 * 100, 7]))
    }

    fn options() -> PictureOptions {
        PictureOptions {
            size: None,
            resize: Resize::Stretch,
            layout: None,
            bgr: false,
            mean: vec![0.5],
            std: vec![0.5, 0.25, 1.0],
        }
    }

    fn read_saved(options: &PictureOptions, dtype: DType, dims: &[Option<usize>]) -> Tensor {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        picture().save(&path).unwrap();
        read(&path, options, &Wanted { dtype, dims: dims.to_vec() }).unwrap()
    }

    #[test]
    fn channels_come_first_and_are_normalised() {
        let dims = [None, Some(3), None, None];
        let tensor = read_saved(&options(), DType::F32, &dims);
        assert_eq!(tensor.extents(), [1, 3, 2, 4]);
        let values = tensor.to_f32().unwrap();
        let of = |v: f32, std: f32| (v / 255.0 - 0.5) / std;
        assert_eq!(values[1], of(10.0, 0.5));
        assert_eq!(values[8 + 4], of(100.0, 0.25));
        assert_eq!(values[16], of(7.0, 1.0));
    }

    #[test]
    fn bytes_stay_bytes_and_channels_may_come_last() {
        let bgr = PictureOptions { bgr: true, ..options() };
        let tensor = read_saved(&bgr, DType::U8, &[Some(1), None, None, Some(3)]);
        assert_eq!(tensor.extents(), [1, 2, 4, 3]);
        let bytes: &[u8] = tensor.bytes();
        assert_eq!(bytes[3..6], [7, 0, 10]);
    }

    #[test]
    fn inputs_without_a_batch_have_three_dimensions() {
        let tensor = read_saved(&options(), DType::F32, &[Some(3), None, None]);
        assert_eq!(tensor.extents(), [3, 2, 4]);
        let tensor = read_saved(&options(), DType::U8, &[Some(2), Some(4), Some(3)]);
        assert_eq!(tensor.extents(), [2, 4, 3]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |options: PictureOptions, expected: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("p.png");
            picture().save(&path).unwrap();
            let wanted = Wanted { dtype: DType::F32, dims: vec![None, Some(3), None, None] };
            let error = read(&path, &options, &wanted).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        refused(PictureOptions { size: Some((100_000, 100_000)), ..options() }, "pixels");
        refused(PictureOptions { mean: vec![0.1, 0.2], ..options() }, "one for each channel");
        refused(PictureOptions { std: vec![0.0], ..options() }, "divided by");
    }

    #[test]
    fn other_shapes_are_cropped_or_padded() {
        let square = |how| fit(&picture(), (2, 2), how);
        // The middle two columns.
        assert_eq!(square(Resize::Crop).get_pixel(0, 0).0, [10, 0, 7]);
        assert_eq!(square(Resize::Pad).get_pixel(0, 1).0, [0, 0, 0]);
        assert_eq!(square(Resize::Stretch).dimensions(), (2, 2));
    }
}
