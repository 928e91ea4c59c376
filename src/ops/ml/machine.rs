//! `SVMClassifier`: support vector machines for each pair of classes, and what they
//! say together. Computed on the host: how likely the classes are is found by an
//! iteration that ends when it is near enough, which differs from row to row.

use crate::error::Result;
use crate::onnx::{HostCx, HostOperator, HostResults, When};
use crate::ops::{RefData, RefTensor};
use crate::tensor::Tensor;

pub(crate) const HOST: &[HostOperator] = &[HostOperator {
    domain: "ai.onnx.ml",
    name: "SVMClassifier",
    since: 1,
    when: When::Always,
    compute: classify,
}];

/// What is alike to what.
enum Kernel {
    Linear,
    Polynomial,
    Radial,
    Sigmoid,
}

/// The attributes.
struct Machine {
    kernel: Kernel,
    /// gamma, what is added, the degree
    parameters: [f64; 3],
    columns: usize,
    /// Where the vectors of each class begin, and where the last end.
    begins: Vec<usize>,
    /// `[vectors, columns]`
    vectors: Vec<f32>,
    /// `[classes - 1, vectors]`
    weights: Vec<f32>,
    /// One for each pair of classes, as all below.
    rho: Vec<f32>,
    /// What makes probabilities of scores; empty if none are asked for.
    slopes: Vec<f32>,
    offsets: Vec<f32>,
}

fn classify(cx: &HostCx<'_>) -> Result<HostResults> {
    let x = cx.input(0)?;
    let (rows, columns) = match *x.extents() {
        [columns] if columns > 0 => (1, columns),
        [rows, columns] if columns > 0 => (rows, columns),
        _ => return Err(cx.broken(format!("an input {:?} is no matrix with columns", x.extents()))),
    };
    let machine = Machine::of(cx, columns)?;
    let values = match RefTensor::from_tensor(x)?.data {
        RefData::Real(values) => values,
        RefData::Int(values) => values.into_iter().map(|value| value as f64).collect(),
    };
    let (mut places, mut scores) = (Vec::with_capacity(rows), Vec::new());
    for row in values.chunks_exact(columns) {
        let pairs = machine.pairs(row);
        places.push(machine.chosen(&pairs));
        scores.extend(machine.scores(&pairs));
    }
    let wide = scores.len() / places.len().max(1);
    let scores: Vec<f32> = scores.into_iter().map(|score| score as f32).collect();
    let scores = Tensor::from_f32(&[places.len(), wide], &scores)?;
    Ok(vec![Some(labels(cx, &places, machine.classes())?), Some(scores)])
}

/// The labels of classes by their numbers.
fn labels(cx: &HostCx<'_>, places: &[usize], classes: usize) -> Result<Tensor> {
    let short = |count| cx.broken(format!("{count} labels of {classes} classes"));
    let words = cx.attributes().strings("classlabels_strings")?.unwrap_or_default();
    if !words.is_empty() {
        let label = |&at: &usize| words.get(at).copied().ok_or_else(|| short(words.len()));
        let words = places.iter().map(label).collect::<Result<Vec<_>>>()?;
        return Tensor::from_strings(&[words.len()], &words);
    }
    let ints = cx.attributes().ints("classlabels_ints")?.unwrap_or_default();
    let label = |&at: &usize| ints.get(at).copied().ok_or_else(|| short(ints.len()));
    let ints = places.iter().map(label).collect::<Result<Vec<i64>>>()?;
    Tensor::from_i64(&[ints.len()], &ints)
}

impl Machine {
    fn of(cx: &HostCx<'_>, columns: usize) -> Result<Self> {
        let floats = |name: &str| -> Result<Vec<f32>> {
            Ok(cx.attributes().floats(name)?.map(<[f32]>::to_vec).unwrap_or_default())
        };
        let kernel = match cx.string("kernel_type", "LINEAR")? {
            "LINEAR" => Kernel::Linear,
            "POLY" => Kernel::Polynomial,
            "RBF" => Kernel::Radial,
            "SIGMOID" => Kernel::Sigmoid,
            other => return Err(cx.broken(format!("kernel_type '{other}'"))),
        };
        let transform = cx.string("post_transform", "NONE")?;
        if transform != "NONE" {
            return Err(cx.unsupported(format!("post_transform '{transform}'")));
        }
        let given = floats("kernel_params")?;
        let parameters = [0, 1, 2].map(|at| given.get(at).copied().unwrap_or(0.0).into());
        let counts = cx.attributes().ints("vectors_per_class")?.unwrap_or_default();
        if counts.len() < 2 {
            return Err(cx.unsupported(format!("vectors_per_class {counts:?}")));
        }
        let mut begins = vec![0usize];
        for &count in counts {
            let end =
                usize::try_from(count).ok().and_then(|n| begins[begins.len() - 1].checked_add(n));
            begins.push(end.ok_or_else(|| cx.broken(format!("vectors_per_class {counts:?}")))?);
        }
        let machine = Machine {
            kernel,
            parameters,
            columns,
            begins,
            vectors: floats("support_vectors")?,
            weights: floats("coefficients")?,
            rho: floats("rho")?,
            slopes: floats("prob_a")?,
            offsets: floats("prob_b")?,
        };
        machine.check(cx)?;
        Ok(machine)
    }

    fn check(&self, cx: &HostCx<'_>) -> Result<()> {
        let (classes, vectors) = (self.classes(), self.count());
        let pairs = classes * (classes - 1) / 2;
        let likely = [&self.slopes, &self.offsets].map(Vec::len);
        let fits = Some(self.vectors.len()) == vectors.checked_mul(self.columns)
            && Some(self.weights.len()) == vectors.checked_mul(classes - 1)
            && self.rho.len() == pairs
            && (likely == [0, 0] || likely == [pairs, pairs]);
        match fits {
            true => Ok(()),
            false => Err(cx.broken(format!(
                "{} numbers of {vectors} vectors, {} coefficients, {} rho and {likely:?} of \
                 probabilities do not fit {} columns and {classes} classes",
                self.vectors.len(),
                self.weights.len(),
                self.rho.len(),
                self.columns,
            ))),
        }
    }

    fn classes(&self) -> usize {
        self.begins.len() - 1
    }

    fn count(&self) -> usize {
        self.begins[self.classes()]
    }

    fn alike(&self, row: &[f64], vector: &[f32]) -> f64 {
        let [gamma, add, degree] = self.parameters;
        let both = || row.iter().zip(vector).map(|(&x, &v)| (x, f64::from(v)));
        let dot: f64 = both().map(|(x, v)| x * v).sum();
        match self.kernel {
            Kernel::Linear => dot,
            Kernel::Polynomial => (gamma * dot + add).powf(degree),
            Kernel::Sigmoid => (gamma * dot + add).tanh(),
            Kernel::Radial => {
                let far: f64 = both().map(|(x, v)| (x - v) * (x - v)).sum();
                (-gamma * far).exp()
            }
        }
    }

    /// The scores of each pair of classes: above 0 for the first of the two.
    fn pairs(&self, row: &[f64]) -> Vec<f64> {
        let vectors = self.vectors.chunks_exact(self.columns);
        let alike: Vec<f64> = vectors.map(|vector| self.alike(row, vector)).collect();
        let part = |class: usize, against: usize| -> f64 {
            let own = self.begins[class]..self.begins[class + 1];
            let weights = &self.weights[against * self.count()..][own.clone()];
            weights.iter().zip(&alike[own]).map(|(&w, a)| f64::from(w) * a).sum()
        };
        let mut scores = Vec::with_capacity(self.rho.len());
        for i in 0..self.classes() {
            for j in i + 1..self.classes() {
                let rho = f64::from(self.rho[scores.len()]);
                scores.push(part(i, j - 1) + part(j, i) + rho);
            }
        }
        scores
    }

    /// The class that wins most pairs; of equal ones the first.
    fn chosen(&self, pairs: &[f64]) -> usize {
        let mut votes = vec![0; self.classes()];
        let mut pairs = pairs.iter();
        for i in 0..self.classes() {
            for (j, &score) in (i + 1..self.classes()).zip(&mut pairs) {
                votes[if score > 0.0 { i } else { j }] += 1;
            }
        }
        let most = votes.iter().max().copied().unwrap_or(0);
        votes.iter().position(|&count| count == most).unwrap_or(0)
    }

    /// The second output of a row.
    fn scores(&self, pairs: &[f64]) -> Vec<f64> {
        match (self.slopes.is_empty(), pairs) {
            (true, &[score]) => vec![-score, score],
            (true, _) => pairs.to_vec(),
            (false, _) => coupled(self.classes(), &self.against(pairs)),
        }
    }

    /// How likely each class is against each other one, `[classes, classes]`.
    fn against(&self, pairs: &[f64]) -> Vec<f64> {
        const LEAST: f64 = 1e-7;
        let n = self.classes();
        let mut all = vec![0.0; n * n];
        let mut numbers = 0..pairs.len();
        for i in 0..n {
            for (j, at) in (i + 1..n).zip(&mut numbers) {
                let (slope, offset) = (f64::from(self.slopes[at]), f64::from(self.offsets[at]));
                let likely = 1.0 / (1.0 + (pairs[at] * slope + offset).exp());
                let likely = likely.clamp(LEAST, 1.0 - LEAST);
                (all[i * n + j], all[j * n + i]) = (likely, 1.0 - likely);
            }
        }
        all
    }
}

/// The probabilities of classes that agree best with those of pairs: the second method
/// of Wu, Lin and Weng (2004), stopped where LIBSVM stops.
fn coupled(n: usize, against: &[f64]) -> Vec<f64> {
    let near = 0.005 / n as f64;
    let mut q = vec![0.0; n * n];
    for t in 0..n {
        for j in (0..n).filter(|&j| j != t) {
            let (to, from) = (against[j * n + t], against[t * n + j]);
            q[t * n + t] += to * to;
            q[t * n + j] = -to * from;
        }
    }
    let mut p = vec![1.0 / n as f64; n];
    for _ in 0..n.max(100) {
        let mut qp: Vec<f64> =
            q.chunks_exact(n).map(|row| row.iter().zip(&p).map(|(q, p)| q * p).sum()).collect();
        let mut pqp: f64 = qp.iter().zip(&p).map(|(qp, p)| qp * p).sum();
        if qp.iter().all(|qp| (qp - pqp).abs() < near) {
            break;
        }
        for t in 0..n {
            let own = q[t * n + t];
            let step = (pqp - qp[t]) / own;
            p[t] += step;
            let whole = 1.0 + step;
            pqp = (pqp + step * (step * own + 2.0 * qp[t])) / whole / whole;
            for j in 0..n {
                qp[j] = (qp[j] + step * q[t * n + j]) / whole;
                p[j] /= whole;
            }
        }
    }
    p
}
