//! How fast the kernels are, on the CPU and on every adapter, beside what the
//! same adapter can do at most.
//!
//! Operands stay on the device. What is timed is a row of dispatches and the
//! wait for them; nothing large is uploaded or read back meanwhile. Before
//! anything is timed, its results are compared with the f64 reference.
//!
//! Benchmarks are called `<backend>/<kernel>/<size>`; an argument is a filter.
//! Rates in GB/s count all bytes read and written once; operands that fit a
//! cache stay there. Rates in GFLOP/s count a multiply-add as two. The ceilings
//! are `<backend>/ceiling/...`: a copy within the device, and multiply-adds
//! that touch no memory.
//!
//! Environment:
//!
//! | Variable | Meaning |
//! |---|---|
//! | `WGINFER_BENCH_FULL=1` | measures for longer |
//! | `WGINFER_BENCH_LARGE=1` | also what only a GPU does in reasonable time (`small`: the same in small) |
//! | `WGINFER_SHADERS=shaders` | in debug builds (`--profile dev`): shaders as they are in that folder now |
//! | `WGPU_ADAPTER_NAME` | a part of a name: of the adapters, only those |
//! | `WGINFER_BENCH_FORCE=family/variant` | that variant, whatever would be chosen; may be several, with commas |

#![allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a benchmark program: what is wrong should stop it"
)]

#[path = "../../tests/support/adapters.rs"]
mod adapters;
#[path = "../../tests/support/backends.rs"]
#[allow(dead_code, reason = "shared with the test programs")]
mod backends;
mod cases;
mod coop_multiply_add;
mod copy;
mod judged;
mod multiply_add;
mod rate;

use backends::Named;
use cases::{Bench, Work};
use criterion::{BenchmarkGroup, Criterion};
use rate::Rate;
use std::time::{Duration, Instant};
use wginfer::Backend;
use wginfer::gpu::DeviceCaps;
use wginfer::kernels::Policy;

type Group<'a> = BenchmarkGroup<'a, Rate>;

fn main() {
    let mut criterion = settings().configure_from_args();
    let benches = cases::all();
    for backend in chosen() {
        println!("{}: {}", backend.name, about(&backend.backend));
        let mut group = criterion.benchmark_group(&backend.name);
        copies(&mut group, &backend.backend);
        for bench in benches.iter().filter(|bench| bench.fits(caps(&backend.backend))) {
            kernel(&mut group, &backend, bench);
        }
        group.finish();
    }
    criterion.final_summary();
}

/// Some seconds for each benchmark, or enough for small differences.
fn settings() -> Criterion<Rate> {
    let criterion = Criterion::default().with_measurement(Rate::default());
    if std::env::var_os("WGINFER_BENCH_FULL").is_some_and(|value| value != "0") {
        return criterion.measurement_time(Duration::from_secs(5)).sample_size(50);
    }
    criterion
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700))
        .sample_size(10)
        .nresamples(10_000)
}

/// The CPU backend and the adapters, or those of them that are asked for.
fn chosen() -> Vec<Named> {
    let wanted = std::env::var("WGPU_ADAPTER_NAME").unwrap_or_default().to_lowercase();
    let fits = |backend: &Named| {
        !backend.is_gpu() || backend.backend.name().to_lowercase().contains(&wanted)
    };
    let chosen: Vec<Named> = backends::all().into_iter().filter(fits).collect();
    if !wanted.is_empty() && chosen.len() == 1 {
        panic!("no adapter's name contains '{wanted}' (WGPU_ADAPTER_NAME)");
    }
    chosen
}

fn about(backend: &Backend) -> String {
    match backend {
        Backend::Cpu => format!("the CPU backend, {} threads", rayon::current_num_threads()),
        Backend::Gpu(gpu) => gpu.info().title(),
    }
}

fn caps(backend: &Backend) -> Option<&DeviceCaps> {
    match backend {
        Backend::Cpu => None,
        Backend::Gpu(gpu) => Some(gpu.caps()),
    }
}

/// The ceiling of memory.
fn copies(group: &mut Group<'_>, backend: &Backend) {
    for (name, bytes) in copy::SIZES {
        group.throughput(criterion::Throughput::BytesDecimal(copy::moved(bytes)));
        let mut made = None;
        group.bench_function(format!("ceiling/copy_{name}"), |bencher| {
            let copy = made.get_or_insert_with(|| copy::Copy::new(backend, bytes));
            bencher.iter_custom(|times| copy.run(times));
        });
    }
}

fn kernel(group: &mut Group<'_>, backend: &Named, bench: &Bench) {
    group.throughput(match bench.work {
        Work::Bytes(bytes) => criterion::Throughput::BytesDecimal(bytes),
        Work::Operations(count) => criterion::Throughput::Elements(count),
    });
    let policy = judged::policy(bench, &policy());
    let mut session = None;
    // Criterion calls this only for benchmarks that the filter lets through.
    group.bench_function(&bench.name, |bencher| {
        let session = session.get_or_insert_with(|| {
            judged::check(&backend.backend, bench, &policy).expect("runs");
            judged::open(&backend.backend, bench, &policy).expect("opens")
        });
        bencher.iter_custom(|times| {
            let begun = Instant::now();
            session.repeat_blocking(&[], times as usize).expect("runs");
            begun.elapsed()
        });
    });
}

/// What `WGINFER_BENCH_FORCE` asks for.
fn policy() -> Policy {
    let wanted = std::env::var("WGINFER_BENCH_FORCE").unwrap_or_default();
    let pairs = wanted.split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('/').expect("family/variant"));
    let force = pairs.map(|(family, variant)| (family.to_string(), variant.to_string()));
    Policy { force: force.collect(), ..Policy::default() }
}
