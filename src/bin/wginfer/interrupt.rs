//! Ctrl-C.

use crate::output::note;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use wginfer::lm::generate::Canceller;

static ASKED: AtomicBool = AtomicBool::new(false);
static GRACEFUL: AtomicBool = AtomicBool::new(false);
static RUNNING: Mutex<Option<Canceller>> = Mutex::new(None);

/// The exit code of a command ended by Ctrl-C, as shells expect it.
pub(crate) const EXIT_CODE: u8 = 130;

/// Begins to listen. Until [`stop_gracefully`] Ctrl-C ends the process at once.
pub(crate) fn listen() {
    let set = ctrlc::set_handler(|| {
        let again = ASKED.swap(true, Ordering::SeqCst);
        if again || !GRACEFUL.load(Ordering::SeqCst) {
            note("\ninterrupted");
            exit();
        }
        if let Some(running) = &*RUNNING.lock().unwrap_or_else(PoisonError::into_inner) {
            running.cancel();
        }
    });
    // Without the handler Ctrl-C still ends the process, only less politely.
    if let Err(error) = set {
        log::info!("Ctrl-C is not handled: {error}");
    }
}

/// Ends the process, leaving drivers alone: their cleaning up at exit can crash
/// while the main thread is still inside of them.
#[cfg(unix)]
fn exit() -> ! {
    // SAFETY: `_exit` has no preconditions; nothing is left unwritten, since
    // everything printed is flushed at once.
    unsafe { libc::_exit(EXIT_CODE.into()) }
}

/// Ends the process.
#[cfg(not(unix))]
fn exit() -> ! {
    std::process::exit(EXIT_CODE.into())
}

/// From now on Ctrl-C and SIGTERM end the process at once, whoever listened to them before:
/// also when no thread is left that could hear of them.
#[cfg(unix)]
pub(crate) fn end_at_next() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: both are signals, and the system's own handling of them needs nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// From now on Ctrl-C ends the process at once.
#[cfg(not(unix))]
pub(crate) fn end_at_next() {
    listen();
}

/// From now on the first Ctrl-C only makes [`asked`] true: there is something
/// to finish.
pub(crate) fn stop_gracefully() {
    GRACEFUL.store(true, Ordering::SeqCst);
}

/// From now on the next Ctrl-C counts: it ends what is `running`.
pub(crate) fn ends(running: Canceller) {
    ASKED.store(false, Ordering::SeqCst);
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
}

/// Whether Ctrl-C was pressed.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
