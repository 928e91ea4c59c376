//! Pools: the largest element, the mean or the power norm of windows.

mod cases;
mod geometry;
mod onnx;
mod reference;
mod whole;

pub(crate) use cases::{average_pool_cases, lp_pool_cases, max_pool_cases};
pub use geometry::Window;
pub(crate) use geometry::{PoolAxis, PoolGeometry};
pub(crate) use onnx::{ONNX, average_over, channels_last, channels_second};

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::pool::{Pool, PoolKernel};
use crate::tensor::DType;
use reference::Windows;

/// In which order the elements of a plane are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageOrder {
    /// The last spatial dimension is the fastest.
    RowMajor,
    /// The first spatial dimension is the fastest.
    ColumnMajor,
}

/// ONNX `MaxPool`: the largest element that a window meets; padding is not met.
/// Where it meets nothing else, the lowest number of the dtype.
///
/// | Input | Type |
/// |---|---|
/// | x | F32, I8 or U8, `[N, C, spatial..]`, one to three spatial dimensions |
///
/// Outputs: `[N, C, spatial..]` of x's dtype and, with `indices`, I32 of the
/// same shape: the number of the element in x, the first one's of equal ones.
/// Only N and C may be symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxPool {
    /// The window.
    pub window: Window,
    /// Whether there is a second output, and how it counts.
    pub indices: Option<StorageOrder>,
}

/// ONNX `AveragePool`: the mean of the elements that a window meets; 0 where it
/// meets none.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[N, C, spatial..]`, one to three spatial dimensions |
///
/// The output is F32 `[N, C, spatial..]`. Only N and C may be symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AveragePool {
    /// The window.
    pub window: Window,
    /// Whether padding counts as zeros. What a window has beyond it never does.
    pub count_include_pad: bool,
}

/// ONNX `LpPool`: `(Σ |x|^p)^(1/p)` over the elements that a window meets.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[N, C, spatial..]`, one to three spatial dimensions |
///
/// The output is F32 `[N, C, spatial..]`. Only N and C may be symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LpPool {
    /// The window.
    pub window: Window,
    /// The exponent, at least 1.
    pub p: u32,
}

const MAX_POOL: &str = "MaxPool";
const AVERAGE_POOL: &str = "AveragePool";
const LP_POOL: &str = "LpPool";

/// The largest exponent of [`LpPool`]: beyond it powers overflow early.
const MOST_P: u32 = 16;

impl Operator for MaxPool {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        MAX_POOL
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let y = infer(MAX_POOL, &self.window, &[DType::F32, DType::I8, DType::U8], inputs)?;
        let indices = self.indices.map(|_| TensorType::new(DType::I32, y.shape.clone()));
        Ok([y].into_iter().chain(indices).collect())
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let windows = Windows::new(MAX_POOL, &self.window, inputs)?;
        let (y, indices) = windows.largest(self.indices)?;
        Ok([y].into_iter().chain(indices).collect())
    }

    /// Comparisons are exact.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(cx.outputs.iter().map(|output| vec![0.0; output.len()]).collect())
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx, MAX_POOL, &self.window, Pool::Largest(self.indices))
    }
}

impl Operator for AveragePool {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        AVERAGE_POOL
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        Ok(vec![infer(AVERAGE_POOL, &self.window, &[DType::F32], inputs)?])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let windows = Windows::new(AVERAGE_POOL, &self.window, inputs)?;
        Ok(vec![windows.mean(self.count_include_pad)?])
    }

    /// The sum's roundings, and the 2.5 units in the last place of the quotient.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let windows = Windows::new(AVERAGE_POOL, &self.window, cx.inputs)?;
        Ok(vec![windows.mean_bound(self.count_include_pad, cx.arithmetic.unit())?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let include = self.count_include_pad;
        lower(cx, AVERAGE_POOL, &self.window, Pool::Mean { include })
    }
}

impl Operator for LpPool {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        LP_POOL
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        if !(1..=MOST_P).contains(&self.p) {
            return Err(Error::rule(LP_POOL, format!("p must be 1 to {MOST_P}, got {}", self.p)));
        }
        Ok(vec![infer(LP_POOL, &self.window, &[DType::F32], inputs)?])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        Ok(vec![Windows::new(LP_POOL, &self.window, inputs)?.norm(self.p)?])
    }

    /// A power has p - 1 roundings and the sum as many as it has terms; the root
    /// takes a p-th part of that. The root itself is `exp2(log2(sum) / p)`, for
    /// 2 the square root, whose accuracy is in the WGSL specification.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let windows = Windows::new(LP_POOL, &self.window, cx.inputs)?;
        Ok(vec![windows.norm_bound(self.p, cx.arithmetic.unit())?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx, LP_POOL, &self.window, Pool::Norm { p: self.p })
    }
}

fn infer(
    op: &'static str,
    window: &Window,
    dtypes: &[DType],
    inputs: &[Option<&TensorType>],
) -> Result<TensorType> {
    let rules = Rules::new(op, &["x"], 1, inputs)?;
    rules.dtype(0, dtypes)?;
    let x = rules.input(0)?;
    let geometry = window.over(x).map_err(|what| Error::rule(op, what))?;
    Ok(TensorType::new(x.dtype, geometry.output()))
}

fn lower(cx: &mut Lowering<'_>, op: &str, window: &Window, pool: Pool) -> Result<()> {
    let x = cx.input(0)?;
    let geometry = window.over(&x.ty).map_err(|what| Error::rule(op, what))?;
    let mut outputs = vec![cx.output(0)?];
    if matches!(pool, Pool::Largest(Some(_))) {
        outputs.push(cx.output(1)?);
    }
    cx.call(PoolKernel { geometry, pool }, &[Some(x)], &outputs);
    Ok(())
}

impl GraphBuilder {
    /// The largest elements of windows of `x` `[N, C, spatial..]`; see [`MaxPool`].
    ///
    /// # Errors
    /// If the window does not fit.
    pub fn max_pool(&mut self, x: ValueId, window: Window) -> Result<ValueId> {
        self.op1(MaxPool { window, indices: None }, &[x])
    }

    /// The means of windows of `x` `[N, C, spatial..]`; see [`AveragePool`].
    ///
    /// # Errors
    /// If the window does not fit.
    pub fn average_pool(&mut self, x: ValueId, window: Window) -> Result<ValueId> {
        self.op1(AveragePool { window, count_include_pad: false }, &[x])
    }
}
