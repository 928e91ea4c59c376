//! How the command ends when it does not succeed.

use crate::interrupt;
use crate::output::note;
use clap::error::ErrorKind;
use std::error::Error;
use std::io;
use std::process::ExitCode;

/// Why the command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// The library could not do it.
    Library(wginfer::Error),
    /// Standard output could not be written.
    Output(io::Error),
    /// What was asked about, by its name, cannot be run; standard output says why.
    Unusable(String),
    /// Ctrl-C, after what was there is printed.
    Interrupted,
}

impl From<wginfer::Error> for Failure {
    fn from(error: wginfer::Error) -> Self {
        Failure::Library(error)
    }
}

/// Only writing to standard output gives such errors.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

impl Failure {
    /// Says what happened on standard error, and gives the exit code.
    pub(crate) fn report(self, command: &mut clap::Command) -> ExitCode {
        match self {
            Failure::Usage(message) => {
                // Nothing is left to be done where even that cannot be printed.
                let _ = command.error(ErrorKind::MissingRequiredArgument, message).print();
                ExitCode::from(2)
            }
            // Whoever reads has seen enough (`| head`).
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Failure::Output(error) => {
                note(format_args!("error: writing to standard output: {error}"));
                ExitCode::FAILURE
            }
            Failure::Unusable(name) => {
                note(format_args!("error: {name} cannot be run: the report says why"));
                ExitCode::FAILURE
            }
            Failure::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
            Failure::Library(error) => {
                note(explained(&error));
                ExitCode::FAILURE
            }
        }
    }
}

/// The message and the causes that it does not already tell.
fn explained(error: &dyn Error) -> String {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str("\n  caused by: ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let source = io::Error::new(io::ErrorKind::NotFound, "gone away");
        let error = wginfer::Error::Io { path: "model.gguf".into(), source };
        assert_eq!(explained(&error), "error: model.gguf: gone away");
        let outer = io::Error::other(Outer(error));
        assert_eq!(explained(&outer), "error: outer\n  caused by: model.gguf: gone away");
    }

    #[derive(Debug)]
    struct Outer(wginfer::Error);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
}
