use super::Unary::*;
use super::*;

/// Unit round-off of binary32.
const U: f64 = 5.960_464_477_539_063e-8;

fn domain(f: Unary, x: f32) -> bool {
    match f {
        Log => x > 0.0,
        Sqrt => x >= 0.0,
        Reciprocal => x != 0.0 && x.abs() < 8e37,
        Exp => x < 88.0,
        Selu => x < 3.2e38,
        Asin | Acos => x.abs() <= 1.0,
        Atanh => x.abs() < 1.0,
        Acosh => x >= 1.0,
        Sinh | Cosh => x.abs() < 88.0,
        Tan => x.abs() <= 8192.0 && x.cos().abs() > 1e-3,
        _ => true,
    }
}

fn samples() -> impl Iterator<Item = f32> {
    let fine = (-4000..=4000).map(|i| i as f32 * 0.003_1);
    let wide = (-300..=300).map(|i| f32::powi(1.31, i) * if i % 2 == 0 { 1.0 } else { -1.0 });
    fine.chain(wide).chain([f32::MAX, -f32::MAX, 0.0, -0.0])
}

#[test]
fn f32_values_are_within_the_error() {
    for f in Unary::ALL {
        for x in samples().filter(|&x| domain(f, x)) {
            let (got, want) = (f64::from(f.eval_f32(x)), f.eval(x.into()));
            let allowed = f.error(x.into()) + want.abs() * U;
            assert!((got - want).abs() <= allowed, "{f:?} {x}: {got} {want} {allowed}");
        }
    }
}

#[test]
fn the_error_is_small() {
    // A bound that allows everything would check nothing.
    for f in Unary::ALL {
        for x in samples().filter(|&x| domain(f, x) && x.abs() < 80.0) {
            let scale = f.eval(x.into()).abs().max(f64::from(x.abs())).max(1e-30);
            let many = match f {
                Exp => 340.0,
                Sinh | Cosh => 500.0,
                Tan => 40.0 * f.eval(x.into()).abs().max(1.0),
                Asin | Acos | Asinh | Acosh | Atanh => 80.0,
                _ => 40.0,
            };
            let limit = many * U * scale.max(0.2);
            assert!(f.error(x.into()) <= limit, "{f:?} {x} {}", f.error(x.into()) / limit);
        }
    }
}

#[test]
fn a_moved_argument_moves_the_value_no_further_than_said() {
    for f in Unary::ALL {
        for x in samples().filter(|x| x.abs() < 50.0) {
            let x = f64::from(x);
            for delta in [1e-6, 1e-3, 0.5] {
                if !domain(f, (x - delta) as f32) || !domain(f, (x + delta) as f32) {
                    continue;
                }
                let allowed = f.propagate(x, delta);
                for y in [x - delta, x - delta / 3.0, x + delta / 2.0, x + delta] {
                    let moved = (f.eval(y) - f.eval(x)).abs();
                    // The f64 evaluation itself rounds.
                    let noise = 1e-14 * (1.0 + x.abs() + f.eval(x).abs());
                    assert!(moved <= allowed + noise, "{f:?} {x} {y}");
                }
            }
        }
    }
}

#[test]
fn names_and_features_are_unique() {
    let mut features: Vec<_> = Unary::ALL.iter().map(|f| f.feature()).collect();
    let mut names: Vec<_> = Unary::ALL.iter().map(|f| f.name()).collect();
    features.sort_unstable();
    features.dedup();
    names.sort_unstable();
    names.dedup();
    assert_eq!((features.len(), names.len()), (Unary::ALL.len(), Unary::ALL.len()));
}
