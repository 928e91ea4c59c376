//! What is timed: one operator each, all operands on the device.

#[path = "gpu_cases.rs"]
mod gpu;

use crate::multiply_add::MultiplyAdd;
use std::cell::OnceCell;
use wginfer::gpu::{CoopScalar, DeviceCaps};
use wginfer::kernels::Policy;
use wginfer::kernels::registry::FAMILIES;
use wginfer::ops::Operator;
use wginfer::ops::attention::Attention;
use wginfer::ops::conv::{Conv, ConvTranspose};
use wginfer::ops::elementwise::{Binary, Unary};
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
    /// How often a run does it, with operands of its own each time: what caches cannot
    /// keep from one run to the next. `work` is of all together.
    pub copies: usize,
    /// What is compared with the reference in the place of `case`, where that would take
    /// minutes.
    pub check: Option<Case>,
    /// What the benchmark is about: arithmetic, a variant.
    pub policy: Policy,
    /// The square cooperative matrices that it needs, f16 in and f32 out.
    pub coop: Option<u32>,
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
    pub(super) fn new<const N: usize>(
        name: impl Into<String>,
        op: impl Operator,
        inputs: [CaseInput; N],
        work: Work,
    ) -> Self {
        let case = Case::new(op, inputs.map(CaseInput::constant));
        Bench {
            name: name.into(),
            case,
            work,
            copies: 1,
            check: None,
            policy: Policy::default(),
            coop: None,
            yardstick: OnceCell::new(),
        }
    }

    /// Done so often that the operands take at least so many bytes.
    pub(super) fn cycled(mut self, bytes: u64) -> Self {
        let operands = self.case.inputs.iter().flatten();
        let each: u64 = operands
            .map(|input| {
                let blocks = input.extents.iter().product::<usize>() / input.dtype.block_len();
                (blocks * input.dtype.block_bytes()) as u64
            })
            .sum();
        self.copies = bytes.div_ceil(each).clamp(1, 64) as usize;
        self.work = match self.work {
            Work::Bytes(bytes) => Work::Bytes(bytes * self.copies as u64),
            Work::Operations(count) => Work::Operations(count * self.copies as u64),
        };
        self
    }

    /// Checked by a smaller work.
    pub(super) fn checked_by(mut self, small: Bench) -> Self {
        self.check = Some(small.case);
        self
    }

    /// With rows rounded to eight bits, sums in f32.
    pub(super) fn eights(mut self) -> Self {
        self.policy.allow_int8 = true;
        self
    }

    /// With operands rounded to f16, sums in f32.
    pub(super) fn halves(mut self) -> Self {
        self.policy.allow_f16 = true;
        self
    }

    /// Whether a device can do it.
    pub fn fits(&self, caps: Option<&DeviceCaps>) -> bool {
        let runs = |caps: &DeviceCaps| {
            let variants = FAMILIES.iter().flat_map(|family| {
                let forced = self.policy.force.get(family.name);
                let own = family.variants.iter();
                own.filter(move |variant| forced.is_some_and(|name| *name == *variant.name))
            });
            variants.into_iter().all(|variant| variant.needs.lacking(caps).is_none())
        };
        if !caps.is_none_or(runs) {
            return false;
        }
        self.coop.is_none_or(|n| {
            let shape = |caps: &DeviceCaps| {
                caps.coop_shape(n, n, n, CoopScalar::F16, CoopScalar::F32).is_some()
            };
            caps.is_some_and(shape)
        })
    }

    /// The operands and the reference's answer, the same for every backend.
    pub fn yardstick(&self) -> &Yardstick {
        let case = self.check.as_ref().unwrap_or(&self.case);
        self.yardstick.get_or_init(|| Yardstick::new(case, SEED).expect("a valid case"))
    }
}

/// The multiply-add ceiling, then the kernels.
pub fn all() -> Vec<Bench> {
    use DType::{F16, F32, Q4_0, Q4_1, Q4_K, Q6_K, Q8_0};
    let mut benches = vec![ceiling("ceiling/multiply_add", 1 << 17)];
    benches.extend([16, 8].map(|size| gpu::matrices("ceiling", size, 32, 64)));
    benches.extend([256, 512, 1024].map(matmul));
    benches.push(linear(F32, 128, 576, 1536));
    // The products of SmolLM2-135M's feed-forward layer, inputs by outputs. A
    // block of Q4_K has 256 elements, so it takes only one of them.
    for dtype in [F32, F16, Q4_0, Q4_1, Q8_0, Q4_K, Q6_K] {
        for (k, n) in [(576, 1536), (1536, 576)] {
            if k % dtype.block_len() == 0 {
                benches.push(linear(dtype, 1, k, n));
            }
        }
        if dtype != F32 {
            benches.push(linear(dtype, 128, 1536, 576));
        }
    }
    for (rows, len) in [(512, 1024), (4096, 4096)] {
        benches.extend([softmax(rows, len), layer_norm(rows, len), rms_norm(rows, len)]);
    }
    benches.extend([add(), gelu(), transpose(), transpose_heads()]);
    // Of ResNet-50, a depthwise one of MobileNet, and doubling a plane.
    benches.push(conv("conv_7x7/3x224x224x64", [3, 224, 64], [7, 2, 1]));
    benches.push(conv("conv_3x3/64x56x56x64", [64, 56, 64], [3, 1, 1]));
    benches.push(conv("conv_3x3/256x14x14x256", [256, 14, 256], [3, 1, 1]));
    benches.push(conv("conv_1x1/256x14x14x1024", [256, 14, 1024], [1, 1, 1]));
    benches.push(conv("conv_depthwise/32x112x112", [32, 112, 32], [3, 1, 32]));
    benches.push(conv_transpose());
    benches.push(heads("attention/9x256x64", [9, 256, 64], false));
    benches.push(heads("attention_causal/9x256x64", [9, 256, 64], true));
    benches.push(cached("attention_prefill/64", 64, 0, 64));
    benches.push(cached("attention_decode/512", 1, 511, 512));
    benches.push(cached("attention_decode/4096", 1, 4095, 4096));
    benches.extend(gpu::all());
    benches
}

fn f32s(extents: &[usize]) -> CaseInput {
    CaseInput::run(DType::F32, extents)
}

/// The bytes of so many F32 elements.
fn floats(count: usize) -> u64 {
    4 * count as u64
}

fn ceiling(name: &str, count: usize) -> Bench {
    let x = f32s(&[count]).values(Values::Uniform(-1.0, 1.0));
    let work = Work::Operations(MultiplyAdd::OPERATIONS * count as u64);
    Bench::new(name, MultiplyAdd, [x], work)
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

fn softmax(rows: usize, len: usize) -> Bench {
    let work = Work::Bytes(2 * floats(rows * len));
    Bench::new(format!("softmax/{rows}x{len}"), Softmax { axis: -1 }, [f32s(&[rows, len])], work)
}

fn rms_norm(rows: usize, len: usize) -> Bench {
    let work = Work::Bytes(2 * floats(rows * len) + floats(len));
    let operands = [f32s(&[rows, len]), f32s(&[len])];
    let name = format!("rms_normalization/{rows}x{len}");
    Bench::new(name, Normalization::rms(1e-5), operands, work)
}

fn layer_norm(rows: usize, len: usize) -> Bench {
    let work = Work::Bytes(2 * floats(rows * len) + 2 * floats(len));
    let operands = [f32s(&[rows, len]), f32s(&[len]), f32s(&[len])];
    let name = format!("layer_normalization/{rows}x{len}");
    Bench::new(name, Normalization::layer(1e-5), operands, work)
}

fn add() -> Bench {
    const COUNT: usize = 4 << 20;
    let work = Work::Bytes(3 * floats(COUNT));
    Bench::new("add/4M", Binary::Add, [f32s(&[COUNT]), f32s(&[COUNT])], work)
}

fn gelu() -> Bench {
    const COUNT: usize = 4 << 20;
    let work = Work::Bytes(2 * floats(COUNT));
    Bench::new("gelu/4M", Unary::Gelu, [f32s(&[COUNT])], work)
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

/// Heads before positions, as attention wants them.
fn transpose_heads() -> Bench {
    let op = Transpose { permutation: vec![1, 0, 2] };
    let work = Work::Bytes(2 * floats(1024 * 16 * 64));
    Bench::new("transpose/1024x16x64", op, [f32s(&[1024, 16, 64])], work)
}

fn conv_transpose() -> Bench {
    let (c, size, m) = (128, 28, 64);
    let op = ConvTranspose { strides: vec![2; 2], pads: vec![1; 4], ..ConvTranspose::default() };
    let operands = [f32s(&[1, c, size, size]), f32s(&[c, m, 4, 4])];
    let work = Work::Operations((2 * c * size * size * m * 16) as u64);
    Bench::new("conv_transpose_4x4/128x28x28x64", op, operands, work)
}

/// Heads, positions and the size of a head, without a cache.
fn heads(name: &str, [heads, len, size]: [usize; 3], causal: bool) -> Bench {
    heads_of(DType::F32, name, [heads, len, size], causal)
}

/// The same with a type of keys and values.
fn heads_of(dtype: DType, name: &str, [heads, len, size]: [usize; 3], causal: bool) -> Bench {
    let cache = || CaseInput::run(dtype, &[1, heads, len, size]);
    let past = Tensor::from_i32(&[1], &[0]).expect("one number");
    let operands = [f32s(&[1, len, heads, size]), cache(), cache(), CaseInput::exact(past)];
    let pairs = if causal { len * (len + 1) / 2 } else { len * len };
    let work = Work::Operations((pairs * heads * size * 4) as u64);
    Bench::new(name, Attention { causal, ..Attention::default() }, operands, work)
}

/// The heads of SmolLM2-135M with an F16 cache, which is full afterwards.
fn cached(name: &str, queries: usize, past: usize, capacity: usize) -> Bench {
    cached_of([9, 3, 64], name, queries, past, capacity)
}

/// The same with other numbers of heads, of heads of the cache, and sizes of a head.
fn cached_of(
    [heads, kv_heads, size]: [usize; 3],
    name: &str,
    queries: usize,
    past: usize,
    capacity: usize,
) -> Bench {
    let cache = || CaseInput::run(DType::F16, &[1, kv_heads, capacity, size]);
    let past_tensor = Tensor::from_i32(&[1], &[past as i32]).expect("one number");
    let q = f32s(&[1, queries, heads, size]);
    let operands = [q, cache(), cache(), CaseInput::exact(past_tensor)];
    let work = if queries == 1 {
        let caches = 2 * kv_heads * capacity * size * 2;
        Work::Bytes(caches as u64 + 2 * floats(heads * size))
    } else {
        // Query i sees past + i + 1 keys: a product with each key, one with
        // each value.
        let pairs: usize = (1..=queries).map(|i| past + i).sum();
        Work::Operations((pairs * heads * size * 4) as u64)
    };
    Bench::new(name, Attention::default(), operands, work)
}
