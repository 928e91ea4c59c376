//! What pools are tried on.

use super::{AveragePool, LpPool, MaxPool, StorageOrder, Window};
use crate::ops::Operator;
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// `[n, c, h, w, kernel]`.
const PLANES: &[[usize; 5]] = &[
    [1, 1, 1, 1, 1],
    [2, 3, 7, 5, 3],
    [1, 5, 13, 9, 2],
    [3, 1, 4, 33, 4],
    [0, 2, 5, 5, 3],
    [1, 0, 5, 5, 3],
];

/// Over a binding of 1 MiB, with planes that end anywhere.
const LARGE: &[[usize; 5]] = &[[3, 7, 113, 115, 2]];
/// The same for elements of one byte.
const LARGE_BYTES: &[[usize; 5]] = &[[3, 7, 231, 233, 2]];

fn shapes<const N: usize>(shapes: &[[usize; N]]) -> Vec<Vec<usize>> {
    shapes.iter().map(|shape| shape.to_vec()).collect()
}

/// A window for a number of taps, with what is special about it.
type Kind = (&'static str, fn(usize) -> Window);

/// Every way for a window to move over planes.
fn windows() -> Vec<Kind> {
    fn plain(k: usize) -> Window {
        Window { kernel_shape: vec![k, k], ..Window::default() }
    }
    vec![
        ("plain", plain),
        ("padded", |k| Window { pads: vec![1, 0, 0, 1], ..plain(k) }),
        ("strides", |k| Window { strides: vec![2, 3], pads: vec![1; 4], ..plain(k) }),
        ("dilations", |k| Window { dilations: vec![2, 1], pads: vec![1, 1, 2, 0], ..plain(k) }),
        ("ceil", |k| Window {
            strides: vec![3, 2],
            dilations: vec![1, 2],
            pads: vec![1; 4],
            ceil_mode: true,
            ..plain(k)
        }),
        // Some windows meet nothing but padding.
        ("more padding than window", |k| Window { pads: vec![5, 1, 2, 6], ..plain(k) }),
    ]
}

fn family<O: Operator>(
    label: String,
    sizes: Vec<Vec<usize>>,
    values: Values,
    dtype: DType,
    op: impl Fn(&[usize]) -> Option<O> + Send + Sync + 'static,
) -> CaseFamily {
    CaseFamily::new(label, sizes, move |s| {
        let op = op(s)?;
        let x = CaseInput::run(dtype, &s[..s.len() - 1]).values(values.clone());
        // Shrinking may take the window's room away.
        let ty = crate::graph::TensorType::new(
            dtype,
            x.extents.iter().map(|&n| n.into()).collect::<Vec<_>>(),
        );
        op.infer(&[Some(&ty)]).is_ok().then(|| Case::new(op, [x]))
    })
}

/// The cases of a pool of F32 that is made of a window.
fn cases<O: Operator>(name: &str, op: fn(Window) -> O, values: &Values) -> Vec<CaseFamily> {
    let mut cases = Vec::new();
    for (label, window) in windows() {
        let label = format!("{name} 2-D, {label}");
        let op = move |s: &[usize]| Some(op(window(s[4])));
        cases.push(family(label, shapes(PLANES), values.clone(), DType::F32, op));
    }
    let large = move |s: &[usize]| {
        let kernel_shape = vec![s[4]; 2];
        Some(op(Window { kernel_shape, pads: vec![1, 0, 1, 0], ..Window::default() }))
    };
    let label = format!("{name} 2-D, large");
    cases.push(family(label, shapes(LARGE), values.clone(), DType::F32, large));
    let line = move |s: &[usize]| {
        let kernel_shape = vec![s[3]];
        Some(op(Window { kernel_shape, strides: vec![2], ceil_mode: true, ..Window::default() }))
    };
    // A window longer than what some drivers let one invocation go through.
    let lines = shapes(&[[2, 3, 50, 5], [1, 1, 1, 1], [1, 2, 30020, 30011]]);
    cases.push(family(format!("{name} 1-D"), lines, values.clone(), DType::F32, line));
    let cube = move |s: &[usize]| {
        Some(op(Window {
            kernel_shape: vec![s[5], 1 + s[5] / 2, s[5]],
            strides: vec![1, 2, 1],
            dilations: vec![2, 1, 1],
            pads: vec![1, 0, 1, 0, 1, 1],
            ceil_mode: true,
        }))
    };
    let cubes = shapes(&[[1, 2, 4, 5, 6, 2], [2, 1, 5, 4, 9, 3]]);
    cases.push(family(format!("{name} 3-D"), cubes, values.clone(), DType::F32, cube));
    cases
}

/// The cases of [`MaxPool`].
pub(crate) fn max_pool_cases() -> Vec<CaseFamily> {
    let normal = Values::Normal(1.0);
    let mut cases = cases("MaxPool", |window| MaxPool { window, indices: None }, &normal);
    // Few different values, so that many are equal.
    let whole = Values::Whole(-3, 4);
    for order in [StorageOrder::RowMajor, StorageOrder::ColumnMajor] {
        for (label, window) in windows() {
            let label = format!("MaxPool with indices {order:?}, {label}");
            let op =
                move |s: &[usize]| Some(MaxPool { window: window(s[4]), indices: Some(order) });
            cases.push(family(label, shapes(&PLANES[..4]), whole.clone(), DType::F32, op));
        }
        let cube = move |s: &[usize]| {
            let window = Window { kernel_shape: vec![s[5]; 3], ..Window::default() };
            Some(MaxPool { window, indices: Some(order) })
        };
        let label = format!("MaxPool 3-D with indices {order:?}");
        let cubes = shapes(&[[2, 3, 4, 5, 6, 2], [1, 1, 1, 1, 1, 1]]);
        cases.push(family(label, cubes, whole.clone(), DType::F32, cube));
    }
    let indexed = |s: &[usize]| {
        let window = Window { kernel_shape: vec![s[4]; 2], ..Window::default() };
        Some(MaxPool { window, indices: Some(StorageOrder::RowMajor) })
    };
    let label = "MaxPool with indices, large".to_string();
    cases.push(family(label, shapes(LARGE), whole, DType::F32, indexed));
    for (dtype, values) in
        [(DType::I8, Values::Whole(-128, 128)), (DType::U8, Values::Whole(0, 256))]
    {
        for (label, window) in windows() {
            let label = format!("MaxPool {dtype}, {label}");
            let op = move |s: &[usize]| Some(MaxPool { window: window(s[4]), indices: None });
            cases.push(family(label, shapes(PLANES), values.clone(), dtype, op));
        }
        let large = |s: &[usize]| {
            let window = Window { kernel_shape: vec![s[4]; 2], ..Window::default() };
            Some(MaxPool { window, indices: None })
        };
        let label = format!("MaxPool {dtype}, large");
        cases.push(family(label, shapes(LARGE_BYTES), values.clone(), dtype, large));
        let label = format!("MaxPool {dtype} with indices");
        cases.push(family(label, shapes(PLANES), values, dtype, indexed));
    }
    cases
}

/// The cases of [`AveragePool`].
pub(crate) fn average_pool_cases() -> Vec<CaseFamily> {
    let normal = Values::Normal(1.0);
    let without = |window| AveragePool { window, count_include_pad: false };
    let with = |window| AveragePool { window, count_include_pad: true };
    let mut all = cases("AveragePool", without, &normal);
    all.extend(cases("AveragePool with padding", with, &normal));
    all
}

/// The cases of [`LpPool`].
pub(crate) fn lp_pool_cases() -> Vec<CaseFamily> {
    let normal = Values::Normal(1.0);
    let mut all = cases("LpPool 2", |window| LpPool { window, p: 2 }, &normal);
    for p in [1, 3, 7] {
        let op = move |s: &[usize]| {
            let window =
                Window { kernel_shape: vec![s[4]; 2], pads: vec![1; 4], ..Window::default() };
            Some(LpPool { window, p })
        };
        let label = format!("LpPool {p}");
        all.push(family(label, shapes(PLANES), normal.clone(), DType::F32, op));
    }
    all
}
