//! The largest or smallest elements of lines on the CPU.

use super::TopKKernel;
use crate::error::{Error, Result};
use crate::kernels::{CpuCx, CpuTensor, CpuTensorMut};
use crate::tensor::DType;
use crate::threads::collect;
use bytemuck::Pod;
use half::{bf16, f16};
use std::cmp::Ordering;

pub(super) fn run(kernel: &TopKKernel, cx: &mut CpuCx<'_>) -> Result<()> {
    let x = cx.input(0)?;
    match x.dtype {
        DType::F32 => lines::<f32, f32>(kernel, &x, cx, |v| v),
        DType::F64 => lines::<f64, f64>(kernel, &x, cx, |v| v),
        DType::I16 => lines::<i16, i32>(kernel, &x, cx, i32::from),
        DType::U16 => lines::<u16, u32>(kernel, &x, cx, u32::from),
        DType::U64 => lines::<u64, u64>(kernel, &x, cx, |v| v),
        DType::F16 => lines::<f16, f32>(kernel, &x, cx, f16::to_f32),
        DType::BF16 => lines::<bf16, f32>(kernel, &x, cx, bf16::to_f32),
        DType::I8 => lines::<i8, i32>(kernel, &x, cx, i32::from),
        DType::U8 | DType::Bool => lines::<u8, u32>(kernel, &x, cx, u32::from),
        DType::I32 => lines::<i32, i32>(kernel, &x, cx, |v| v),
        DType::U32 => lines::<u32, u32>(kernel, &x, cx, |v| v),
        DType::I64 => lines::<i64, i64>(kernel, &x, cx, |v| v),
        other => Err(Error::unsupported("TopK", format!("{other} on the CPU"))),
    }
}

fn lines<T: Pod + Send + Sync, A: Pod + PartialOrd + Send + Sync>(
    kernel: &TopKKernel,
    x: &CpuTensor<'_>,
    cx: &mut CpuCx<'_>,
    read: fn(T) -> A,
) -> Result<()> {
    let n = kernel.spans.n.eval(cx.bindings)? as usize;
    let inner = kernel.spans.inner.eval(cx.bindings)? as usize;
    let (values, k) = (x.read::<T>(), kernel.k as usize);
    let [y, places] = cx.outputs.as_mut_slice() else {
        return Err(Error::internal("TopK with other than two outputs"));
    };
    let y = y.write::<A>()?;
    if y.is_empty() {
        return Ok(());
    }
    let line = |line: usize| {
        let start = line / inner * n * inner + line % inner;
        first(n, k, kernel.largest, |j| read(values[start + j * inner]))
    };
    let chosen: Vec<Vec<u32>> = collect(y.len() / k, 1, &line);
    let mut sink = Sink::of(places)?;
    for (line, chosen) in chosen.iter().enumerate() {
        let start = line / inner * n * inner + line % inner;
        for (rank, &j) in chosen.iter().enumerate() {
            let at = (line / inner * k + rank) * inner + line % inner;
            y[at] = read(values[start + j as usize * inner]);
            sink.put(at, j);
        }
    }
    Ok(())
}

/// The places of the first `k` of `n` elements, in order.
fn first<A: PartialOrd + Copy>(
    n: usize,
    k: usize,
    largest: bool,
    at: impl Fn(usize) -> A,
) -> Vec<u32> {
    let mut all: Vec<(A, u32)> = (0..n).map(|j| (at(j), j as u32)).collect();
    let order = |a: &(A, u32), b: &(A, u32)| {
        let values = a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal);
        let values = if largest { values.reverse() } else { values };
        values.then(a.1.cmp(&b.1))
    };
    if k < n {
        all.select_nth_unstable_by(k, order);
        all.truncate(k);
    }
    all.sort_unstable_by(order);
    all.into_iter().map(|(_, j)| j).collect()
}

/// Where places go.
enum Sink<'a> {
    I32(&'a mut [i32]),
    I64(&'a mut [i64]),
}

impl<'a> Sink<'a> {
    fn of(places: &'a mut CpuTensorMut<'_>) -> Result<Self> {
        match places.dtype {
            DType::I64 => Ok(Sink::I64(places.write()?)),
            _ => Ok(Sink::I32(places.write()?)),
        }
    }

    fn put(&mut self, at: usize, place: u32) {
        match self {
            Sink::I32(all) => all[at] = place as i32,
            Sink::I64(all) => all[at] = i64::from(place),
        }
    }
}
