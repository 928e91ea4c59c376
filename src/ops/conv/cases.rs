//! What convolutions are tried on.

use super::{Conv, ConvTranspose};
use crate::ops::Operator;
use crate::ops::elementwise::Unary;
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};
use std::sync::Arc;

fn f32s(extents: &[usize]) -> CaseInput {
    CaseInput::run(DType::F32, extents)
}

fn weight(extents: &[usize]) -> CaseInput {
    CaseInput::run(DType::F32, extents).constant()
}

fn shapes<const N: usize>(shapes: &[[usize; N]]) -> Vec<Vec<usize>> {
    shapes.iter().map(|shape| shape.to_vec()).collect()
}

/// `[n, c, h, w, m, kernel]`.
const PLANES: &[[usize; 6]] = &[
    [1, 1, 1, 1, 1, 1],
    [2, 3, 7, 5, 4, 3],
    [1, 17, 13, 11, 9, 3],
    [3, 5, 4, 33, 11, 2],
    [1, 2, 9, 9, 1, 5],
    [0, 3, 5, 5, 2, 3],
    [2, 0, 5, 5, 3, 3],
    [2, 3, 5, 5, 0, 3],
    [1, 8, 16, 20, 70, 3],
];

/// Channels and places enough for whole tiles of every variant.
const POINTS: &[[usize; 5]] =
    &[[1, 1, 1, 1, 1], [2, 7, 5, 3, 9], [1, 33, 8, 9, 65], [3, 130, 3, 3, 12], [1, 64, 16, 17, 66]];

/// Over a binding of 1 MiB: in samples, in channels, in weights, in the result.
const LARGE: &[[usize; 6]] = &[
    [9, 2, 129, 129, 1, 2],
    [1, 19, 120, 121, 2, 2],
    [1, 1031, 2, 3, 260, 1],
    [1, 1, 127, 120, 18, 1],
];

type Steps = (&'static str, [usize; 2], [usize; 2], [usize; 4]);

/// Strides, dilations and pads.
const STEPS: &[Steps] = &[
    ("padded", [1, 1], [1, 1], [1, 2, 0, 1]),
    ("strides", [2, 3], [1, 1], [1, 1, 1, 1]),
    ("dilations", [1, 1], [2, 3], [2, 3, 2, 3]),
    ("strides and dilations", [3, 2], [2, 3], [0, 2, 3, 0]),
    ("more padding than window", [2, 1], [1, 1], [4, 5, 3, 6]),
];

fn conv(steps: &Steps) -> Conv {
    let (_, strides, dilations, pads) = steps;
    Conv {
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        pads: pads.to_vec(),
        ..Conv::default()
    }
}

/// The cases of [`Conv`].
pub(crate) fn conv_cases() -> Vec<CaseFamily> {
    let plain = |s: &[usize]| [f32s(&s[..4]), weight(&[s[4], s[1], s[5], s[5]])];
    let mut cases = vec![CaseFamily::new("Conv 2-D", shapes(PLANES), move |s| {
        fits(s).then(|| Case::new(Conv::default(), plain(s)))
    })];
    cases.extend(STEPS.iter().map(|steps| {
        CaseFamily::new(format!("Conv 2-D, {}", steps.0), shapes(PLANES), move |s| {
            let op = conv(steps);
            op_fits(&op, s).then(|| Case::new(op, plain(s)))
        })
    }));
    cases.push(CaseFamily::new("Conv 1 by 1", shapes(POINTS), |s| {
        let w = weight(&[s[4], s[1], 1, 1]);
        Some(Case::new(Conv::default(), [f32s(&s[..4]), w, f32s(&[s[4]])]))
    }));
    cases.push(CaseFamily::new("Conv 1 by 1, strides", shapes(POINTS), |s| {
        let op = Conv { strides: vec![2, 2], ..Conv::default() };
        Some(Case::new(op, [f32s(&s[..4]), weight(&[s[4], s[1], 1, 1])]))
    }));
    cases.push(CaseFamily::new("Conv 2-D, computed weights", shapes(&PLANES[1..4]), move |s| {
        let op = Conv { pads: vec![1; 4], ..Conv::default() };
        Some(Case::new(op, [f32s(&s[..4]), f32s(&[s[4], s[1], s[5], s[5]]), f32s(&[s[4]])]))
    }));
    let large = CaseFamily::new("Conv 2-D, large", shapes(LARGE), move |s| {
        let op = Conv { pads: vec![1, 0, 0, 1], ..Conv::default() };
        let [x, w] = plain(s);
        Some(Case::new(op, [x, w, f32s(&[s[4]])]))
    });
    // Products that cancel: the bound follows the condition, not the result.
    let wide = CaseFamily::new("Conv 2-D, wide values", shapes(&PLANES[1..3]), move |s| {
        let wide = Values::Uniform(-1e4, 1e4);
        Some(Case::new(Conv::default(), plain(s).map(|input| input.values(wide.clone()))))
    });
    // More taps than what some drivers let one invocation go through.
    let long = CaseFamily::new("Conv 1-D, long sums", shapes(&[[37, 2003]]), |s| {
        let (x, w) = (f32s(&[1, s[0], s[1] + 2]), weight(&[1, s[0], s[1]]));
        (s[1] > 0).then(|| Case::new(Conv::default(), [x, w]))
    });
    cases.extend([large, wide, long]);
    cases.extend(groups(|group, pads| Conv { group, pads, ..Conv::default() }, false));
    cases.extend(dimensions());
    cases.extend(epilogues());
    cases
}

/// Whether the window fits into x.
fn fits(s: &[usize]) -> bool {
    op_fits(&Conv::default(), s)
}

fn op_fits(op: &Conv, s: &[usize]) -> bool {
    let reach = |i: usize| {
        let dilation = op.dilations.get(i).copied().unwrap_or(1);
        s[5].checked_sub(1).map(|n| n * dilation + 1)
    };
    let pad = |i: usize| op.pads.get(i).copied().unwrap_or(0);
    (0..2).all(|i| reach(i).is_some_and(|reach| s[2 + i] + pad(i) + pad(2 + i) >= reach))
}

/// `[n, groups, channels, size, outputs]` of each group: few and many of each.
fn groups<O: Operator>(
    op: fn(usize, Vec<usize>) -> O,
    transposed: bool,
) -> impl Iterator<Item = CaseFamily> {
    let sizes =
        [[1, 1, 1, 3, 1], [2, 5, 1, 9, 1], [1, 12, 1, 14, 2], [2, 3, 4, 7, 5], [1, 2, 9, 8, 37]];
    let large = [[2, 17, 1, 97, 1], [3, 5, 2, 131, 1]];
    let family = move |label: &str, sizes: Vec<Vec<usize>>| {
        CaseFamily::new(format!("{label}, groups"), sizes, move |s| {
            let (c, m) = (s[1] * s[2], s[1] * s[4]);
            let w = if transposed { [c, s[4], 3, 3] } else { [m, s[2], 3, 3] };
            let x = f32s(&[s[0], c, s[3], s[3] + 1]);
            let kind = s[1] > 0 && s[3] > 2;
            kind.then(|| Case::new(op(s[1], vec![1; 4]), [x, weight(&w), f32s(&[m])]))
        })
    };
    [family("2-D", shapes(&sizes)), family("large", shapes(&large))].into_iter()
}

/// One and three spatial axes.
fn dimensions() -> Vec<CaseFamily> {
    let line = shapes(&[[2, 3, 50, 5, 7], [1, 1, 1, 1, 1], [1, 20, 33, 9, 3]]);
    let cube = shapes(&[[1, 2, 4, 5, 6, 3, 2], [2, 3, 3, 3, 9, 9, 3], [1, 5, 2, 7, 4, 1, 1]]);
    let one = CaseFamily::new("Conv 1-D", line, |s| {
        let op = Conv {
            strides: vec![2],
            dilations: vec![3],
            pads: vec![3 * s[4], s[4]],
            ..Conv::default()
        };
        let w = weight(&[s[3], s[1], s[4]]);
        (s[4] > 0).then(|| Case::new(op, [f32s(&s[..3]), w, f32s(&[s[3]])]))
    });
    let three = |label: &str, op: fn() -> Conv| {
        CaseFamily::new(format!("Conv 3-D, {label}"), cube.clone(), move |s| {
            let w = weight(&[s[5], s[1], s[6], s[6].min(2), s[6]]);
            (s[6] > 0).then(|| Case::new(op(), [f32s(&s[..5]), w, f32s(&[s[5]])]))
        })
    };
    let steps = || Conv {
        strides: vec![2, 1, 3],
        dilations: vec![1, 2, 2],
        pads: vec![1, 2, 1, 0, 1, 3],
        ..Conv::default()
    };
    let padded = || Conv { pads: vec![1, 2, 1, 0, 1, 3], ..Conv::default() };
    vec![one, three("padded", padded), three("strides and dilations", steps)]
}

/// Bias, residual and activations.
fn epilogues() -> Vec<CaseFamily> {
    let mut cases = Vec::new();
    let activations = [
        Unary::Identity,
        Unary::Relu,
        Unary::Silu,
        Unary::Sigmoid,
        Unary::HardSwish,
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::Clip { min: 0.0, max: 6.0 },
    ];
    let sizes = shapes(&[[2, 3, 7, 5, 9, 3], [1, 20, 6, 6, 2, 1]]);
    for activation in [None].into_iter().chain(activations.map(Some)) {
        for (bias, residual) in [(false, true), (true, true), (true, false)] {
            let name = activation.map_or("no activation", Unary::name);
            let label = format!("Conv, bias {bias}, residual {residual}, {name}");
            cases.push(CaseFamily::new(label, sizes.clone(), move |s| {
                let pads = vec![s[5] / 2; 4];
                let op = Conv { pads, activation, ..Conv::default() };
                let fits = s[5] > 0 && (s[5] % 2 == 1);
                let mut inputs = vec![Some(f32s(&s[..4])), Some(weight(&[s[4], s[1], s[5], s[5]]))];
                inputs.push(bias.then(|| f32s(&[s[4]])));
                inputs.push(residual.then(|| f32s(&[s[0], s[4], s[2], s[3]])));
                fits.then(|| Case { op: Arc::new(op), inputs })
            }));
        }
    }
    cases
}

/// The cases of [`ConvTranspose`].
pub(crate) fn conv_transpose_cases() -> Vec<CaseFamily> {
    let plain = |s: &[usize]| [f32s(&s[..4]), weight(&[s[1], s[4], s[5], s[5]])];
    let some = |s: &[usize]| s[2] > 0 && s[3] > 0 && s[5] > 0;
    let mut cases = vec![CaseFamily::new("ConvTranspose 2-D", shapes(PLANES), move |s| {
        some(s).then(|| Case::new(ConvTranspose::default(), plain(s)))
    })];
    let steps: [Steps; 6] = [
        ("padded", [1, 1], [1, 1], [0, 1, 1, 0]),
        ("strides", [2, 3], [1, 1], [1, 0, 0, 1]),
        ("dilations", [1, 1], [2, 3], [1, 1, 1, 1]),
        ("strides and dilations", [3, 2], [2, 3], [0, 1, 1, 0]),
        // Here some phases meet no tap at all.
        ("strides that dilations share", [4, 6], [2, 4], [1, 0, 0, 1]),
        ("strides over the window", [7, 5], [1, 1], [0, 0, 0, 0]),
    ];
    cases.extend(steps.into_iter().map(|(name, strides, dilations, pads)| {
        CaseFamily::new(format!("ConvTranspose 2-D, {name}"), shapes(PLANES), move |s| {
            let op = ConvTranspose {
                strides: strides.to_vec(),
                dilations: dilations.to_vec(),
                pads: pads.to_vec(),
                output_padding: vec![1, 0],
                ..ConvTranspose::default()
            };
            let extent = |i: usize| (s[2 + i] - 1) * strides[i] + (s[5] - 1) * dilations[i] + 1;
            let left = some(s) && (0..2).all(|i| extent(i) >= pads[i] + pads[2 + i]);
            left.then(|| Case::new(op, plain(s)))
        })
    }));
    cases.push(CaseFamily::new("ConvTranspose 2-D, large", shapes(LARGE), move |s| {
        let op = ConvTranspose { strides: vec![1, 2], ..ConvTranspose::default() };
        let [x, w] = plain(s);
        some(s).then(|| Case::new(op, [x, w, f32s(&[s[4]])]))
    }));
    let transposed = |group, pads| ConvTranspose {
        strides: vec![2, 1],
        group,
        pads,
        ..ConvTranspose::default()
    };
    cases.extend(groups(transposed, true));
    cases.push(CaseFamily::new(
        "ConvTranspose 1-D",
        shapes(&[[2, 3, 50, 5, 7], [1, 1, 1, 1, 1]]),
        |s| {
            let op =
                ConvTranspose { strides: vec![5], dilations: vec![2], ..ConvTranspose::default() };
            let fits = s[2] > 0 && s[4] > 0;
            fits.then(|| Case::new(op, [f32s(&s[..3]), weight(&[s[1], s[3], s[4]]), f32s(&[s[3]])]))
        },
    ));
    let cube = shapes(&[[1, 2, 4, 5, 6, 3, 2], [2, 3, 3, 3, 4, 9, 3]]);
    cases.push(CaseFamily::new("ConvTranspose 3-D", cube, |s| {
        let op = ConvTranspose {
            strides: vec![2, 1, 3],
            dilations: vec![1, 2, 2],
            pads: vec![1, 0, 1, 0, 1, 0],
            activation: Some(Unary::Relu),
            ..ConvTranspose::default()
        };
        let fits = s.iter().all(|&n| n > 0) && s[2..5].iter().all(|&n| n > 1) && s[6] > 1;
        let w = weight(&[s[1], s[5], s[6], s[6], s[6]]);
        fits.then(|| Case::new(op, [f32s(&s[..5]), w, f32s(&[s[5]])]))
    }));
    cases
}
