//! What recurrent networks are tried on.

use super::{Activation, Cell, Direction, Function, Recurrent};
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// Shapes are `[S, B, I, H]`: steps, sequences, inputs, hidden units.
const SHAPES: [[usize; 4]; 9] = [
    [1, 1, 1, 1],
    [5, 2, 3, 4],
    [7, 3, 5, 7],
    [3, 1, 11, 67],
    [2, 5, 1, 33],
    [0, 2, 3, 4],
    [4, 0, 3, 4],
    [3, 2, 0, 5],
    [11, 3, 4, 13],
];

/// Gates, inputs, weights and hidden states of more than one binding of 1 MiB.
const LARGE: [[usize; 4]; 4] =
    [[300, 4, 3, 64], [3, 7, 13001, 5], [2, 3, 2, 301], [1201, 3, 1, 37]];

/// Which optional inputs there are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Given {
    Nothing,
    Bias,
    All,
}

const DIRECTIONS: [Direction; 3] =
    [Direction::Forward, Direction::Reverse, Direction::Bidirectional];

pub(crate) fn rnn_cases() -> Vec<CaseFamily> {
    let mut families = common(Cell::Rnn, "plain");
    for function in Function::ALL {
        let mut op = Recurrent::new(Cell::Rnn, Direction::Bidirectional);
        let (alpha, beta) = match function {
            Function::ThresholdedRelu => (0.3, 0.0),
            Function::ScaledTanh => (0.8, 1.2),
            _ => (0.4, 0.1),
        };
        op.activations[0] = Activation { function, alpha, beta };
        let shapes = SHAPES[..4].to_vec();
        families.push(family(format!("{} forwards", function.name()), op, Given::Bias, shapes));
    }
    families
}

pub(crate) fn lstm_cases() -> Vec<CaseFamily> {
    let mut families = common(Cell::Lstm { input_forget: false }, "plain");
    let coupled = Cell::Lstm { input_forget: true };
    for direction in [Direction::Forward, Direction::Bidirectional] {
        let op = Recurrent::new(coupled, direction);
        families.push(family(format!("coupled {direction:?}"), op, Given::All, SHAPES.to_vec()));
    }
    let mut op = Recurrent::new(Cell::Lstm { input_forget: false }, Direction::Bidirectional);
    let mixed = [
        Function::HardSigmoid,
        Function::Softsign,
        Function::ScaledTanh,
        Function::Sigmoid,
        Function::Elu,
        Function::Affine,
    ];
    op.activations = mixed.map(Activation::from).to_vec();
    op.activations[2] = Activation { alpha: 0.9, beta: 0.7, ..op.activations[2] };
    op.activations[5] = Activation { alpha: 0.5, beta: -0.1, ..op.activations[5] };
    families.push(family("other functions".into(), op, Given::All, SHAPES.to_vec()));
    families
}

pub(crate) fn gru_cases() -> Vec<CaseFamily> {
    let mut families = common(Cell::Gru { linear_before_reset: false }, "reset first");
    families.extend(common(Cell::Gru { linear_before_reset: true }, "linear first"));
    families
}

/// Every direction, with and without optional inputs, clipped, and large.
fn common(cell: Cell, label: &str) -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for direction in DIRECTIONS {
        for given in [Given::Nothing, Given::All] {
            let op = Recurrent::new(cell, direction);
            let title = format!("{label} {direction:?} {given:?}");
            families.push(family(title, op, given, SHAPES.to_vec()));
        }
    }
    let clipped = Recurrent { clip: Some(0.4), ..Recurrent::new(cell, Direction::Forward) };
    families.push(family(format!("{label} clipped"), clipped, Given::Bias, SHAPES.to_vec()));
    let op = Recurrent::new(cell, Direction::Bidirectional);
    families.push(family(format!("{label} large"), op, Given::All, LARGE.to_vec()).heavy());
    families
}

fn family(label: String, op: Recurrent, given: Given, shapes: Vec<[usize; 4]>) -> CaseFamily {
    CaseFamily::new(label, shapes.into_iter().map(Vec::from), move |shape| {
        let &[s, b, i, h] = shape else { return None };
        if h == 0 {
            return None;
        }
        let (d, gates) = (op.direction.count(), op.cell.gates());
        let weight = |extents: &[usize], deviation: f64| {
            let values = Values::Normal(deviation);
            Some(CaseInput::run(DType::F32, extents).values(values).constant())
        };
        let state = || Some(CaseInput::run(DType::F32, &[d, b, h]));
        let lengths = CaseInput::run(DType::I32, &[b]).values(Values::Whole(0, s as i64 + 1));
        let all = given == Given::All;
        let lstm = matches!(op.cell, Cell::Lstm { .. });
        let inputs = vec![
            Some(CaseInput::run(DType::F32, &[s, b, i])),
            weight(&[d, gates * h, i], 1.0 / (i.max(1) as f64).sqrt()),
            // Small enough that errors do not grow from step to step.
            weight(&[d, gates * h, h], 1.0 / h as f64),
            (given != Given::Nothing).then(|| weight(&[d, 2 * gates * h], 0.5)).flatten(),
            all.then_some(lengths),
            all.then(state).flatten(),
            (all && lstm).then(state).flatten(),
            (all && lstm).then(|| weight(&[d, 3 * h], 0.3)).flatten(),
        ];
        let count = if lstm { 8 } else { 6 };
        Some(Case {
            op: std::sync::Arc::new(op.clone()),
            inputs: inputs.into_iter().take(count).collect(),
        })
    })
}
