//! `wginfer embed`, on a small model of the test data.

use crate::start::wginfer;
use std::path::Path;

fn model() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/data/embed/bert").display().to_string()
}

#[test]
fn vectors_as_a_table_and_as_json() {
    let model = model();
    let run = wginfer(&["embed", &model, "the cat", "a dog barks", "-a", "cpu"]).run();
    assert_eq!(run.code, Some(0), "{run:?}");
    // Lines end where the path of the model is long.
    let told = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("CPU") && told.contains("pooling mean, normalised"), "{run:?}");
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains("first 4 of 16"), "{run:?}");
    assert!(lines[1].ends_with("the cat") && lines[2].ends_with("a dog barks"), "{run:?}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{run:?}");

    let line = ["embed", "-m", &model, "the cat", "a dog", "-a", "cpu", "--json", "-q", "-s"];
    let run = wginfer(&line).run();
    let json = run.json();
    assert!(run.stderr.is_empty(), "{run:?}");
    assert_eq!(json["pooling"], serde_json::json!(["mean"]));
    let vector = json["texts"][0]["vector"].as_array().unwrap();
    let length: f64 = vector.iter().map(|v| v.as_f64().unwrap().powi(2)).sum();
    assert!(vector.len() == 16 && (length - 1.0).abs() < 1e-5, "{length}");
    assert!((json["similarity"][1][1].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert_eq!(json["similarity"][0][1], json["similarity"][1][0]);
}

#[test]
fn texts_come_from_files_and_pipes() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let file = folder.path().join("lines.txt");
    std::fs::write(&file, "the cat sleeps\r\n\na dog\n").unwrap();
    let file = file.to_str().unwrap();
    let array = folder.path().join("out.npy");
    let line = ["embed", &model, "-f", file, "-a", "cpu", "--json", "-o", array.to_str().unwrap()];
    let json = wginfer(&line).run().json();
    let texts: Vec<_> =
        (0..3).map(|i| json["texts"][i]["text"].as_str().unwrap().to_string()).collect();
    assert_eq!(texts, ["the cat sleeps", "", "a dog"]);
    let bytes = std::fs::read(array).unwrap();
    let header = String::from_utf8_lossy(&bytes[..128]).into_owned();
    assert!(header.contains("'<f4'") && header.contains("(3, 16"), "{header}");
    let last = f32::from_le_bytes(*bytes.last_chunk::<4>().unwrap());
    let told = json["texts"][2]["vector"][15].as_f64().unwrap();
    assert!((f64::from(last) - told).abs() < 1e-7, "{last} {told}");

    for line in [
        &["embed", &model, "-a", "cpu", "--json"][..],
        &["embed", &model, "-f", "-", "-a", "cpu", "--json"],
    ] {
        let piped = wginfer(line).input("a dog\nthe cat sleeps\n").run().json();
        assert_eq!(piped["texts"][1]["vector"], json["texts"][0]["vector"]);
    }
}

#[test]
fn a_text_that_is_cut_off_is_reported() {
    let (model, long) = (model(), "a dog ".repeat(40));
    let line = ["embed", &model, "the cat", &long, "-a", "cpu", "--json"];
    let run = wginfer(&line).run();
    assert!(run.stderr.contains("Text 1 was cut off"), "{run:?}");
    let json = run.json();
    assert_eq!(json["texts"][1]["used_tokens"], 32);
    assert!(json["texts"][1]["tokens"].as_u64() > Some(32));
}

#[test]
fn what_is_wrong_is_said() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let empty = folder.path().to_str().unwrap();
    let error = |line: &[&str]| wginfer(line).run().error().to_string();
    assert!(error(&["embed", empty, "x", "-a", "cpu"]).contains("config.json"));
    assert!(error(&["embed", &model, "x", "-a", "no such adapter"]).contains("no such adapter"));
    assert!(error(&["embed", &model, "-f", "/nonexistent.txt"]).contains("/nonexistent.txt"));
    assert!(error(&["embed", &model]).contains("at least one line"));
    let mut usage = wginfer(&["embed", "x"]).env("WGINFER_CACHE", empty).run();
    assert!(usage.code == Some(2) && usage.stderr.contains("fetch_embed_model.sh"), "{usage:?}");
    usage = wginfer(&["embed", &model, "x", "-f", "y"]).run();
    assert!(usage.code == Some(2) && usage.stderr.contains("both"), "{usage:?}");
}
