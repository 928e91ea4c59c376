//! The ceiling of cooperative matrices: products of matrices that stay in registers, as
//! an operator of an application, so that it is planned, run and checked like any other.

use wginfer::gpu::ShaderRequest;
use wginfer::graph::{Dim, TensorType};
use wginfer::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Place, View};
use wginfer::ops::{BoundCx, Lowering, Operator, RefTensor};
use wginfer::{DType, Error, Result};

const NAME: &str = "CoopMultiplyAdd";
/// Subgroups of a workgroup.
const SUBGROUPS: usize = 4;
/// Matrices of A and of B that a subgroup has: each of A meets each of B.
const LEFT: usize = 2;
const RIGHT: usize = 4;

/// `[subgroups, 8, size, size]` in F32: `steps` times `A_i * transpose(B_j)` for each of
/// two A and four B, which are F16 `[2, size, size]` and `[4, size, size]`.
#[derive(Debug, Clone, Copy)]
pub struct CoopMultiplyAdd {
    /// Rows and columns of a matrix.
    pub size: u32,
    pub steps: u32,
    pub workgroups: usize,
}

impl CoopMultiplyAdd {
    /// What all subgroups compute; a multiply-add is two.
    pub fn operations(self) -> u64 {
        let product = 2 * u64::from(self.size).pow(3);
        (self.workgroups * SUBGROUPS * LEFT * RIGHT) as u64 * u64::from(self.steps) * product
    }

    /// The extents of A and of B.
    pub fn operands(self) -> [[usize; 3]; 2] {
        let size = self.size as usize;
        [[LEFT, size, size], [RIGHT, size, size]]
    }

    fn extents(self) -> [usize; 4] {
        let size = self.size as usize;
        [self.workgroups * SUBGROUPS, LEFT * RIGHT, size, size]
    }

    /// For each element of one subgroup's matrices: a function of the products that its
    /// sum has, with the operands' signs or without.
    fn sums(self, a: &[f64], b: &[f64], product: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let mut sums = Vec::new();
        for a in a.chunks(a.len() / LEFT) {
            for b in b.chunks(b.len() / RIGHT) {
                for row in a.chunks(self.size as usize) {
                    for column in b.chunks(self.size as usize) {
                        sums.push(row.iter().zip(column).map(|(&x, &y)| product(x, y)).sum());
                    }
                }
            }
        }
        sums
    }

    /// The same for all subgroups.
    fn all(self, sums: &[f64], each: impl Fn(f64) -> f64) -> Vec<f64> {
        let values: Vec<f64> = sums.iter().map(|&sum| each(sum)).collect();
        values.repeat(self.workgroups * SUBGROUPS)
    }
}

impl Operator for CoopMultiplyAdd {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let of = |dtype, extents: &[usize]| {
            TensorType::new(dtype, extents.iter().map(|&n| Dim::from(n as u64)).collect::<Vec<_>>())
        };
        let wanted = self.operands().map(|extents| of(DType::F16, &extents));
        match inputs {
            [Some(a), Some(b)] if **a == wanted[0] && **b == wanted[1] => {
                Ok(vec![of(DType::F32, &self.extents())])
            }
            other => Err(Error::Graph {
                node: String::new(),
                op: NAME.into(),
                what: format!("takes {wanted:?}, got {other:?}"),
            }),
        }
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let [a, b] = [0, 1].map(|i| inputs[i].expect("inferred"));
        let sums = self.sums(a.reals()?, b.reals()?, |x, y| x * y);
        let y = self.all(&sums, |sum| f64::from(self.steps) * sum);
        Ok(vec![RefTensor::real(DType::F32, &self.extents(), y)])
    }

    /// Every product is added once, and each addition may cut instead of rounding, as
    /// hardware for matrices does: twice the unit of what is there at most.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let steps = f64::from(self.steps);
        let unit = 2.0 * f64::powi(2.0, -24) * (steps * f64::from(self.size) + 2.0);
        let (a, b) = (cx.input(0)?.reals()?, cx.input(1)?.reals()?);
        let sums = self.sums(a, b, |x, y| (x * y).abs());
        Ok(vec![self.all(&sums, |sum| unit * steps * sum)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (a, b, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        cx.call(*self, &[Some(a), Some(b)], &[y]);
        Ok(())
    }
}

impl Kernel for CoopMultiplyAdd {
    fn name(&self) -> &str {
        "bench.coop_multiply_add"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let lanes = match cx.caps.max_subgroup_size {
            0 => 32,
            size => size,
        };
        let source = include_str!("coop_multiply_add.wgsl");
        let request = ShaderRequest::from_source("bench/coop_multiply_add", source)
            .with("LANES", lanes)
            .with("SIZE", self.size);
        Ok(vec![Dispatch {
            shader: if self.size == 16 { request.feature("size_16") } else { request },
            variant: "bench/coop_multiply_add".into(),
            bindings: vec![
                ("a", View::all(Place::Input(0))),
                ("b", View::all(Place::Input(1))),
                ("y", View::all(Place::Output(0))),
            ],
            params: vec![("steps", self.steps.into())],
            grid: Grid::Linear((self.workgroups as u64).into()),
            work: self.operations().into(),
        }])
    }

    fn cpu(&self, _: &mut CpuCx<'_>) -> Result<()> {
        Err(Error::Graph {
            node: String::new(),
            op: NAME.into(),
            what: "CPUs have no cooperative matrices".into(),
        })
    }
}
