//! `wginfer devices`.

use crate::assert_fits;
use crate::start::wginfer;
#[cfg(target_os = "linux")]
use crate::start::without_loader;

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

/// What `picked FIELD` of `scripts/lib.sh` makes of the JSON.
#[cfg(unix)]
fn picked(json: &str, field: &str) -> String {
    use std::process::{Command, Stdio};
    let mut child = Command::new("bash")
        .args(["-euo", "pipefail", "-c", ". scripts/lib.sh; picked \"$0\"", field])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash");
    let mut input = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut input, json.as_bytes()).expect("all is read");
    drop(input);
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_string()
}

/// Scripts use what would be picked, and read it without a JSON parser.
#[cfg(unix)]
#[test]
fn scripts_read_what_is_picked() {
    let run = |name: &str| wginfer(&["devices", "--json"]).env("WGPU_ADAPTER_NAME", name).run();
    for info in adapters() {
        let json = run(&info.name).stdout;
        assert_eq!(picked(&json, "backend"), "gpu", "{json}");
        assert_eq!(picked(&json, "name"), info.name);
        assert!(picked(&json, "why").contains("asked for"));
    }
    let json = run("no such adapter").stdout;
    assert_eq!((picked(&json, "backend"), picked(&json, "name")), (String::new(), String::new()));
    assert!(picked(&json, "why").contains("no such adapter"));
    let json = wginfer(&["devices", "--json"]).without_adapters().run().stdout;
    assert_eq!((picked(&json, "backend"), picked(&json, "name")), ("cpu".into(), String::new()));
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

#[cfg(target_os = "linux")]
#[test]
fn a_missing_vulkan_loader_is_told_from_a_missing_driver() {
    let folder = tempfile::tempdir().unwrap();
    let run = without_loader(&["devices"], folder.path()).run();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_fits(&run.stdout);
    let said = run.stdout.replace('\n', " ");
    assert!(said.contains("Vulkan loader cannot be loaded"), "{run:?}");
    assert!(said.contains("libvulkan.so.1") && said.contains("libvulkan1 of Debian"), "{run:?}");
    let report = without_loader(&["devices", "--json"], folder.path()).run().json();
    assert_eq!(report["picked"]["backend"], "cpu");
    assert!(report["picked"]["why"].as_str().unwrap().contains("Vulkan loader"), "{report}");
    // The driver is what is missing here.
    let report = wginfer(&["devices", "--json"]).without_adapters().run().json();
    let why = report["picked"]["why"].as_str().unwrap();
    assert!(why.contains("no driver for Vulkan") && !why.contains("loader"), "{why}");
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
