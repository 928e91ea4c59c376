//! Chains on the CPU: block by block, so that what passes between steps stays in
//! the cache. Each step is the kernel of its operation on a block.

use super::{Chain, Layout, Map, Step, held};
use crate::error::{Error, Result};
use crate::graph::Bindings;
use crate::kernels::elementwise::cpu::layout;
use crate::kernels::{CpuCx, CpuTensor, CpuTensorMut, Kernel};
use crate::ops::elementwise::Arg;
use crate::tensor::{DType, SmallRounding};
use crate::threads::{self, PARALLEL, pieces};
use std::sync::OnceLock;

/// Elements of a block.
const BLOCK: usize = 4096;
/// The most elements that a thread takes at once.
const MOST: usize = 1 << 22;

/// Where a value comes from in each block.
enum Feed<'a> {
    /// As it lies in the input.
    Slice(&'a [u8]),
    /// Out of the input, element by element.
    Spread { bytes: &'a [u8], strides: Vec<usize> },
    /// Already there: the same number everywhere.
    Number(f64),
}

struct Operand<'a> {
    dtype: DType,
    feed: Feed<'a>,
}

impl Operand<'_> {
    /// Whether it has the type that it is held in.
    fn is_held(&self) -> bool {
        held(self.dtype) == self.dtype
    }

    /// Whether blocks of it are used where they lie.
    fn lies(&self) -> bool {
        matches!(self.feed, Feed::Slice(_)) && self.is_held()
    }

    fn block(&self, elements: usize) -> Block {
        let mut block = Block::new(held(self.dtype), elements);
        if let Feed::Number(number) = self.feed {
            block.fill(number);
        }
        block
    }
}

struct Run<'a> {
    steps: &'a [Step],
    operands: Vec<Operand<'a>>,
    /// For each step, the values it takes: operands, then results of steps.
    args: Vec<Vec<usize>>,
    dims: Vec<usize>,
    to: DType,
    bindings: &'a Bindings,
}

pub(super) fn run(chain: &Chain, cx: &mut CpuCx<'_>) -> Result<()> {
    let inputs: Vec<CpuTensor<'_>> =
        (0..cx.inputs.len()).map(|i| cx.input(i)).collect::<Result<_>>()?;
    let bindings = cx.bindings;
    let output = cx.output(0)?;
    let layout = layout(output, &inputs.iter().collect::<Vec<_>>());
    let run = Run::new(chain, &inputs, &layout, output.dtype, bindings);
    let (failed, width) = (OnceLock::new(), output.dtype.block_bytes());
    // Few pieces for each thread: the memory of the blocks is new in every one.
    let share = output.len() / (4 * threads::count());
    let piece = share.clamp(PARALLEL, MOST).next_multiple_of(BLOCK);
    pieces(output.bytes, piece * width, 1, &|number, bytes| {
        if let Err(error) = run.piece(number * piece, bytes) {
            // The first error is enough.
            let _ = failed.set(error);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

fn consts(dims: &[crate::graph::Dim]) -> Vec<usize> {
    dims.iter().filter_map(|dim| dim.as_const().map(|n| n as usize)).collect()
}

impl<'a> Run<'a> {
    fn new(
        chain: &'a Chain,
        inputs: &[CpuTensor<'a>],
        layout: &Layout,
        to: DType,
        bindings: &'a Bindings,
    ) -> Self {
        let mut operands = Vec::new();
        for (i, input) in inputs.iter().enumerate() {
            let feed = if layout.has[i].iter().all(|&has| has) {
                Feed::Slice(input.bytes)
            } else {
                Feed::Spread { bytes: input.bytes, strides: consts(&layout.strides(i)) }
            };
            operands.push(Operand { dtype: input.dtype, feed });
        }
        let numbers = chain.steps.iter().flat_map(|step| &step.args);
        let steps_at = inputs.len() + numbers.filter(|arg| matches!(arg, Arg::Number(..))).count();
        let mut args = Vec::new();
        for step in &chain.steps {
            let mut own = Vec::new();
            for arg in &step.args {
                own.push(match *arg {
                    Arg::Input(i) => i,
                    Arg::Step(i) => steps_at + i,
                    Arg::Number(value, dtype) => {
                        operands.push(Operand { dtype, feed: Feed::Number(value) });
                        operands.len() - 1
                    }
                });
            }
            args.push(own);
        }
        let dims = consts(&layout.dims);
        Run { steps: &chain.steps, operands, args, dims, to, bindings }
    }

    /// Computes the elements from `start` on.
    fn piece(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let width = self.to.block_bytes();
        let most = (out.len() / width).min(BLOCK);
        let mut values: Vec<Block> = self
            .operands
            .iter()
            .map(|operand| if operand.lies() { Block::none() } else { operand.block(most) })
            .chain(self.steps.iter().map(|step| Block::new(held(step.to), most)))
            .collect();
        let mut raw: Vec<Block> = self
            .operands
            .iter()
            .map(|operand| Block::new(operand.dtype, if operand.is_held() { 0 } else { most }))
            .collect();
        for (i, out) in out.chunks_mut(BLOCK * width).enumerate() {
            let (at, n) = (start + i * BLOCK, out.len() / width);
            for ((operand, raw), value) in self.operands.iter().zip(&mut raw).zip(&mut values) {
                self.feed(operand, at, n, raw, value)?;
            }
            self.block(&mut values, at, n, out)?;
        }
        Ok(())
    }

    /// Brings a block of an operand, in the type it is held in.
    fn feed(
        &self,
        operand: &Operand<'_>,
        at: usize,
        n: usize,
        raw: &mut Block,
        value: &mut Block,
    ) -> Result<()> {
        let size = operand.dtype.block_bytes();
        let x = match &operand.feed {
            Feed::Slice(bytes) if !operand.is_held() => {
                let bytes = &bytes[at * size..(at + n) * size];
                CpuTensor { dtype: operand.dtype, extents: vec![n], bytes }
            }
            Feed::Slice(_) | Feed::Number(_) => return Ok(()),
            Feed::Spread { bytes, strides } => {
                let place = if operand.is_held() { &mut *value } else { &mut *raw };
                let place = &mut place.bytes_mut()[..n * size];
                spread(&self.dims, strides, at, (bytes, size), place);
                if operand.is_held() {
                    return Ok(());
                }
                raw.read(n)
            }
        };
        self.call(CAST, vec![x], value.tensor(n))
    }

    /// A value that a step takes, of a block.
    fn value<'b>(
        &'b self,
        before: &'b [Block],
        index: usize,
        at: usize,
        n: usize,
        among_others: bool,
    ) -> CpuTensor<'b> {
        match self.operands.get(index) {
            Some(Operand { dtype, feed: Feed::Slice(bytes) }) if held(*dtype) == *dtype => {
                let size = dtype.block_bytes();
                let bytes = &bytes[at * size..(at + n) * size];
                CpuTensor { dtype: *dtype, extents: vec![n], bytes }
            }
            // The kernel repeats it; a step of numbers alone would have none to repeat for.
            Some(Operand { feed: Feed::Number(_), .. }) if among_others => before[index].read(1),
            _ => before[index].read(n),
        }
    }

    /// The steps on a block; the last writes to `out`.
    fn block(&self, values: &mut [Block], at: usize, n: usize, out: &mut [u8]) -> Result<()> {
        for (i, (step, args)) in self.steps.iter().zip(&self.args).enumerate() {
            let (before, own) = values.split_at_mut(self.operands.len() + i);
            let number = |&arg: &usize| {
                matches!(self.operands.get(arg), Some(Operand { feed: Feed::Number(_), .. }))
            };
            let mixed = !args.iter().all(number);
            let args: Vec<CpuTensor<'_>> =
                args.iter().map(|&arg| self.value(before, arg, at, n, mixed)).collect();
            let last = i + 1 == self.steps.len();
            let own = own.first_mut().ok_or_else(|| Error::internal("a step without a place"))?;
            let direct = held(step.to) == step.to || step.rounds();
            if last && direct {
                let y = CpuTensorMut { dtype: step.to, extents: vec![n], bytes: &mut *out };
                self.call(step.map, args, y)?;
            } else if step.rounds() && held(step.to) != step.to {
                let mut rounded = Block::new(step.to, n);
                self.call(step.map, args, rounded.tensor(n))?;
                self.call(CAST, vec![rounded.read(n)], own.tensor(n))?;
            } else {
                self.call(step.map, args, own.tensor(n))?;
                if last {
                    let y = CpuTensorMut { dtype: step.to, extents: vec![n], bytes: &mut *out };
                    self.call(CAST, vec![own.read(n)], y)?;
                }
            }
        }
        Ok(())
    }

    fn call(&self, map: Map, inputs: Vec<CpuTensor<'_>>, output: CpuTensorMut<'_>) -> Result<()> {
        let inputs = inputs.into_iter().map(Some).collect();
        map.cpu(&mut CpuCx {
            inputs,
            outputs: vec![output],
            bindings: self.bindings,
            allow_int8: false,
        })
    }
}

const CAST: Map = Map::Cast(SmallRounding::DEFAULT);

/// Elements of a dtype, aligned for all of them.
struct Block {
    dtype: DType,
    words: Vec<u64>,
}

impl Block {
    fn new(dtype: DType, elements: usize) -> Self {
        Block { dtype, words: vec![0; (elements * dtype.block_bytes()).div_ceil(8)] }
    }

    fn none() -> Self {
        Block { dtype: DType::U8, words: Vec::new() }
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words)
    }

    fn read(&self, n: usize) -> CpuTensor<'_> {
        let bytes = &self.bytes()[..n * self.dtype.block_bytes()];
        CpuTensor { dtype: self.dtype, extents: vec![n], bytes }
    }

    fn tensor(&mut self, n: usize) -> CpuTensorMut<'_> {
        let (dtype, size) = (self.dtype, n * self.dtype.block_bytes());
        CpuTensorMut { dtype, extents: vec![n], bytes: &mut self.bytes_mut()[..size] }
    }

    fn fill(&mut self, number: f64) {
        let element: Vec<u8> = match self.dtype {
            DType::F64 => number.to_le_bytes().to_vec(),
            dtype if dtype.is_float() => (number as f32).to_le_bytes().to_vec(),
            _ => (number as i64).to_le_bytes().to_vec(),
        };
        let size = self.dtype.block_bytes();
        repeat(self.bytes_mut(), &element[..size]);
    }
}

/// Fills bytes with an element, which is copied in ever longer runs.
fn repeat(out: &mut [u8], element: &[u8]) {
    let mut done = element.len().min(out.len());
    out[..done].copy_from_slice(&element[..done]);
    while done < out.len() {
        let more = done.min(out.len() - done);
        out.copy_within(..more, done);
        done += more;
    }
}

/// Elements from `start` on of an operand that is repeated: its bytes and the
/// size of an element, its stride along each of the result's dimensions.
fn spread(
    dims: &[usize],
    strides: &[usize],
    start: usize,
    (bytes, size): (&[u8], usize),
    out: &mut [u8],
) {
    let (Some((&inner, outer)), Some(&along)) = (dims.split_last(), strides.last()) else { return };
    let (mut flat, mut done) = (start, 0);
    while done < out.len() {
        let column = flat % inner;
        let (mut left, mut at) = (flat / inner, column * along);
        for (&n, &stride) in outer.iter().zip(strides).rev() {
            at += left % n * stride;
            left /= n;
        }
        let run = (inner - column).min((out.len() - done) / size);
        let place = &mut out[done..done + run * size];
        if along == 0 {
            repeat(place, &bytes[at * size..(at + 1) * size]);
        } else {
            place.copy_from_slice(&bytes[at * size..(at + run) * size]);
        }
        flat += run;
        done += run * size;
    }
}
