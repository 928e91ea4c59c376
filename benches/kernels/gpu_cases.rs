//! What `make bench-gpu` times: work of the size that fills a GPU, and the ceilings it is
//! compared with. A small edition of each is for rehearsals on software adapters.

use super::{
    Bench, Work, cached_of, ceiling, f32s, floats, heads_of, layer_norm, linear, rms_norm, softmax,
};
use crate::coop_multiply_add::CoopMultiplyAdd;
use wginfer::DType;
use wginfer::ops::elementwise::{Binary, Unary};
use wginfer::ops::matmul::MatMul;
use wginfer::validate::CaseInput;

/// Sizes of an edition.
struct Edition {
    /// Square products, the largest last.
    squares: &'static [usize],
    /// The weight of a feed-forward layer: inputs, outputs; rows of a prompt.
    layer: [usize; 3],
    /// Heads, positions and the size of a head, of a prompt.
    heads: [usize; 3],
    /// Heads, those of the cache, the size of a head; positions: one step of decoding.
    step: ([usize; 3], usize),
    /// Rows and columns of what norms read.
    rows: [usize; 2],
    /// Elements of an addition.
    sum: usize,
    /// What the caches of the adapter are taken not to hold, bytes.
    beyond_cache: u64,
    /// Elements of the multiply-add ceiling; workgroups and steps of the cooperative one.
    ceilings: [usize; 3],
}

const LARGE: Edition = Edition {
    squares: &[1024, 4096, 8192],
    layer: [4096, 14336, 512],
    heads: [32, 2048, 128],
    step: ([32, 8, 128], 4096),
    rows: [4096, 4096],
    sum: 32 << 20,
    beyond_cache: 512 << 20,
    ceilings: [1 << 20, 1024, 1024],
};

const SMALL: Edition = Edition {
    squares: &[256, 384],
    layer: [512, 1536, 128],
    heads: [8, 256, 64],
    step: ([8, 2, 64], 1024),
    rows: [512, 1024],
    sum: 4 << 20,
    beyond_cache: 32 << 20,
    ceilings: [1 << 17, 32, 64],
};

/// With `WGINFER_BENCH_LARGE=1` what takes a GPU, with `WGINFER_BENCH_LARGE=small` the
/// rehearsal, else nothing.
pub fn all() -> Vec<Bench> {
    match std::env::var("WGINFER_BENCH_LARGE").as_deref() {
        Err(_) | Ok("" | "0") => Vec::new(),
        Ok("small") => edition(&SMALL),
        Ok(_) => edition(&LARGE),
    }
}

fn edition(sizes: &Edition) -> Vec<Bench> {
    let [elements, workgroups, steps] = sizes.ceilings;
    let mut benches = vec![ceiling("gpu/ceiling/multiply_add", elements)];
    benches.extend([16, 8].map(|size| matrices("gpu/ceiling", size, workgroups, steps)));
    benches.extend(COPIES.map(|variant| copied(sizes.sum, variant)));
    for &n in sizes.squares {
        benches.push(square(DType::F32, n));
        benches.push(square(DType::F16, n).halves());
        benches.extend(MATRICES.map(|variant| by_matrices(square(DType::F16, n), variant)));
    }
    let [k, n, rows] = sizes.layer;
    for dtype in [DType::F32, DType::F16, DType::Q4_0, DType::Q8_0, DType::Q4_K, DType::Q6_K] {
        benches.push(gpu(linear(dtype, 1, k, n)).cycled(sizes.beyond_cache));
    }
    for dtype in [DType::F16, DType::Q4_0, DType::Q4_K] {
        let few = || linear(dtype, CHECKED_ROWS, k, n);
        benches.push(gpu(linear(dtype, rows, k, n)).checked_by(few()));
        let whole = || gpu(linear(dtype, rows, k, n)).checked_by(few());
        benches.extend(MATRICES.map(|variant| by_matrices(whole(), variant)));
        if dtype.is_quantised() {
            let mut rounded = whole().eights();
            rounded.name = rounded.name.replacen("gpu/", "gpu/int8_", 1);
            rounded.policy.force.insert("matmul".into(), "int8_64".into());
            benches.push(rounded);
        }
    }
    benches.push(heads(sizes.heads, DType::F32));
    benches.push(heads(sizes.heads, DType::F16).halves());
    let (step, positions) = sizes.step;
    let name = format!("gpu/attention_decode/{}x{positions}x{}", step[0], step[2]);
    let decode = cached_of(step, &name, 1, positions - 1, positions);
    benches.push(decode.cycled(sizes.beyond_cache));
    let [rows, len] = sizes.rows;
    benches.extend([softmax(rows, len), layer_norm(rows, len), rms_norm(rows, len)].map(gpu));
    benches.push(add(sizes.sum));
    benches
}

/// Rows of the products that are compared with the reference in the place of larger
/// ones: more than a tile has, and not a multiple.
const CHECKED_ROWS: usize = 70;

fn gpu(mut bench: Bench) -> Bench {
    bench.name = format!("gpu/{}", bench.name);
    bench
}

/// An F32 matrix by a square one as `[n, k]`.
fn square(dtype: DType, n: usize) -> Bench {
    let of = |rows: usize| {
        let op = MatMul { trans_b: true, ..MatMul::default() };
        let operands = [f32s(&[rows, n]), CaseInput::run(dtype, &[n, n])];
        let work = Work::Operations(2 * (rows * n * n) as u64);
        Bench::new(format!("gpu/matmul_{dtype}/{n}"), op, operands, work)
    };
    of(n).checked_by(of(CHECKED_ROWS))
}

/// Variants of cooperative matrices, and their sizes.
const MATRICES: [(&str, u32); 4] =
    [("coop_16", 16), ("coop_wide_16", 16), ("coop_8", 8), ("coop_wide_8", 8)];

/// The same with a variant of cooperative matrices.
fn by_matrices(mut bench: Bench, (variant, size): (&str, u32)) -> Bench {
    bench.name = bench.name.replacen("gpu/", &format!("gpu/{variant}_"), 1);
    bench.policy.force.insert("matmul".into(), variant.into());
    bench.coop = Some(size);
    bench.halves()
}

/// The ceiling of cooperative matrices of a size, under a name that begins with `group`.
pub(super) fn matrices(group: &str, size: u32, workgroups: usize, steps: usize) -> Bench {
    let op = CoopMultiplyAdd { size, steps: steps as u32, workgroups };
    let operands = op.operands().map(|extents| CaseInput::run(DType::F16, &extents));
    let work = Work::Operations(op.operations());
    let mut bench = Bench::new(format!("{group}/coop_{size}"), op, operands, work);
    bench.coop = Some(size);
    bench
}

fn heads([heads, len, size]: [usize; 3], dtype: DType) -> Bench {
    let name = format!("gpu/attention_causal_{dtype}/{heads}x{len}x{size}");
    let two = heads_of(dtype, &name, [2, len, size], true);
    heads_of(dtype, &name, [heads, len, size], true).checked_by(two)
}

/// The variants that copies are timed with.
const COPIES: [&str; 4] = ["wide", "narrow", "pairs", "alone"];

/// A copy by an elementwise kernel, with signs changed, since a plain one has no dispatch: where
/// the driver's own copy goes another way to memory, it says more about other kernels.
fn copied(count: usize, variant: &str) -> Bench {
    let work = Work::Bytes(2 * floats(count));
    let name = format!("gpu/ceiling/kernel_copy_{variant}");
    let mut bench = Bench::new(name, Unary::Neg, [f32s(&[count])], work);
    bench.policy.force.insert("elementwise".into(), variant.into());
    bench
}

fn add(count: usize) -> Bench {
    let work = Work::Bytes(3 * floats(count));
    let operands = [f32s(&[count]), f32s(&[count])];
    Bench::new(format!("gpu/add/{}M", count >> 20), Binary::Add, operands, work)
}
