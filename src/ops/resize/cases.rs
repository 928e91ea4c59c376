//! What the operators are tried on.

use super::{GridSample, Outside, Resample, RoiAlign, Sampling};
use crate::tensor::{DType, Tensor};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// Shapes are `[outer, N, inner, M, taps]`.
pub(crate) fn resample_cases() -> Vec<CaseFamily> {
    let shapes = [
        [1, 1, 1, 1, 1],
        [3, 5, 7, 11, 2],
        [2, 17, 1, 5, 4],
        [4, 3, 2, 0, 2],
        [0, 3, 2, 4, 2],
        [2, 31, 3, 13, 9],
    ];
    let case = |axis: i64, d: &[usize]| {
        let &[outer, n, inner, m, taps] = d else { return None };
        let most = n as i64;
        let x = CaseInput::run(DType::F32, &[outer, n, inner]);
        let indices = CaseInput::run(DType::I32, &[m, taps]).values(Values::Whole(0, most));
        let weights = CaseInput::run(DType::F32, &[m, taps]);
        let inputs = [x, indices.constant(), weights.constant()];
        (n > 0 && taps > 0).then(|| Case::new(Resample { axis }, inputs))
    };
    let list = shapes.map(Vec::from);
    let large = vec![vec![3, 401, 307, 399, 2], vec![200_003, 2, 1, 3, 2]];
    vec![
        CaseFamily::new("F32", list, move |d| case(1, d)),
        CaseFamily::new("F32 over 1 MiB", large, move |d| case(-2, d)),
    ]
}

/// Shapes are `[N, C, H, W, H', W']`, with one more before H and H' for volumes.
pub(crate) fn grid_cases() -> Vec<CaseFamily> {
    let planes = [
        [1, 1, 1, 1, 1, 1],
        [2, 3, 5, 7, 4, 3],
        [1, 2, 9, 4, 11, 13],
        [1, 2, 3, 4, 0, 5],
        [0, 1, 2, 2, 3, 3],
    ];
    let volumes = [[1, 1, 1, 1, 1, 1, 1, 1], [2, 3, 2, 5, 3, 4, 3, 2], [1, 1, 4, 3, 6, 3, 5, 7]];
    let mut families = Vec::new();
    for mode in Sampling::ALL {
        for outside in Outside::ALL {
            for align_corners in [false, true] {
                let op = GridSample { mode, outside, align_corners };
                let label = format!("{mode:?} {outside:?} align={align_corners}");
                families.push(CaseFamily::new(label.clone(), planes.map(Vec::from), move |d| {
                    grid(op, d)
                }));
                let label = format!("{label} volumes");
                families.push(CaseFamily::new(label, volumes.map(Vec::from), move |d| grid(op, d)));
            }
        }
    }
    let op = GridSample { mode: Sampling::Linear, outside: Outside::Zeros, align_corners: false };
    let large = vec![vec![2, 3, 301, 303, 7, 5], vec![2, 1, 5, 7, 401, 403]];
    families.push(CaseFamily::new("over 1 MiB", large, move |d| grid(op, d)));
    families
}

/// Places reach well outside of the planes.
fn grid(op: GridSample, d: &[usize]) -> Option<Case> {
    let (head, tail) = d.split_at(2);
    let (from, to) = tail.split_at(tail.len() / 2);
    let x = CaseInput::run(DType::F32, &[head, from].concat());
    let places = CaseInput::run(DType::F32, &[&head[..1], to, &[to.len()]].concat());
    let places = places.values(Values::Uniform(-2.5, 2.5));
    from.iter().all(|&n| n > 0).then(|| Case::new(op, [x, places]))
}

/// Shapes are `[N, C, H, W, regions, rows, columns]`.
pub(crate) fn rois_cases() -> Vec<CaseFamily> {
    let shapes = [
        [1, 1, 1, 1, 1, 1, 1],
        [2, 3, 9, 7, 4, 2, 3],
        [3, 1, 16, 21, 5, 3, 1],
        [1, 2, 5, 5, 0, 2, 2],
        [2, 2, 33, 31, 7, 5, 4],
    ];
    let mut families = Vec::new();
    for (half_pixel, largest) in [(true, false), (false, false), (true, true), (false, true)] {
        for (sampling_ratio, spatial_scale) in [(0, 1.0), (2, 0.3), (3, 1.7)] {
            let label = format!(
                "half_pixel={half_pixel} largest={largest} ratio={sampling_ratio} scale={spatial_scale}"
            );
            families.push(CaseFamily::new(label, shapes.map(Vec::from), move |d| {
                let op = RoiAlign {
                    half_pixel,
                    largest,
                    output_height: d[5],
                    output_width: d[6],
                    sampling_ratio,
                    spatial_scale,
                };
                rois(op, d)
            }));
        }
    }
    let large = [vec![2, 3, 301, 303, 2, 3, 2], vec![1, 2, 5, 4, 11_003, 3, 5]];
    families.push(CaseFamily::new("over 1 MiB", large, |d| {
        let op = RoiAlign {
            half_pixel: true,
            largest: false,
            output_height: d[5],
            output_width: d[6],
            sampling_ratio: 2,
            spatial_scale: 1.0,
        };
        rois(op, d)
    }));
    families
}

/// Regions of all sizes, some of them reaching outside; the second corner is
/// beyond the first.
fn rois(op: RoiAlign, d: &[usize]) -> Option<Case> {
    let &[n, c, height, width, regions, rows, columns] = d else { return None };
    if [n, height, width, rows, columns].contains(&0) {
        return None;
    }
    let scale = |n: usize| n as f32 / op.spatial_scale;
    let corners = (0..regions).flat_map(|r| {
        let part = |by: usize, of: usize| (r * by % of) as f32 / of as f32 - 0.1;
        let (left, top) = (part(7, 11) * scale(width), part(5, 13) * scale(height));
        let (right, bottom) = (part(3, 5) * scale(width), part(11, 17) * scale(height));
        [left, top, left + right.abs() * 0.7, top + bottom.abs() * 0.6]
    });
    let corners = Tensor::from_f32(&[regions, 4], &corners.collect::<Vec<_>>()).ok()?;
    let batches = CaseInput::run(DType::I32, &[regions]).values(Values::Whole(0, n as i64));
    let x = CaseInput::run(DType::F32, &[n, c, height, width]);
    Some(Case::new(op, [x, CaseInput::exact(corners), batches]))
}
