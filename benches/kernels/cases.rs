//! What is timed: one operator each, all operands on the device.

use crate::multiply_add::MultiplyAdd;
use std::cell::OnceCell;
use wginfer::ops::Operator;
use wginfer::ops::attention::Attention;
use wginfer::ops::conv::{Conv, ConvTranspose};
use wginfer::ops::elementwise::Binary;
use wginfer::ops::matmul::MatMul;
use wginfer::ops::movement::Transpose;
use wginfer::ops::norm::Normalization;
use wginfer::ops::softmax::Softmax;
use wginfer::validate::{Case, CaseInput, Values, Yardstick};
use wginfer::{DType, Tensor};

/// Reproduces the operands.
const SEED: u64 = 1;

/// A case with its name and what one run of it amounts to.
pub struct Bench {
    pub name: String,
    pub case: Case,
    pub work: Work,
    yardstick: OnceCell<Yardstick>,
}

/// What one run reads and writes, or computes: whichever limits it.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    Bytes(u64),
    /// A multiply-add is two.
    Operations(u64),
}

impl Bench {
    fn new<const N: usize>(
        name: impl Into<String>,
        op: impl Operator,
        inputs: [CaseInput; N],
        work: Work,
    ) -> Self {
        let case = Case::new(op, inputs.map(CaseInput::constant));
        Bench { name: name.into(), case, work, yardstick: OnceCell::new() }
    }

    /// The operands and the reference's answer, the same for every backend.
    pub fn yardstick(&self) -> &Yardstick {
        self.yardstick.get_or_init(|| Yardstick::new(&self.case, SEED).expect("a valid case"))
    }
}

/// The multiply-add ceiling, then the kernels.
pub fn all() -> Vec<Bench> {
    let mut benches = vec![ceiling()];
    benches.extend([256, 512].map(matmul));
    // The products of SmolLM2-135M's feed-forward layer, inputs by outputs. A
    // block of Q4_K has 256 elements, so it takes only one of them.
    for dtype in [DType::Q4_1, DType::Q8_0, DType::Q4_K, DType::F16] {
        for (k, n) in [(576, 1536), (1536, 576)] {
            if k % dtype.block_len() == 0 {
                benches.push(linear(dtype, 1, k, n));
                benches.push(linear(dtype, 64, k, n));
            }
        }
    }
    benches.extend([softmax(), norm(), add(), transpose()]);
    // Of ResNet-50: 3 by 3 on large and on small planes, and 1 by 1; a depthwise
    // one of MobileNet, and doubling a plane.
    benches.push(conv("conv_3x3/64x56x56x64", [64, 56, 64], [3, 1, 1]));
    benches.push(conv("conv_3x3/256x14x14x256", [256, 14, 256], [3, 1, 1]));
    benches.push(conv("conv_1x1/256x28x28x128", [256, 28, 128], [1, 1, 1]));
    benches.push(conv("conv_7x7/3x112x112x64", [3, 112, 64], [7, 2, 1]));
    benches.push(conv("conv_depthwise/144x56x56", [144, 56, 144], [3, 1, 144]));
    benches.push(conv_transpose());
    benches.push(attention("attention_prefill/64", 64, 0, 64));
    benches.push(attention("attention_decode/512", 1, 511, 512));
    benches
}

fn f32s(extents: &[usize]) -> CaseInput {
    CaseInput::run(DType::F32, extents)
}

/// The bytes of so many F32 elements.
fn floats(count: usize) -> u64 {
    4 * count as u64
}

fn ceiling() -> Bench {
    const COUNT: usize = 1 << 17;
    let x = f32s(&[COUNT]).values(Values::Uniform(-1.0, 1.0));
    let work = Work::Operations(MultiplyAdd::OPERATIONS * COUNT as u64);
    Bench::new("ceiling/multiply_add", MultiplyAdd, [x], work)
}

fn matmul(n: usize) -> Bench {
    let operands = [f32s(&[n, n]), f32s(&[n, n])];
    let work = Work::Operations(2 * (n * n * n) as u64);
    Bench::new(format!("matmul_F32/{n}"), MatMul::default(), operands, work)
}

/// `rows` vectors of `k` by a weight of `n` rows: one is limited by reading
/// the weight, many by computing.
fn linear(dtype: DType, rows: usize, k: usize, n: usize) -> Bench {
    let op = MatMul { trans_b: true, ..MatMul::default() };
    let operands = [f32s(&[rows, k]), CaseInput::run(dtype, &[n, k])];
    if rows > 1 {
        let work = Work::Operations(2 * (rows * k * n) as u64);
        return Bench::new(format!("prefill_{dtype}/{rows}x{k}x{n}"), op, operands, work);
    }
    let weight = (k * n / dtype.block_len() * dtype.block_bytes()) as u64;
    let work = Work::Bytes(weight + floats(k + n));
    Bench::new(format!("matvec_{dtype}/{k}x{n}"), op, operands, work)
}

fn softmax() -> Bench {
    let work = Work::Bytes(2 * floats(1024 * 1024));
    Bench::new("softmax/1024x1024", Softmax { axis: -1 }, [f32s(&[1024, 1024])], work)
}

fn norm() -> Bench {
    let work = Work::Bytes(2 * floats(2048 * 576) + floats(576));
    let operands = [f32s(&[2048, 576]), f32s(&[576])];
    Bench::new("rms_normalization/2048x576", Normalization::rms(1e-5), operands, work)
}

fn add() -> Bench {
    const COUNT: usize = 1 << 20;
    let work = Work::Bytes(3 * floats(COUNT));
    Bench::new("add/1M", Binary::Add, [f32s(&[COUNT]), f32s(&[COUNT])], work)
}

fn transpose() -> Bench {
    let op = Transpose { permutation: vec![1, 0] };
    let work = Work::Bytes(2 * floats(1024 * 1024));
    Bench::new("transpose/1024x1024", op, [f32s(&[1024, 1024])], work)
}

/// Channels, size and output channels; kernel, stride and groups.
fn conv(name: &str, [c, size, m]: [usize; 3], [kernel, stride, group]: [usize; 3]) -> Bench {
    let op = Conv { strides: vec![stride; 2], pads: vec![kernel / 2; 4], group, ..Conv::default() };
    let operands = [f32s(&[1, c, size, size]), f32s(&[m, c / group, kernel, kernel])];
    let outputs = m * (size / stride) * (size / stride);
    let work = Work::Operations((2 * outputs * c / group * kernel * kernel) as u64);
    Bench::new(name, op, operands, work)
}

fn conv_transpose() -> Bench {
    let (c, size, m) = (128, 28, 64);
    let op = ConvTranspose { strides: vec![2; 2], pads: vec![1; 4], ..ConvTranspose::default() };
    let operands = [f32s(&[1, c, size, size]), f32s(&[c, m, 4, 4])];
    let work = Work::Operations((2 * c * size * size * m * 16) as u64);
    Bench::new("conv_transpose_4x4/128x28x28x64", op, operands, work)
}

/// The heads of SmolLM2-135M with an F16 cache, which is full afterwards.
fn attention(name: &str, queries: usize, past: usize, capacity: usize) -> Bench {
    const HEADS: usize = 9;
    const KV_HEADS: usize = 3;
    const SIZE: usize = 64;
    let cache = || CaseInput::run(DType::F16, &[1, KV_HEADS, capacity, SIZE]);
    let past_tensor = Tensor::from_i32(&[1], &[past as i32]).expect("one number");
    let q = f32s(&[1, queries, HEADS, SIZE]);
    let operands = [q, cache(), cache(), CaseInput::exact(past_tensor)];
    let work = if queries == 1 {
        let caches = 2 * KV_HEADS * capacity * SIZE * 2;
        Work::Bytes(caches as u64 + 2 * floats(HEADS * SIZE))
    } else {
        // Query i sees past + i + 1 keys: a product with each key, one with
        // each value.
        let pairs: usize = (1..=queries).map(|i| past + i).sum();
        Work::Operations((pairs * HEADS * SIZE * 4) as u64)
    };
    Bench::new(name, Attention::default(), operands, work)
}
