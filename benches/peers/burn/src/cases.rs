//! The cases of `benches/kernels` in burn's words, each with the value that an element
//! of its result should have, as an f64 sum over the operands.

use burn::tensor::module::{attention, conv2d, layer_norm};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::quantization::{QuantScheme, QuantStore, QuantValue, ScaleDtype};
use burn::tensor::{Device, Tensor, TensorData, activation};
use std::rc::Rc;

/// A result that stays on the device.
pub enum Kept {
    Two(Tensor<2>),
    Four(Tensor<4>),
}

impl Kept {
    pub fn values(self) -> Vec<f32> {
        let data = match self {
            Kept::Two(tensor) => tensor.into_data(),
            Kept::Four(tensor) => tensor.into_data(),
        };
        data.try_to_vec().expect("f32")
    }
}

pub struct Case {
    pub run: Box<dyn Fn() -> Kept>,
    pub expected: Box<dyn Fn(usize) -> f64>,
}

/// Numbers in [-1, 1), the same in each process (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A tensor on the device and its values here.
fn floats<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> (Tensor<D>, Rc<[f32]>) {
    let mut numbers = Numbers(seed);
    let values: Rc<[f32]> = (0..shape.iter().product()).map(|_| numbers.next()).collect();
    (Tensor::from_data(TensorData::new(values.to_vec(), shape), device), values)
}

pub fn case(name: &str, device: &Device) -> Option<Case> {
    Some(match name {
        "matmul_F32/256" => matmul(256, 256, 256, device),
        "matmul_F32/512" => matmul(512, 512, 512, device),
        "matmul_F32/1024" => matmul(1024, 1024, 1024, device),
        "prefill_F32/128x576x1536" => matmul(128, 576, 1536, device),
        "matvec_F32/576x1536" => matmul(1, 576, 1536, device),
        "matvec_F32/1536x576" => matmul(1, 1536, 576, device),
        "matvec_Q4_0/576x1536" => four_bits(1, 576, 1536, device),
        "prefill_Q4_0/128x1536x576" => four_bits(128, 1536, 576, device),
        "conv_7x7/3x224x224x64" => conv([3, 224, 64], [7, 2, 1], device),
        "conv_3x3/64x56x56x64" => conv([64, 56, 64], [3, 1, 1], device),
        "conv_1x1/256x14x14x1024" => conv([256, 14, 1024], [1, 1, 1], device),
        "conv_depthwise/32x112x112" => conv([32, 112, 32], [3, 1, 32], device),
        "attention/9x256x64" => heads([9, 256, 64], false, device),
        "attention_causal/9x256x64" => heads([9, 256, 64], true, device),
        "softmax/512x1024" => softmax([512, 1024], device),
        "softmax/4096x4096" => softmax([4096, 4096], device),
        "layer_normalization/512x1024" => layer([512, 1024], device),
        "layer_normalization/4096x4096" => layer([4096, 4096], device),
        "add/4M" => add(4, device),
        "gelu/4M" => gelu(device),
        _ => return on_gpu(name.strip_prefix("gpu/")?, device),
    })
}

/// What `make bench-gpu` asks for, in the sizes that the name has.
fn on_gpu(name: &str, device: &Device) -> Option<Case> {
    let (work, sizes) = name.split_once('/')?;
    let sizes: Vec<usize> = sizes
        .trim_end_matches('M')
        .split('x')
        .map(str::parse::<usize>)
        .collect::<Result<_, _>>()
        .ok()?;
    Some(match (work, &sizes[..]) {
        ("matmul_F32", &[n]) => matmul(n, n, n, device),
        ("matvec_F32", &[k, n]) => matmul(1, k, n, device),
        ("attention_causal_F32", &[count, len, size]) => heads([count, len, size], true, device),
        ("softmax", &[rows, len]) => softmax([rows, len], device),
        ("layer_normalization", &[rows, len]) => layer([rows, len], device),
        ("add", &[millions]) => add(millions, device),
        _ => return None,
    })
}

fn dot(count: usize, product: impl Fn(usize) -> f64) -> f64 {
    (0..count).map(product).sum()
}

fn matmul(m: usize, k: usize, n: usize, device: &Device) -> Case {
    let ((a, x), (b, w)) = (floats(1, [m, k], device), floats(2, [k, n], device));
    let run = Box::new(move || Kept::Two(a.clone().matmul(b.clone())));
    let at = move |i: usize| {
        let (row, column) = (i / n, i % n);
        dot(k, |j| f64::from(x[row * k + j]) * f64::from(w[j * n + column]))
    };
    Case { run, expected: Box::new(at) }
}

/// A weight `[n, k]` in 4 bits with a scale for 32 along K. What is expected is the
/// product with what burn decodes it to.
fn four_bits(m: usize, k: usize, n: usize, device: &Device) -> Case {
    let ((a, x), (b, _)) = (floats(1, [m, k], device), floats(2, [n, k], device));
    let scheme = QuantScheme::default()
        .with_value(QuantValue::Q4S)
        .with_store(QuantStore::PackedU32(0))
        .per_block([32], ScaleDtype::F32);
    let packed = b.quantize_dynamic(&scheme);
    let w: Vec<f32> = packed.clone().dequantize().into_data().try_to_vec().expect("f32");
    let run = Box::new(move || Kept::Two(a.clone().matmul(packed.clone().transpose())));
    let at = move |i: usize| {
        let (row, column) = (i / n, i % n);
        dot(k, |j| f64::from(x[row * k + j]) * f64::from(w[column * k + j]))
    };
    Case { run, expected: Box::new(at) }
}

fn conv([c, size, m]: [usize; 3], [kernel, stride, group]: [usize; 3], device: &Device) -> Case {
    let (a, x) = floats(1, [1, c, size, size], device);
    let (b, w) = floats(2, [m, c / group, kernel, kernel], device);
    let pad = kernel / 2;
    let run = Box::new(move || {
        let options = ConvOptions::new([stride; 2], [pad; 2], [1; 2], group);
        Kept::Four(conv2d(a.clone(), b.clone(), None, options))
    });
    let out = (size + 2 * pad - kernel) / stride + 1;
    let (each, taps) = (c / group, kernel * kernel);
    let at = move |i: usize| {
        let (channel, y, column) = (i / (out * out), i / out % out, i % out);
        let first = channel / (m / group) * each;
        dot(each * taps, |j| {
            let (input, ky, kx) = (j / taps, j / kernel % kernel, j % kernel);
            let (iy, ix) = (y * stride + ky, column * stride + kx);
            let inside = (pad..size + pad).contains(&iy) && (pad..size + pad).contains(&ix);
            if !inside {
                return 0.0;
            }
            let element = ((first + input) * size + iy - pad) * size + ix - pad;
            f64::from(x[element]) * f64::from(w[channel * each * taps + j])
        })
    };
    Case { run, expected: Box::new(at) }
}

fn heads([heads, len, size]: [usize; 3], causal: bool, device: &Device) -> Case {
    let shape = [1, heads, len, size];
    let (a, q) = floats(1, shape, device);
    let (b, k) = floats(2, shape, device);
    let (c, v) = floats(3, shape, device);
    let run = Box::new(move || {
        let options = AttentionModuleOptions { is_causal: causal, ..Default::default() };
        Kept::Four(attention(a.clone(), b.clone(), c.clone(), None, None, options))
    });
    let at = move |i: usize| {
        let (head, query, column) = (i / size / len, i / size % len, i % size);
        let row = |x: &[f32], n: usize, j: usize| f64::from(x[(head * len + n) * size + j]);
        let keys = if causal { query + 1 } else { len };
        let weight =
            |key| (dot(size, |j| row(&q, query, j) * row(&k, key, j)) / (size as f64).sqrt()).exp();
        let weights: Vec<f64> = (0..keys).map(weight).collect();
        dot(keys, |key| weights[key] * row(&v, key, column)) / weights.iter().sum::<f64>()
    };
    Case { run, expected: Box::new(at) }
}

fn softmax([rows, len]: [usize; 2], device: &Device) -> Case {
    let (a, x) = floats(1, [rows, len], device);
    let run = Box::new(move || Kept::Two(activation::softmax(a.clone(), 1)));
    let at = move |i: usize| {
        let row = &x[i / len * len..][..len];
        f64::from(x[i]).exp() / dot(len, |j| f64::from(row[j]).exp())
    };
    Case { run, expected: Box::new(at) }
}

fn layer([rows, len]: [usize; 2], device: &Device) -> Case {
    const EPSILON: f64 = 1e-5;
    let (a, x) = floats(1, [rows, len], device);
    let ((b, scale), (c, bias)) = (floats(2, [len], device), floats(3, [len], device));
    let run =
        Box::new(move || Kept::Two(layer_norm(a.clone(), b.clone(), Some(c.clone()), EPSILON)));
    let at = move |i: usize| {
        let row = &x[i / len * len..][..len];
        let mean = dot(len, |j| f64::from(row[j])) / len as f64;
        let variance = dot(len, |j| (f64::from(row[j]) - mean).powi(2)) / len as f64;
        let normal = (f64::from(x[i]) - mean) / (variance + EPSILON).sqrt();
        normal * f64::from(scale[i % len]) + f64::from(bias[i % len])
    };
    Case { run, expected: Box::new(at) }
}

fn add(millions: usize, device: &Device) -> Case {
    let ((a, x), (b, y)) =
        (floats(1, [1024 * millions, 1024], device), floats(2, [1024 * millions, 1024], device));
    let run = Box::new(move || Kept::Two(a.clone() + b.clone()));
    Case { run, expected: Box::new(move |i| f64::from(x[i]) + f64::from(y[i])) }
}

fn gelu(device: &Device) -> Case {
    let (a, x) = floats(1, [4096, 1024], device);
    let run = Box::new(move || Kept::Two(activation::gelu(a.clone())));
    let at = move |i: usize| {
        let x = f64::from(x[i]);
        0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
    };
    Case { run, expected: Box::new(at) }
}

/// The error function for arguments up to 1, by its power series.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..40 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}
