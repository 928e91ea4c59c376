//! The `wginfer` command. Everything it prints is made here; what the lines
//! say comes from the library.

mod cache;
mod chat;
mod device_args;
mod devices;
mod embed;
mod failure;
mod fetch;
mod generate;
mod input_text;
mod inspect;
mod interrupt;

mod kept;
mod lora_args;
mod model_args;
mod output;
mod perplexity;
mod profile;
mod run;
mod serve;
mod template_args;
mod tune;
mod visualize;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use failure::Failure;
use std::io::Write;
use std::process::ExitCode;

/// Runs neural networks on any GPU through WebGPU, or on the CPU.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
/// Messages of the library and of the driver: RUST_LOG=info (or debug).
#[derive(Debug, Parser)]
#[command(name = "wginfer", version, max_term_width = 80)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the adapters of this machine, what each can do, and which one is
    /// picked
    Devices(devices::Args),
    /// Says what a model file holds: GGUF or ONNX
    Inspect(inspect::Args),
    /// Generates text with a language model
    Generate(Box<generate::Args>),
    /// Talks with a language model
    Chat(Box<chat::Args>),
    /// Serves a language model over HTTP, as OpenAI's interface has it
    Serve(Box<serve::Args>),
    /// Says how well a language model foresees a text
    Perplexity(Box<perplexity::Args>),
    /// Turns texts into vectors, and says how alike texts are
    Embed(Box<embed::Args>),
    /// Runs an ONNX model on files, pictures or random values
    Run(Box<run::Args>),
    /// Draws what the layers of an ONNX model see, as one picture
    Visualize(Box<visualize::Args>),
    /// Measures which kernels are the fastest on an adapter, and lists what is known
    /// of adapters
    Tune(Box<tune::Args>),
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start_logging();
    let done = match cli.command {
        Command::Devices(args) => devices::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Visualize(args) => visualize::run(*args),
        Command::Tune(args) => tune::run(&args),
        Command::Completions { shell } => completions(shell),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut command = Cli::command();
            // Only a built command knows the whole usage of its parts.
            command.build();
            let name = matches.subcommand_name().unwrap_or_default();
            match command.find_subcommand_mut(name) {
                Some(part) => failure.report(part),
                None => failure.report(&mut command),
            }
        }
    }
}

/// Only this crate's warnings, unless RUST_LOG asks for more: drivers and wgpu
/// warn about much that nobody can change.
fn start_logging() {
    let filter = env_logger::Env::default().default_filter_or("off,wginfer=warn");
    env_logger::Builder::from_env(filter).format_timestamp(None).init();
}

fn completions(shell: Shell) -> Result<(), Failure> {
    // Written at once: clap_complete panics where its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wginfer", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
