//! burn's wgpu backend as a server of timings: see `../../README.md` for the lines it reads.

mod cases;

use burn::tensor::{Device, DeviceKind, Tensor};
use cases::{Case, Kept};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

/// What an answer may be away from the f64 sum, as in the other peers.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-4;

fn main() {
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    // The adapter is opened with the first tensor; that is not part of a first call.
    let _ = Tensor::<1>::from_floats([1.0], &device).into_data();
    println!("ready burn 0.22.1, wgpu (WGSL)");
    let mut open: HashMap<String, Case> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (name, count) = line.split_once(' ').expect("a name and a number");
        let count: usize = count.parse().expect("a number");
        if count == 0 {
            println!("{}", opened(name, &device, &mut open));
        } else {
            println!("{}", timed(&open[name], &device, count));
        }
        std::io::stdout().flush().expect("is read");
    }
}

/// Milliseconds of the first call, or what is wrong with it.
fn opened(name: &str, device: &Device, open: &mut HashMap<String, Case>) -> String {
    // What a peer cannot do is a result.
    let made = std::panic::catch_unwind(|| {
        let case = cases::case(name, device);
        device.sync().expect("operands are there");
        case
    });
    let Ok(made) = made else { return "failed to make its operands".to_string() };
    let Some(case) = made else { return "unknown".to_string() };
    let begun = Instant::now();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (case.run)().values()));
    let first = begun.elapsed().as_secs_f64() * 1e3;
    let Ok(result) = result else { return "failed in its first call".to_string() };
    let step = (result.len() / 512).max(1);
    for at in (0..result.len()).step_by(step) {
        let (is, expected) = (f64::from(result[at]), (case.expected)(at));
        let far = (is - expected).abs() > ABSOLUTE + RELATIVE * expected.abs();
        if far || is.is_nan() {
            eprintln!("{name}: element {at} is {is}, not {expected}");
            return "wrong".to_string();
        }
    }
    // Until what it tries by itself has been tried.
    for _ in 0..3 {
        timed(&case, device, 1);
    }
    open.insert(name.to_string(), case);
    first.to_string()
}

/// Milliseconds of one run of so many. Results are kept until all are there, so that
/// none can be left out.
fn timed(case: &Case, device: &Device, count: usize) -> f64 {
    let begun = Instant::now();
    let kept: Vec<Kept> = (0..count).map(|_| (case.run)()).collect();
    device.sync().expect("runs");
    let each = begun.elapsed().as_secs_f64() * 1e3 / count as f64;
    drop(kept);
    each
}
