//! 64-bit integers on every backend: 64 bits on the CPU, 32 on a device, and
//! what does not fit there is an error that says where.

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
use wginfer::ops::elementwise::{Binary, Cast};
use wginfer::{DType, Error, ErrorKind, Session, SessionOptions, Tensor};

type Body = fn(&Named) -> Result<(), Failed>;

const BODIES: &[(&str, Body)] = &[
    ("arithmetic_that_overflows_is_an_error", overflow),
    ("the_first_node_is_named_and_the_next_run_is_well", recovery),
    ("conversions_that_do_not_fit_are_errors", conversions),
    ("inputs_and_constants_are_checked", inputs_and_constants),
    ("states_are_checked_and_survive", states),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends::all() {
        for (name, body) in BODIES {
            let backend = backend.clone();
            trials.push(Trial::test(format!("integers::{}::{name}", backend.name), move || {
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
