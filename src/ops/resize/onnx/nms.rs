//! `NonMaxSuppression`, whose result has as many rows as there are boxes left:
//! computed on the host.

use crate::error::Result;
use crate::onnx::{HostOperator, NodeCx, When};
use crate::ops::RefTensor;
use crate::tensor::DType;

pub(crate) const COMPUTED: &[HostOperator] = &[HostOperator {
    domain: "",
    name: "NonMaxSuppression",
    since: 10,
    when: When::Unknown,
    compute: |cx| cx.by_row(),
}];

/// A box by its corners.
#[derive(Debug, Clone, Copy)]
struct Corners {
    low: [f32; 2],
    high: [f32; 2],
}

impl Corners {
    fn new(numbers: &[f32], centre: bool) -> Self {
        let [a, b, c, d] = [numbers[0], numbers[1], numbers[2], numbers[3]];
        if centre {
            // Centre along x and y, width, height.
            let (low, high) = ([b - d / 2.0, a - c / 2.0], [b + d / 2.0, a + c / 2.0]);
            return Corners { low, high };
        }
        // Either diagonal.
        Corners { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
    }

    fn area(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// What two boxes share, as a part of what they cover.
    fn overlap(&self, other: &Self) -> f32 {
        let side = |axis: usize| {
            let (low, high) =
                (self.low[axis].max(other.low[axis]), self.high[axis].min(other.high[axis]));
            (high - low).max(0.0)
        };
        let shared = side(0) * side(1);
        let covered = self.area() + other.area() - shared;
        if shared <= 0.0 || covered <= 0.0 { 0.0 } else { shared / covered }
    }
}

/// Optional numbers after boxes and scores.
#[derive(Debug, Clone, Copy)]
struct Limits {
    most: usize,
    overlap: f32,
    score: Option<f32>,
}

pub(super) fn non_max_suppression(cx: &mut NodeCx<'_>) -> Result<()> {
    let (boxes, scores) = (cx.extents(0)?, cx.extents(1)?);
    let (&[batch, count, 4], &[score_batch, classes, score_count]) =
        (boxes.as_slice(), scores.as_slice())
    else {
        return Err(cx.broken(format!("boxes {boxes:?} and scores {scores:?}")));
    };
    if (batch, count) != (score_batch, score_count) {
        return Err(cx.broken(format!("boxes {boxes:?} and scores {scores:?}")));
    }
    let centre = match cx.int("center_point_box", 0)? {
        0 => false,
        1 => true,
        other => return Err(cx.unsupported(format!("center_point_box {other}"))),
    };
    let limits = limits(cx)?;
    let to_f32 = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<_>>();
    let (boxes, scores) = (to_f32(cx.known_reals(0)?), to_f32(cx.known_reals(1)?));
    let boxes: Vec<Corners> = boxes.chunks(4).map(|four| Corners::new(four, centre)).collect();
    let mut rows = Vec::new();
    for b in 0..batch {
        let boxes = &boxes[b * count..(b + 1) * count];
        for class in 0..classes {
            let scores = &scores[(b * classes + class) * count..][..count];
            for chosen in select(boxes, scores, limits) {
                rows.extend([b as i64, class as i64, chosen as i64]);
            }
        }
    }
    let y = RefTensor::int(DType::I64, &[rows.len() / 3, 3], rows).to_tensor()?;
    let y = cx.constant(y)?;
    cx.output(0, y);
    Ok(())
}

fn limits(cx: &mut NodeCx<'_>) -> Result<Limits> {
    let mut one = |input: usize| -> Result<Option<f64>> {
        if cx.optional(input).is_none() {
            return Ok(None);
        }
        Ok(cx.known_reals(input)?.first().copied())
    };
    // Without a number, no box is chosen.
    let most = one(2)?.unwrap_or(0.0).max(0.0) as usize;
    let overlap = one(3)?.unwrap_or(0.0) as f32;
    let score = one(4)?.map(|score| score as f32);
    if !(0.0..=1.0).contains(&overlap) {
        return Err(cx.broken(format!("iou_threshold must be from 0 to 1, got {overlap}")));
    }
    Ok(Limits { most, overlap, score })
}

/// The best boxes that do not overlap much with a better one, best first; of
/// equal ones the first.
fn select(boxes: &[Corners], scores: &[f32], limits: Limits) -> Vec<usize> {
    let enough = |&at: &usize| limits.score.is_none_or(|least| scores[at] > least);
    let mut order: Vec<usize> = (0..boxes.len()).filter(enough).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut chosen: Vec<usize> = Vec::new();
    for at in order {
        if chosen.len() >= limits.most {
            break;
        }
        if chosen.iter().all(|&better| boxes[at].overlap(&boxes[better]) <= limits.overlap) {
            chosen.push(at);
        }
    }
    chosen
}
