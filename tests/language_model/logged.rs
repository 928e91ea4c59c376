//! What is logged of a file.

use crate::support::tiny_model::TinyModel;
use libtest_mimic::Failed;
use std::cell::RefCell;
use std::sync::Once;
use wginfer::formats::gguf::GgufFile;
use wginfer::lm::ModelFile;

thread_local! {
    /// What this thread logged.
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGED.with_borrow_mut(|all| all.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// A value that a file lacks and that has a default is told, with its key.
pub fn defaults() -> Result<(), Failed> {
    static SET: Once = Once::new();
    SET.call_once(|| log::set_logger(&Collector).expect("no other logger"));
    log::set_max_level(log::LevelFilter::Info);
    let mut writer = TinyModel::default().writer()?;
    writer.metadata("llama.rope.scaling.type", "yarn")?;
    writer.metadata("llama.rope.scaling.factor", 2f32)?;
    writer.metadata("llama.rope.scaling.yarn_beta_slow", 1.5f32)?;
    LOGGED.with_borrow_mut(Vec::clear);
    ModelFile::new(GgufFile::parse(writer.to_bytes()?, "tiny.gguf")?)?;
    let all = LOGGED.take();
    for wanted in [
        "llama.rope.freq_base is not given: 10000.0",
        "llama.rope.scaling.yarn_beta_fast is not given: 32.0",
        "llama.rope.scaling.original_context_length is not given: 256",
    ] {
        let told = all.iter().filter(|line| *line == wanted).count();
        assert_eq!(told, 1, "{wanted}: {all:?}");
    }
    // What it has is no default.
    assert!(!all.iter().any(|line| line.contains("yarn_beta_slow")), "{all:?}");
    Ok(())
}
