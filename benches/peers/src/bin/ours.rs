//! wginfer as a server of timings: see `../../README.md` for the lines it reads.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark program: what is wrong should stop it")]

#[path = "../../../kernels/cases.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks")]
mod cases;
#[path = "../../../kernels/multiply_add.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks")]
mod multiply_add;

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;
use wginfer::gpu::DeviceOptions;
use wginfer::validate::{Extents, Target, run_setup, set_up};
use wginfer::{Backend, BackendChoice, Session, SessionOptions, passes};

fn main() {
    let adapter = std::env::args().nth(1).expect("an adapter's name");
    let choice: BackendChoice = adapter.parse().expect("a name");
    let (backend, title) =
        Backend::open_blocking(&choice, DeviceOptions::default()).expect("opens");
    assert!(matches!(backend, Backend::Gpu(_)), "{adapter} is no GPU");
    println!("ready wginfer on {title}");
    let benches = cases::all();
    let mut open: HashMap<String, Session> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (name, count) = line.split_once(' ').expect("a name and a number");
        let count: usize = count.parse().expect("a number");
        if count == 0 {
            let answer = match benches.iter().find(|bench| bench.name == name) {
                Some(bench) => {
                    let (session, first) = opened(&backend, bench);
                    open.insert(name.to_string(), session);
                    format!("{first}")
                }
                None => "unknown".to_string(),
            };
            println!("{answer}");
        } else {
            let session = open.get_mut(name).expect("a case that was opened");
            let begun = Instant::now();
            session.repeat_blocking(&[], count).expect("runs");
            println!("{}", begun.elapsed().as_secs_f64() * 1e3 / count as f64);
        }
        std::io::stdout().flush().expect("is read");
    }
}

/// A session whose answers were right, and what its first run took from planning on.
fn opened(backend: &Backend, bench: &cases::Bench) -> (Session, f64) {
    let target = Target::new(backend.clone());
    let yardstick = bench.yardstick();
    let setup = set_up(&bench.case, yardstick, Extents::Fixed, &target).expect("is planned");
    let options = SessionOptions {
        disabled_passes: passes::PASSES.iter().map(|pass| pass.name.to_string()).collect(),
        ..SessionOptions::default()
    };
    let begun = Instant::now();
    let mut session =
        Session::new_blocking(setup.graph.clone(), backend, options).expect("opens");
    session.repeat_blocking(&[], 1).expect("runs");
    let first = begun.elapsed().as_secs_f64() * 1e3;
    let outcome = run_setup(&setup, yardstick, &target).expect("runs");
    if let Some(report) = outcome.reports.iter().find(|report| !report.passed()) {
        panic!("{} is wrong: {report}", bench.name);
    }
    (session, first)
}
