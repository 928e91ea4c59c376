//! `wginfer tune`, on a tiny model with random weights.

use crate::build::{D, FLOAT, bytes, floats, info, net, node};
use crate::start::{Start, wginfer};
use crate::tiny_model::TinyModel;
use std::path::Path;

fn tune(cache: &Path, options: &[&str]) -> Start {
    wginfer(&[&["tune"], options].concat()).env("WGINFER_CACHE", cache)
}

/// A language model, or in a quick run a layer of a network: each kind of call takes seconds.
fn tiny() -> Vec<u8> {
    if !std::env::var("WGINFER_TEST_QUICK").is_ok_and(|v| !v.is_empty() && v != "0") {
        return TinyModel::default().bytes().unwrap();
    }
    let nodes = vec![node("MatMul", &["x", "w"], &["h"]), node("Softmax", &["h"], &["y"])];
    let inputs = vec![info("x", FLOAT, &[D::N(5), D::N(24)])];
    let weight: Vec<f32> = (0..24 * 36).map(|i| (i % 17) as f32 / 17.0 - 0.4).collect();
    bytes(net(nodes, inputs, &["y"], vec![floats("w", &[24, 36], &weight)]))
}

#[test]
fn a_model_is_measured_listed_and_forgotten() {
    let cache = tempfile::tempdir().unwrap();
    let list = || tune(cache.path(), &["--list"]).run();
    assert!(list().stdout.contains("Nothing is known"), "{:?}", list());
    let model = cache.path().join("tiny");
    std::fs::write(&model, tiny()).unwrap();
    let devices = wginfer(&["devices", "--json"]).run().json();
    let Some(adapter) = devices["adapters"].as_array().and_then(|all| all.first()) else {
        assert!(std::env::var_os("WGINFER_ALLOW_NO_GPU").is_some(), "no adapter");
        return;
    };
    let (index, model) = (adapter["index"].to_string(), model.to_str().unwrap());
    let measured = tune(cache.path(), &[model, "-a", &index, "--json", "--quiet"]).run().json();
    let classes = measured["classes"].as_array().unwrap();
    assert!(!classes.is_empty() && measured["restarts"] == 0, "{measured}");
    assert_eq!(measured["adapter"], adapter["name"]);
    for class in classes {
        let (micros, fastest) = (class["micros"].as_object().unwrap(), &class["fastest"]);
        let least = micros.values().filter_map(|m| m.as_f64()).fold(f64::INFINITY, f64::min);
        assert!(least > 0.0 && micros[fastest.as_str().unwrap()] == least, "{class}");
        assert!(micros.contains_key(class["default"].as_str().unwrap()), "{class}");
    }
    let known = tune(cache.path(), &["--list", "--json"]).run().json();
    let adapters = known["adapters"].as_array().unwrap();
    assert_eq!(adapters[0]["measured"].as_object().map(|m| m.len()), Some(classes.len()));
    assert!(!adapters[0]["right"].as_object().unwrap().is_empty(), "{known}");
    assert!(!known["known_bad"].as_array().unwrap().is_empty(), "{known}");
    assert!(list().stdout.contains(adapter["name"].as_str().unwrap()), "{:?}", list());
    // What is known is measured again in the same process, as text.
    let again = tune(cache.path(), &[model, "-a", &index, "--in-process"]).run();
    assert!(again.code == Some(0) && again.stdout.contains("kinds of calls"), "{again:?}");
    for line in again.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let cleared = tune(cache.path(), &["--clear"]).run();
    assert!(cleared.stdout.contains("1 adapter"), "{cleared:?}");
    assert!(list().stdout.contains("Nothing is known"), "{:?}", list());
}

#[test]
fn what_cannot_be_tuned_is_an_error() {
    let cache = tempfile::tempdir().unwrap();
    let cpu = tune(cache.path(), &["-a", "cpu", "--in-process"]).run();
    assert!(cpu.code == Some(1) && cpu.stderr.contains("a GPU"), "{cpu:?}");
    // The child process says why it never is ready.
    let none = tune(cache.path(), &["no-such-file.gguf", "--quiet", "-a", "cpu"]).run();
    assert!(none.code == Some(1), "{none:?}");
    let both = tune(cache.path(), &["--list", "--clear"]).run();
    assert_eq!(both.code, Some(2), "{both:?}");
}
