//! `wginfer devices`.

use crate::assert_fits;
use crate::start::wginfer;

fn adapters() -> Vec<wginfer::gpu::AdapterInfo> {
    let adapters = pollster::block_on(wginfer::gpu::adapters()).expect("adapters are listed");
    adapters.into_iter().map(|adapter| adapter.info).collect()
}

#[test]
fn json_lists_what_the_library_finds() {
    let report = wginfer(&["devices", "--json"]).run().json();
    assert_eq!(report["schema"], 1);
    let listed = report["adapters"].as_array().expect("a list");
    let found = adapters();
    assert_eq!(listed.len(), found.len());
    for (listed, found) in listed.iter().zip(&found) {
        assert_eq!(listed["index"], found.index);
        assert_eq!(listed["name"], found.name);
        assert_eq!(listed["software"], found.is_software);
        assert_eq!(
            listed["limits"]["max_storage_buffer_binding_size"],
            found.limits.max_storage_buffer_binding_size
        );
        let f16 = found.features.contains(wgpu::Features::SHADER_F16);
        assert_eq!(listed["features"]["f16"], f16);
        let matrices = listed["cooperative_matrices"].as_array().expect("a list");
        assert_eq!(matrices.len(), found.coop_shapes.len());
    }
    assert!(report["cpu"]["threads"].as_u64() >= Some(1));
    // Software adapters are not picked by themselves.
    let hardware = found.iter().any(|info| !info.is_software && info.unusable().is_none());
    assert_eq!(report["picked"]["backend"], if hardware { "gpu" } else { "cpu" });
    assert!(report["picked"]["why"].as_str().is_some_and(|why| !why.is_empty()));
}

/// `scripts/lib.sh` reads the list with plain text tools: name and type must
/// come before the first nested object.
#[test]
fn scripts_can_read_the_json() {
    let run = wginfer(&["devices", "--json"]).run();
    for info in adapters() {
        let flat = run.stdout.replace('\n', " ");
        let object = flat.split('{').find(|part| part.contains(&format!("\"{}\"", info.name)));
        let object = object.expect("the adapter's object");
        assert!(object.contains(&format!("\"type\": \"{}\"", info.kind())), "{object}");
    }
}

#[test]
fn text_fits_a_terminal() {
    let run = wginfer(&["devices"]).run();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_fits(&run.stdout);
    for info in adapters() {
        assert!(run.stdout.contains(&format!("{}: {}", info.index, info.name)), "{run:?}");
    }
    assert!(run.stdout.contains("Picked: "), "{run:?}");
}

#[test]
fn a_machine_without_adapters_has_the_cpu() {
    let run = wginfer(&["devices"]).without_adapters().run();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("No adapters"), "{run:?}");
    assert!(run.stdout.contains("cpu: ") && run.stdout.contains("Picked: cpu"), "{run:?}");
    let report = wginfer(&["devices", "--json"]).without_adapters().run().json();
    assert_eq!(report["adapters"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["picked"]["backend"], "cpu");
}

#[test]
fn a_name_that_fits_nothing_picks_nothing() {
    let start = || wginfer(&["devices", "--json"]).env("WGPU_ADAPTER_NAME", "no such adapter");
    let report = start().run().json();
    assert_eq!(report["picked"]["backend"], serde_json::Value::Null);
    let why = report["picked"]["why"].as_str().expect("a reason");
    assert!(why.contains("no such adapter"), "{why}");
    let run = wginfer(&["devices"]).env("WGPU_BACKEND", "nonsense").run();
    assert!(run.error().contains("WGPU_BACKEND"), "{run:?}");
}
