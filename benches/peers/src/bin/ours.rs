//! wginfer as a server of timings: see `../../README.md` for the lines it reads.
//! Arguments: an adapter's name.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark program: what is wrong should stop it"
)]

#[path = "../../../kernels/cases.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks")]
mod cases;
#[path = "../../../kernels/coop_multiply_add.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks")]
mod coop_multiply_add;
#[path = "../../../kernels/copy.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks")]
mod copy;
#[path = "../../../kernels/judged.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks")]
mod judged;
#[path = "../../../kernels/multiply_add.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks")]
mod multiply_add;

use cases::{Bench, Work};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;
use wginfer::gpu::DeviceOptions;
use wginfer::kernels::Policy;
use wginfer::{Backend, BackendChoice, Result, Session};

/// The copy that is the ceiling of memory, bytes: more than caches hold.
const COPY: &str = "gpu/ceiling/copy";
const COPIED: [u64; 2] = [64 << 20, 512 << 20];

/// What is timed.
enum Open {
    Session(Box<Session>),
    Copy(copy::Copy),
}

fn main() {
    let adapter = std::env::args().nth(1).expect("an adapter's name");
    let choice: BackendChoice = adapter.parse().expect("a name");
    let (backend, title) =
        Backend::open_blocking(&choice, DeviceOptions::default()).expect("opens");
    let Backend::Gpu(gpu) = &backend else { panic!("{adapter} is no GPU") };
    println!("ready wginfer on {title}");
    let mut benches = cases::all();
    benches.retain(|bench| bench.fits(Some(gpu.caps())));
    let mut open: HashMap<String, Open> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (name, asked) = line.split_once(' ').expect("a name and what is asked");
        let bench = benches.iter().find(|bench| bench.name == name);
        let answer = match asked {
            "work" => work(name, bench),
            "0" => {
                // One at a time: the largest leave no room for others.
                open.clear();
                match opened(&backend, name, bench) {
                    Ok(Some((made, first))) => {
                        open.insert(name.to_string(), made);
                        first.to_string()
                    }
                    Ok(None) => "unknown".to_string(),
                    Err(error) => format!("failed {error}").replace('\n', " "),
                }
            }
            count => {
                let count = count.parse().expect("a number");
                let open = open.get_mut(name).expect("a case that was opened");
                (timed(open, count) / bench.map_or(1.0, |bench| bench.copies as f64)).to_string()
            }
        };
        println!("{answer}");
        std::io::stdout().flush().expect("is read");
    }
}

fn copied() -> u64 {
    let small = std::env::var("WGINFER_BENCH_LARGE").is_ok_and(|value| value == "small");
    COPIED[usize::from(!small)]
}

/// What is moved or computed by the work done once: a run may do it several times, each
/// with operands of its own.
fn work(name: &str, bench: Option<&Bench>) -> String {
    match bench.map(|bench| (bench.work, bench.copies as u64)) {
        Some((Work::Bytes(bytes), copies)) => format!("bytes {}", bytes / copies),
        Some((Work::Operations(count), copies)) => format!("operations {}", count / copies),
        None if name == COPY => format!("bytes {}", copy::moved(copied())),
        None => "unknown".to_string(),
    }
}

/// A case whose answers are right, and what its first run took from planning on.
fn opened(backend: &Backend, name: &str, bench: Option<&Bench>) -> Result<Option<(Open, f64)>> {
    if name == COPY {
        let begun = Instant::now();
        let copy = copy::Copy::new(backend, copied());
        return Ok(Some((Open::Copy(copy), millis(begun))));
    }
    let Some(bench) = bench else { return Ok(None) };
    let policy = judged::policy(bench, &Policy::default());
    let graph = judged::graph(bench)?;
    let begun = Instant::now();
    let mut session = judged::open_graph(backend, graph, &policy)?;
    session.repeat_blocking(&[], 1)?;
    let first = millis(begun);
    judged::check(backend, bench, &policy)?;
    Ok(Some((Open::Session(Box::new(session)), first)))
}

fn timed(open: &mut Open, count: usize) -> f64 {
    match open {
        Open::Session(session) => {
            let begun = Instant::now();
            session.repeat_blocking(&[], count).expect("runs");
            millis(begun) / count as f64
        }
        Open::Copy(copy) => copy.run(count as u64).as_secs_f64() * 1e3 / count as f64,
    }
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
