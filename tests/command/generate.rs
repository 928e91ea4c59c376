//! `wginfer generate`, on a tiny model with random weights.

#[cfg(target_os = "linux")]
use crate::start::without_loader;
use crate::start::{Run, Start, finish, wginfer};
use crate::tiny_model::TinyModel;
use serde_json::Value;
use std::io::Read;
use std::path::PathBuf;

/// A model's file, removed at the end.
struct Model {
    dir: tempfile::TempDir,
}

impl Model {
    fn new(model: &TinyModel) -> Self {
        let model_dir = Model { dir: tempfile::tempdir().unwrap() };
        std::fs::write(model_dir.path(), model.bytes().unwrap()).unwrap();
        model_dir
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("tiny.gguf")
    }

    fn start(&self, options: &[&str]) -> Start {
        let path = self.path();
        let mut arguments = vec!["generate", path.to_str().unwrap()];
        arguments.extend(options);
        wginfer(&arguments)
    }

    fn run(&self, options: &[&str]) -> Run {
        self.start(options).run()
    }
}

fn tiny() -> Model {
    Model::new(&TinyModel::default())
}

const CPU: [&str; 4] = ["--adapter", "cpu", "--max-tokens", "12"];

fn on_cpu(model: &Model, options: &[&str]) -> Run {
    model.run(&[&CPU[..], options].concat())
}

#[test]
fn text_and_json_agree() {
    let model = tiny();
    let options = ["--prompt", "in the end", "--ignore-end"];
    let text = on_cpu(&model, &options);
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stderr.contains("CPU backend: asked for"), "{text:?}");
    assert!(text.stderr.contains("12 tokens") && text.stderr.contains("decode"), "{text:?}");
    let report = on_cpu(&model, &[&options[..], &["--json"]].concat()).json();
    let said = report["text"].as_str().unwrap();
    assert_eq!(text.stdout.strip_suffix('\n').unwrap(), said.strip_suffix('\n').unwrap_or(said));
    assert_eq!(report["tokens"].as_array().map(Vec::len), Some(12));
    assert_eq!(report["stats"]["tokens"], 12);
    assert_speed_adds_up(&report["stats"]);
    assert_eq!(report["finish"], "length");
    assert_eq!(report["backend"], "cpu");
    assert_eq!(report["adapter"], Value::Null);
    assert!(report["counters"]["dispatches"].as_u64() > Some(0), "{report}");
    assert!(report["memory"]["states_bytes"].as_u64() > Some(0), "{report}");
    let quiet = on_cpu(&model, &[&options[..], &["--quiet"]].concat());
    assert_eq!((quiet.stdout, quiet.stderr), (text.stdout, String::new()));
}

/// Times and rates of a generation of 12 tokens that was not cut short.
fn assert_speed_adds_up(stats: &Value) {
    let number = |name: &str| {
        let number = stats[name].as_f64().unwrap_or_else(|| panic!("no {name}: {stats}"));
        assert!(number.is_finite() && number > 0.0, "{name}: {stats}");
        number
    };
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b;
    let (prefill, decode) = (number("prefill_seconds"), number("decode_seconds"));
    let rate = number("prefill_tokens_per_second");
    assert!(near(rate * prefill, number("prompt_tokens")), "{stats}");
    // The first token comes with the prompt, every other one with a step.
    assert_eq!(stats["decode_steps"], 11);
    assert!(near(number("decode_tokens_per_second") * decode, 11.0), "{stats}");
    assert!(number("first_token_seconds") >= prefill, "{stats}");
    assert!(number("load_seconds") > 0.0, "{stats}");
}

#[test]
fn every_way_to_give_a_prompt_is_the_same() {
    let model = tiny();
    let file = model.dir.path().join("prompt.txt");
    std::fs::write(&file, "in the end\n").unwrap();
    let file = file.to_str().unwrap();
    let tokens = |run: Run| run.json()["tokens"].clone();
    let argument = tokens(on_cpu(&model, &["--json", "--prompt", "in the end"]));
    assert_eq!(tokens(on_cpu(&model, &["--json", "in the end"])), argument);
    assert_eq!(tokens(on_cpu(&model, &["--json", "--prompt-file", file])), argument);
    let piped = |options: &[&str]| {
        let start = model.start(&[&CPU[..], &["--json"], options].concat());
        tokens(start.input("in the end\n").run())
    };
    assert_eq!(piped(&[]), argument);
    assert_eq!(piped(&["--prompt-file", "-"]), argument);
    let prompt_tokens = |options: &[&str]| {
        let run = on_cpu(&model, &[&["--json", "--prompt", "in the end"], options].concat());
        run.json()["stats"]["prompt_tokens"].as_u64().unwrap()
    };
    // `in`, ` the`, and four single bytes; the template adds to it.
    assert_eq!(prompt_tokens(&["--raw"]), 6);
    assert!(prompt_tokens(&[]) > 6);
    assert!(prompt_tokens(&["--system", "be brief"]) > prompt_tokens(&[]));
}

#[test]
fn sampling_follows_its_options() {
    let model = tiny();
    let tokens = |options: &[&str]| {
        let common = ["--json", "--prompt", "a", "--ignore-end", "--temperature", "2"];
        on_cpu(&model, &[&common, options].concat()).json()["tokens"].clone()
    };
    assert_eq!(tokens(&["--seed", "7"]), tokens(&["--seed", "7"]));
    assert_ne!(tokens(&["--seed", "7"]), tokens(&["--seed", "8"]));
    let greedy = on_cpu(&model, &["--json", "--prompt", "a", "--ignore-end"]).json();
    assert_eq!(tokens(&["--top-k", "1"]), greedy["tokens"]);
    for wrong in [["--temperature", "-1"], ["--top-p", "0"], ["--min-p", "2"]] {
        let run = on_cpu(&model, &[&["--prompt", "a"][..], &wrong].concat());
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains("expected"), "{run:?}");
    }
}

/// Also proves that the adapter named did the work, and no other.
#[test]
fn every_adapter_says_what_the_cpu_says() {
    let model = tiny();
    let options = ["--json", "--prompt", "in the end", "--ignore-end", "--cache", "f32"];
    let wanted = on_cpu(&model, &options).json();
    let devices = wginfer(&["devices", "--json"]).run().json();
    let adapters = devices["adapters"].as_array().unwrap();
    assert!(
        !adapters.is_empty() || std::env::var_os("WGINFER_ALLOW_NO_GPU").is_some(),
        "no adapter; scripts/adapters.sh installs software ones"
    );
    for adapter in adapters {
        let index = adapter["index"].to_string();
        let adapter_options = ["--adapter", &index, "--max-tokens", "12"];
        let report = model.run(&[&adapter_options, &options[..]].concat()).json();
        assert_eq!(report["adapter"], adapter["name"]);
        let kind = if adapter["software"] == true { "software" } else { "gpu" };
        assert_eq!(report["backend"], kind);
        assert_eq!(report["tokens"], wanted["tokens"], "{index}");
        assert_speed_adds_up(&report["stats"]);
        assert!(report["memory"]["device_peak_bytes"].as_u64() > Some(100_000), "{report}");
        // After the prompt one submission for each token, whatever the prompt took.
        let submissions = |report: &Value| report["counters"]["submissions"].as_u64().unwrap();
        let few = ["--adapter", &index, "--max-tokens", "2"];
        let few = model.run(&[&few, &options[..]].concat()).json();
        assert_eq!(submissions(&report) - submissions(&few), 10, "{report} {few}");
        let name = adapter["name"].as_str().unwrap().to_uppercase();
        let named = model.run(&[&["--adapter", &name], &options[..]].concat()).json();
        assert_eq!(named["adapter"], adapter["name"]);
    }
}

#[test]
fn sharing_memory_can_be_left_out_like_any_pass() {
    let model = tiny();
    let report = |options: &[&str]| {
        let common = ["--json", "--prompt", "a", "--ignore-end"];
        on_cpu(&model, &[&common, options].concat()).json()
    };
    let (shared, apart) = (report(&[]), report(&["--no-pass", "memory"]));
    assert_eq!(apart["tokens"], shared["tokens"]);
    let working = |report: &Value| report["memory"]["working_bytes"].as_u64().unwrap();
    assert!(working(&apart) > working(&shared), "{apart} {shared}");
}

#[test]
fn a_model_larger_than_the_memory_allowed_is_an_error() {
    let model = tiny();
    let devices = wginfer(&["devices", "--json"]).run().json();
    for adapter in devices["adapters"].as_array().unwrap() {
        let index = adapter["index"].to_string();
        let run = model.run(&["--prompt", "a", "--adapter", &index, "--memory", "300k"]);
        let message = run.error();
        assert!(message.starts_with("the model ("), "{message}");
        assert!(message.contains("memory_budget") && message.contains("307200"), "{message}");
    }
}

#[test]
fn a_device_can_be_opened_with_less() {
    let model = tiny();
    let options = ["--json", "--prompt", "a", "--max-tokens", "2", "--ignore-end"];
    for adapter in wginfer(&["devices", "--json"]).run().json()["adapters"].as_array().unwrap() {
        let index = adapter["index"].to_string();
        let device = |more: &[&str]| {
            let report = model.run(&[&options[..], &["--adapter", &index], more].concat()).json();
            assert!(!report["variants"].as_array().unwrap().is_empty(), "{report}");
            report["device"].clone()
        };
        // What WebGPU has by default, which is less than any of these adapters.
        assert_eq!(device(&["--limits", "webgpu"])["max_binding"], 128 << 20);
        let less = ["--limits", "webgpu", "--max-binding", "1M", "--mask-features", "all"];
        assert_eq!(device(&less), serde_json::json!({ "max_binding": 1 << 20, "f16": false }));
        assert_eq!(device(&["--f16"])["f16"], adapter["features"]["f16"]);
    }
}

#[test]
fn a_missing_adapter_is_an_error_that_lists_the_others() {
    let model = tiny();
    let run = model.run(&["--prompt", "a", "--adapter", "no such adapter"]);
    let message = run.error();
    assert!(message.contains("'no such adapter'"), "{message}");
    for adapter in wginfer(&["devices", "--json"]).run().json()["adapters"].as_array().unwrap() {
        assert!(message.contains(adapter["name"].as_str().unwrap()), "{message}");
    }
    let run = model.start(&["--prompt", "a", "--adapter", "0"]).without_adapters().run();
    assert!(run.error().contains("no adapter"), "{run:?}");
    // Left to itself the command takes the CPU, and says so.
    let start = model.start(&["--prompt", "a", "--max-tokens", "2"]).without_adapters();
    let run = start.run();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("no adapter found"), "{run:?}");
}

#[test]
fn unusable_prompts_are_refused() {
    let twice = on_cpu(&tiny(), &["a", "--prompt", "b"]);
    assert_eq!(twice.code, Some(2), "{twice:?}");
    let model = tiny();
    let run = on_cpu(&model, &["--prompt", ""]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(model.start(&CPU).run().error().contains("standard input"));
    let file = model.dir.path().join("prompt.txt");
    let with = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        on_cpu(&model, &["--prompt-file", file.to_str().unwrap()])
    };
    assert!(with(b"").error().contains("expected some text"));
    let run = with(b"caf\xe9");
    assert!(run.error().contains("UTF-8") && run.error().contains("offset 3"), "{run:?}");
    let run = with(&[b'a'; 1000]);
    assert!(run.error().contains("context"), "{run:?}");
    let run = on_cpu(&model, &["--prompt-file", "/nonexistent/prompt.txt"]);
    assert!(run.error().starts_with("/nonexistent/prompt.txt: "), "{run:?}");
}

#[test]
fn a_hostile_template_is_an_error_that_names_it() {
    let endless = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}";
    let model = Model::new(&TinyModel { template: Some(endless), ..TinyModel::default() });
    let run = on_cpu(&model, &["--prompt", "a"]);
    let message = run.error();
    assert!(message.contains("tiny.gguf") && message.contains("template"), "{message}");
    // Plain text needs no template.
    let run = on_cpu(&model, &["--prompt", "a", "--raw"]);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn unusable_models_are_refused() {
    let model = tiny();
    let run = wginfer(&["generate", "/nonexistent.gguf", "--prompt", "a"]).run();
    assert!(run.error().starts_with("/nonexistent.gguf: "), "{run:?}");
    let whole = std::fs::read(model.path()).unwrap();
    std::fs::write(model.path(), &whole[..whole.len() - 100]).unwrap();
    assert!(on_cpu(&model, &["--prompt", "a"]).error().contains("tensor"));
    let run = on_cpu(&tiny(), &["--prompt", "a", "--context", "100000"]);
    assert!(run.error().contains("context"), "{run:?}");
    // Without a model there is advice.
    let empty = tempfile::tempdir().unwrap();
    let run = wginfer(&["generate", "--prompt", "a"]).env("WGINFER_CACHE", empty.path()).run();
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("make demo"), "{run:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_missing_vulkan_loader_is_named() {
    let (model, folder) = (tiny(), tempfile::tempdir().unwrap());
    let path = model.path();
    let common = ["generate", path.to_str().unwrap(), "--prompt", "a", "--max-tokens", "2"];
    let start = |more: &[&str]| without_loader(&[&common, more].concat(), folder.path());
    let run = start(&["--adapter", "0"]).run();
    let message = run.error();
    assert!(message.contains("Vulkan loader") && message.contains("libvulkan.so.1"), "{message}");
    // Left to itself the command takes the CPU, and says why.
    let run = start(&[]).run();
    assert_eq!(run.code, Some(0), "{run:?}");
    let said = run.stderr.replace('\n', " ");
    assert!(said.contains("Vulkan loader"), "{run:?}");
}

/// The command and the scripts agree on where the cache is; an empty variable is
/// none.
#[cfg(unix)]
#[test]
fn scripts_and_the_command_have_one_cache() {
    let cases = [
        [Some("/a"), Some("/b"), Some("/c")],
        [Some(""), Some("/b"), Some("/c")],
        [None, Some(""), Some("/c")],
        [None, None, Some("/c")],
    ];
    for values in cases {
        let names = ["WGINFER_CACHE", "XDG_CACHE_HOME", "HOME"];
        let set = names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)));
        let mut script = std::process::Command::new("bash");
        script.args(["-euc", ". scripts/lib.sh; cache_dir"]);
        script.current_dir(env!("CARGO_MANIFEST_DIR"));
        let mut command = wginfer(&["generate", "--prompt", "a"]);
        for name in names {
            script.env_remove(name);
            command = command.unset(name);
        }
        for (name, value) in set {
            script.env(name, value);
            command = command.env(name, value);
        }
        let folder = String::from_utf8(script.output().unwrap().stdout).unwrap();
        let run = command.run();
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(&format!("it is not at {}/models", folder.trim())), "{run:?}");
    }
}

#[test]
fn the_model_may_lie_in_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let models = cache.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let bytes = TinyModel::default().bytes().unwrap();
    std::fs::write(models.join("SmolLM2-135M-Instruct.Q4_1.gguf"), bytes).unwrap();
    let arguments = [&["generate", "--json", "--prompt", "a"], &CPU[..]].concat();
    let report = wginfer(&arguments).env("WGINFER_CACHE", cache.path()).run().json();
    assert!(report["model"].as_str().unwrap().starts_with(cache.path().to_str().unwrap()));
}

/// A model that goes on for long.
fn endless() -> Model {
    Model::new(&TinyModel { context: 1 << 16, ..TinyModel::default() })
}

const LONG: [&str; 9] = [
    "--prompt",
    "a",
    "--adapter",
    "cpu",
    "--ignore-end",
    "--context",
    "60000",
    "--max-tokens",
    "50000",
];

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let model = endless();
    let mut child = model.start(&LONG).spawn();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let run = finish(child, Vec::new());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(!run.stderr.contains("error"), "{run:?}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_what_was_printed() {
    let model = endless();
    let mut child = model.start(&LONG).spawn();
    let mut first = vec![0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let run = finish(child, first);
    assert_eq!(run.code, Some(130), "{run:?}");
    assert!(run.stderr.contains("interrupted") && run.stderr.contains("tokens/s"), "{run:?}");
    assert!(run.stdout.ends_with('\n'), "{run:?}");
}

#[test]
fn tokens_are_barred_wanted_and_ends() {
    let model = tiny();
    let tokens = |options: &[&str]| -> Vec<u64> {
        let common = ["--json", "--prompt", "a", "--ignore-end"];
        let report = on_cpu(&model, &[&common, options].concat()).json();
        report["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
    };
    let plain = tokens(&[]);
    assert_eq!(tokens(&["--logit-bias", "120=+1000"]), [120; 12]);
    let barred = tokens(&["--logit-bias", &format!("{}=-inf", plain[0])]);
    assert!(!barred.contains(&plain[0]), "{barred:?}");
    let first = plain.iter().position(|id| *id == plain[5]).unwrap();
    assert_eq!(tokens(&["--stop-token", &plain[5].to_string()]), plain[..first]);
    for wrong in ["120", "x=1", "120=much"] {
        let run = on_cpu(&model, &["--prompt", "a", "--logit-bias", wrong]);
        assert_eq!(run.code, Some(2), "{run:?}");
    }
}

#[test]
fn a_template_can_be_another_and_is_told_values() {
    let model = tiny();
    let count = |options: &[&str]| {
        let run = on_cpu(&model, &[&["--json", "--prompt", "x"], options].concat());
        run.json()["stats"]["prompt_tokens"].as_u64().unwrap()
    };
    let file = model.dir.path().join("own.jinja");
    let source = "{{ messages[0].content }}{{ reasoning_effort }}{{ more }}\
                  {% if enable_thinking is false and thinking is false %}??{% endif %}";
    std::fs::write(&file, source).unwrap();
    let own = ["--chat-template", file.to_str().unwrap()];
    assert_eq!(count(&own), 1);
    for (more, tokens) in [
        (&["--no-thinking"][..], 3),
        (&["--reasoning-effort", "high"], 5),
        (&["--template-values", r#"{"more": "xyz"}"#], 4),
        (&["--chat-template-kwargs", r#"{"reasoning_effort": "xyz"}"#], 4),
    ] {
        assert_eq!(count(&[&own, more].concat()), tokens, "{more:?}");
    }
    // The tiny model's own is ChatML.
    assert_eq!(count(&["--chat-template", "chatml"]), count(&[]));
    let fails = |options: &[&str], code: i32, part: &str| {
        let run = on_cpu(&model, &[&["--prompt", "x"], options].concat());
        assert_eq!(run.code, Some(code), "{run:?}");
        assert!(run.stderr.contains(part), "{run:?}");
    };
    fails(&["--template-values", "{"], 2, "--template-values");
    fails(&["--chat-template", "nowhere.jinja"], 1, "nowhere.jinja");
    std::fs::write(&file, "{% if %}").unwrap();
    fails(&own, 1, "the chat template that was given");
    fails(&["--template-values", r#"{"messages": 1}"#], 1, "messages");
}

/// Files of RWKV have a name in the place of a template.
#[test]
fn the_template_of_rwkv_is_known_by_name() {
    let model = Model::new(&TinyModel { template: Some("rwkv-world"), ..TinyModel::default() });
    let run = on_cpu(&model, &["--json", "--system", " be brief\n", "--prompt", "x"]);
    let text = "System: be brief\n\nUser: x\n\nAssistant:";
    assert_eq!(run.json()["stats"]["prompt_tokens"], text.len(), "{run:?}");
}

#[test]
fn adapters_are_added_as_often_as_is_said() {
    let data = |name: &str| format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let (model, lora) = (data("decoders/llama.gguf"), data("loras/llama-0.gguf"));
    let on = |options: &[&str]| {
        let common = ["generate", &model, "--adapter", "cpu", "--raw", "--ignore-end", "--json"];
        wginfer(&[&common[..], &["--max-tokens", "12", "--prompt", "in the end"], options].concat())
    };
    let tokens = |options: &[&str]| on(options).run().json()["tokens"].clone();
    let (plain, with) = (tokens(&[]), tokens(&["--lora", &lora]));
    assert_ne!(plain, with);
    assert_eq!(tokens(&["--lora", &format!("{lora}=0")]), plain);
    let half = format!("{lora}=0.5");
    assert_eq!(tokens(&["--lora", &half, "--lora", &half]), with);
    for (other, told) in
        [("loras/qwen2-0.gguf", "'qwen2'"), ("decoders/llama.gguf", "not 'adapter'")]
    {
        let run = on(&["--lora", &data(other)]).run();
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.error().contains(told), "{run:?}");
    }
}

#[test]
fn a_prompt_cache_is_gone_on_from() {
    let model = tiny();
    let cache = model.dir.path().join("kept.bin");
    let cache = cache.to_str().unwrap();
    let said = |prompt: &str, options: &[&str]| {
        let common = ["--json", "--raw", "--ignore-end", "--prompt", prompt];
        on_cpu(&model, &[&common, options].concat()).json()
    };
    let plain = said("in the end of it all", &[]);
    let first = said("in the end of it", &["--prompt-cache", cache]);
    assert_eq!(first["stats"]["reused_tokens"], 0);
    let second = said("in the end of it all", &["--prompt-cache", cache]);
    assert_eq!(second["tokens"], plain["tokens"]);
    let reused = second["stats"]["reused_tokens"].as_u64().unwrap();
    assert!(reused > 3, "{second}");
    // Of another model it is told, and written anew.
    let other = Model::new(&TinyModel { seed: 9, ..TinyModel::default() });
    let run = on_cpu(&other, &["--prompt", "in the end", "--prompt-cache", cache]);
    assert!(run.code == Some(0) && run.stderr.contains("computed anew"), "{run:?}");
    // What is no such file stays as it is.
    let path = model.path();
    let before = std::fs::read(&path).unwrap();
    let run = on_cpu(&model, &["--prompt", "a", "--prompt-cache", path.to_str().unwrap()]);
    assert!(run.error().contains("tiny.gguf"), "{run:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
