//! Element types on every backend. 64-bit integers are 64 bits wide on the CPU
//! and 32 on a device, and what does not fit there is an error that says where;
//! floating-point types of at most 8 bits are rounded bit for bit alike.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::Arc;
use support::backends::{self, Named};
use wginfer::graph::GraphBuilder;
use wginfer::ops::Operator;
use wginfer::ops::elementwise::{Binary, Cast, CastSmall};
use wginfer::ops::gather::{GatherElements, Take};
use wginfer::ops::scatter::{Reduction, ScatterElements};
use wginfer::tensor::{PowerRounding, SmallRounding, small_float, small_float_bits};
use wginfer::{DType, Error, ErrorKind, Session, SessionOptions, Tensor};

type Body = fn(&Named) -> Result<(), Failed>;

const BODIES: &[(&str, Body)] = &[
    ("arithmetic_that_overflows_is_an_error", overflow),
    ("the_first_node_is_named_and_the_next_run_is_well", recovery),
    ("conversions_that_do_not_fit_are_errors", conversions),
    ("inputs_and_constants_are_checked", inputs_and_constants),
    ("states_are_checked_and_survive", states),
    ("small_floats_are_rounded_alike", small_floats),
    ("small_floats_are_read_alike", small_values),
    ("indices_out_of_range_are_errors", indices),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends::all() {
        for (name, body) in BODIES {
            let backend = backend.clone();
            trials.push(Trial::test(format!("dtypes::{}::{name}", backend.name), move || {
                body(&backend)
            }));
        }
    }
    backends::conclude(&arguments, trials);
}

const LEAST: i64 = i32::MIN as i64;
const MOST: i64 = i32::MAX as i64;

fn i64s(values: &[i64]) -> Tensor {
    Tensor::from_i64(&[values.len()], values).unwrap()
}

fn u64s(values: &[u64]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    Tensor::new(DType::U64, &[values.len()], bytes).unwrap()
}

fn f32s(values: &[f32]) -> Tensor {
    Tensor::from_f32(&[values.len()], values).unwrap()
}

/// One node over inputs of a run.
fn run(on: &Named, op: impl Operator, inputs: &[Tensor]) -> Result<Tensor, Error> {
    let mut g = GraphBuilder::new();
    let names = ["a", "b"];
    let ids: Vec<_> = inputs
        .iter()
        .zip(names)
        .map(|(x, name)| Some(g.input(name, x.dtype(), [x.len().into()]).unwrap()))
        .collect();
    let y = g.node("the node", Arc::new(op), &ids)?;
    g.output("y", y[0])?;
    let mut session = Session::new_blocking(g.finish()?, &on.backend, SessionOptions::default())?;
    let named: Vec<_> = names.into_iter().zip(inputs).collect();
    Ok(session.run_blocking(&named)?.remove(0).1)
}

/// On the CPU the values, on a device the error if they do not fit.
fn check(on: &Named, op: impl Operator, inputs: &[Tensor], want: &Tensor) -> Result<(), Failed> {
    let what = format!("{op:?} of {inputs:?}");
    let fits = match want.dtype() {
        DType::U64 => bytemuck::pod_collect_to_vec::<u8, u64>(want.bytes())
            .iter()
            .all(|&v| u32::try_from(v).is_ok()),
        DType::I64 => want.to_i64()?.iter().all(|&v| i32::try_from(v).is_ok()),
        _ => true,
    };
    match run(on, op, inputs) {
        Ok(got) if fits || !on.is_gpu() => {
            assert_eq!(
                (got.dtype(), got.bytes()[..].to_vec()),
                (want.dtype(), want.bytes().to_vec()),
                "{what}"
            );
        }
        Ok(got) => panic!("{what} gives {:?}", got.bytes()),
        Err(error) => {
            assert!(on.is_gpu() && !fits, "{what}: {error}");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            let text = error.to_string();
            assert!(text.contains("the node") && text.contains("CPU backend"), "{text}");
        }
    }
    Ok(())
}

fn overflow(on: &Named) -> Result<(), Failed> {
    let ends =
        [0, 1, -1, 2, -2, 46340, 46341, -46341, 65536, -65536, LEAST, LEAST + 1, MOST, MOST - 1];
    for a in ends {
        for b in ends {
            // One element, so that each pair is judged alone.
            let pair = [i64s(&[a]), i64s(&[b])];
            check(on, Binary::Add, &pair, &i64s(&[a + b]))?;
            check(on, Binary::Sub, &pair, &i64s(&[a - b]))?;
            check(on, Binary::Mul, &pair, &i64s(&[a * b]))?;
            if b != 0 {
                check(on, Binary::Div, &pair, &i64s(&[a / b]))?;
            }
            let (a, b) = (a.unsigned_abs().min(u32::MAX.into()), b.unsigned_abs());
            let pair = [u64s(&[a]), u64s(&[b])];
            check(on, Binary::Add, &pair, &u64s(&[a + b]))?;
            check(on, Binary::Sub, &pair, &u64s(&[a.wrapping_sub(b)]))?;
            check(on, Binary::Mul, &pair, &u64s(&[a * b]))?;
        }
    }
    Ok(())
}

/// Whether they are found in the graph or not: what reads them cannot tell.
fn indices(on: &Named) -> Result<(), Failed> {
    let ops: [Arc<dyn Operator>; 4] = [
        Arc::new(Take { axis: 0, batch_dims: 0 }),
        Arc::new(GatherElements { axis: 0 }),
        Arc::new(ScatterElements { axis: 0, reduction: Reduction::None }),
        Arc::new(ScatterElements { axis: 0, reduction: Reduction::Add }),
    ];
    for op in ops {
        for (index, right) in [(2, true), (-3, true), (3, false), (-4, false), (MOST, false)] {
            let mut g = GraphBuilder::new();
            let data = g.input("data", DType::I64, [3.into()])?;
            let at = g.input("at", DType::I64, [1.into()])?;
            let update = g.input("update", DType::I64, [1.into()])?;
            let scatters = op.name().starts_with("Scatter");
            let all = [Some(data), Some(at), Some(update)];
            let used = if scatters { &all[..] } else { &all[..2] };
            let y = g.node("the node", op.clone(), used)?[0];
            g.output("y", y)?;
            let options = SessionOptions::default();
            let mut session = Session::new_blocking(g.finish()?, &on.backend, options)?;
            let (data, at, update) = (i64s(&[5, 6, 7]), i64s(&[index]), i64s(&[1]));
            let run = session.run_blocking(&[("data", &data), ("at", &at), ("update", &update)]);
            match run {
                Ok(_) => assert!(right, "{op:?} takes {index}"),
                Err(error) => {
                    assert!(!right, "{op:?} of {index}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
                }
            }
        }
    }
    Ok(())
}

fn recovery(on: &Named) -> Result<(), Failed> {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::I64, [3.into()])?;
    let first = g.node("first", Arc::new(Binary::Mul), &[Some(x), Some(x)])?[0];
    let second = g.node("second", Arc::new(Binary::Add), &[Some(first), Some(first)])?[0];
    g.output("y", second)?;
    let mut session = Session::new_blocking(g.finish()?, &on.backend, SessionOptions::default())?;
    for (x, named) in [(1 << 20, Some("first")), (40_000, Some("second")), (30_000, None)] {
        let run = session.run_blocking(&[("x", &i64s(&[7, x, -x]))]);
        match (run, named.filter(|_| on.is_gpu())) {
            (Ok(results), None) => {
                assert_eq!(results[0].1.to_i64()?, [98, 2 * x * x, 2 * x * x]);
            }
            (Err(error), Some(named)) => assert!(error.to_string().contains(named), "{error}"),
            (run, named) => panic!("{run:?} instead of {named:?}"),
        }
    }
    if on.is_gpu() {
        let repeated = session.repeat_blocking(&[("x", &i64s(&[7, 1 << 20, 0]))], 2);
        assert_eq!(repeated.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    Ok(())
}

fn conversions(on: &Named) -> Result<(), Failed> {
    let (signed, unsigned) = (Cast { to: DType::I64 }, Cast { to: DType::U64 });
    for x in [0.0f32, -0.7, 1.5, 2147483520.0, -2147483648.0, 2147483648.0, 3e9, -3e9, 4e9, 5e9] {
        check(on, signed, &[f32s(&[x])], &i64s(&[x as i64]))?;
        check(on, unsigned, &[f32s(&[x])], &u64s(&[x as u64]))?;
    }
    if on.is_gpu() {
        for x in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            assert!(run(on, signed, &[f32s(&[x])]).is_err(), "{x}");
        }
    }
    for x in [0, 1, MOST as u32, u32::MAX] {
        let x32 = Tensor::new(DType::U32, &[1], x.to_le_bytes().to_vec())?;
        check(on, signed, std::slice::from_ref(&x32), &i64s(&[x.into()]))?;
        check(on, unsigned, &[x32], &u64s(&[x.into()]))?;
        check(on, signed, &[u64s(&[x.into()])], &i64s(&[x.into()]))?;
    }
    for x in [LEAST, -1, 0, MOST] {
        check(on, unsigned, &[i64s(&[x])], &u64s(&[x as u64]))?;
        check(on, unsigned, &[Tensor::from_i32(&[1], &[x as i32])?], &u64s(&[x as u64]))?;
    }
    Ok(())
}

fn inputs_and_constants(on: &Named) -> Result<(), Failed> {
    let large = i64s(&[1, MOST + 1]);
    let error = run(on, Binary::Min, &[i64s(&[1, 2]), large.clone()]);
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::I64, [2.into()])?;
    let c = g.constant("a large constant", large)?;
    let y = g.binary(Binary::Max, x, c)?;
    g.output("y", y)?;
    let session = Session::new_blocking(g.finish()?, &on.backend, SessionOptions::default());
    if on.is_gpu() {
        let error = error.unwrap_err();
        assert!(error.kind() == ErrorKind::Input && error.to_string().contains("'b'"), "{error}");
        let error = session.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains("a large constant"), "{error}");
    } else {
        assert_eq!(error?.to_i64()?, [1, 2]);
        assert_eq!(session?.run_blocking(&[("x", &i64s(&[5, 5]))])?[0].1.to_i64()?, [5, MOST + 1]);
    }
    Ok(())
}

fn states(on: &Named) -> Result<(), Failed> {
    let mut g = GraphBuilder::new();
    let s = g.state("s", DType::I64, [3.into()], None)?;
    let y = g.add(s, s)?;
    g.output("y", y)?;
    let mut session = Session::new_blocking(g.finish()?, &on.backend, SessionOptions::default())?;
    let values = [-5, MOST / 2, 9];
    on.backend.block_on(session.set_state("s", &i64s(&values)))?;
    assert_eq!(session.state_blocking("s")?.to_i64()?, values);
    assert_eq!(session.run_blocking(&[])?[0].1.to_i64()?, values.map(|v| 2 * v));
    let outside = i64s(&[0, 0, LEAST - 1]);
    let outside = on.backend.block_on(session.set_state("s", &outside));
    assert_eq!(outside.is_err(), on.is_gpu());
    Ok(())
}

const SMALL: [DType; 6] = [
    DType::F8E4M3FN,
    DType::F8E4M3FNUZ,
    DType::F8E5M2,
    DType::F8E5M2FNUZ,
    DType::F8E8M0,
    DType::F4E2M1,
];

fn codes(dtype: DType) -> std::ops::RangeInclusive<u8> {
    if dtype == DType::F4E2M1 { 0..=15 } else { 0..=255 }
}

/// Every value of a type, what lies half way to the next, and what is near both.
fn samples(dtype: DType) -> Vec<f32> {
    let mut values: Vec<f64> = codes(dtype).map(|code| small_float(dtype, code)).collect();
    values.retain(|v| v.is_finite() && *v >= 0.0);
    values.sort_by(f64::total_cmp);
    let between: Vec<f64> = values.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
    let beyond = values.last().map(|last| [last * 1.03, last * 1.1, last * 3.0]);
    values.extend(between);
    values.extend(beyond.into_iter().flatten());
    let near = [1.0, 1.0 - 1.0 / 1048576.0, 1.0 + 1.0 / 1048576.0];
    let mut all: Vec<f32> = values.iter().flat_map(|v| near.map(|n| (v * n) as f32)).collect();
    if dtype == DType::F8E8M0 {
        // Devices may take subnormal numbers for 0.
        all.retain(|v| *v == 0.0 || *v > 2.4e-38);
    } else {
        let negative: Vec<f32> = all.iter().map(|v| -v).collect();
        all.extend(negative);
        all.push(f32::NEG_INFINITY);
    }
    all.extend([f32::INFINITY, f32::NAN, 0.0]);
    all
}

fn small_floats(on: &Named) -> Result<(), Failed> {
    for to in SMALL {
        let x = samples(to);
        for saturate in [true, false] {
            for power in [PowerRounding::Up, PowerRounding::Down, PowerRounding::Nearest] {
                let rounding = SmallRounding { saturate, power };
                let got = run(on, CastSmall { to, rounding }, &[f32s(&x)])?;
                for (&x, &code) in x.iter().zip(got.bytes().iter()) {
                    let want = small_float_bits(to, x.into(), rounding);
                    assert_eq!(code, want, "{to} {rounding:?} of {x:e} ({:#x})", x.to_bits());
                }
                if to != DType::F8E8M0 {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn small_values(on: &Named) -> Result<(), Failed> {
    for dtype in SMALL {
        let all: Vec<u8> = codes(dtype).collect();
        let x = Tensor::new(dtype, &[all.len()], all.clone())?;
        let got = run(on, Cast { to: DType::F32 }, &[x])?.to_f32()?;
        for (&code, got) in all.iter().zip(got) {
            let want = small_float(dtype, code) as f32;
            let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
            assert!(same, "{dtype} {code:#x}: {got:e} instead of {want:e}");
        }
    }
    Ok(())
}
