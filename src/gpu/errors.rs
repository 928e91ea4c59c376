//! Errors of the device, turned into this crate's [`Error`].
//!
//! `wgpu` reports errors in three ways: to an error scope, to a handler when
//! no scope is open, and through the device-lost callback (a lost device
//! makes calls fail *silently*). All three end here.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Gpu;
use crate::error::{Error, Result};

/// Locks without panicking: the data behind every lock here stays usable
/// when a thread died holding it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer of an error scope; at once on native, later in a browser.
#[cfg(not(target_arch = "wasm32"))]
type Answer = Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>;
#[cfg(target_arch = "wasm32")]
type Answer = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

struct Late {
    doing: String,
    bytes: u64,
    answer: Answer,
}

/// The error scopes whose answer has not come yet.
#[derive(Default)]
pub(crate) struct LateAnswers(Mutex<Vec<Late>>);

impl std::fmt::Debug for LateAnswers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LateAnswers").field(&lock(&self.0).len()).finish()
    }
}

impl LateAnswers {
    /// Drops the answers that have come; the first error among them.
    fn error(&self) -> Result<()> {
        let mut first = Ok(());
        lock(&self.0).retain_mut(|l| match now(l.answer.as_mut()) {
            None => true,
            Some(answer) => {
                if let (Some(error), Ok(())) = (answer, &first) {
                    first = Err(Fault::from(error).typed(&l.doing, l.bytes));
                }
                false
            }
        });
        first
    }
}

/// What a `wgpu` error says, in a form any thread may hold.
#[derive(Debug)]
enum Fault {
    OutOfMemory,
    Other(String),
}

impl From<wgpu::Error> for Fault {
    fn from(error: wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { .. } => Fault::OutOfMemory,
            wgpu::Error::Validation { description, .. }
            | wgpu::Error::Internal { description, .. } => Fault::Other(one_line(&description)),
        }
    }
}

impl Fault {
    fn typed(self, doing: impl Display, bytes: u64) -> Error {
        let doing = doing.to_string();
        match self {
            Fault::OutOfMemory => Error::OutOfMemory { doing, bytes },
            Fault::Other(message) => Error::Device { doing, message },
        }
    }
}

/// What went wrong on one device outside the call that caused it.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    is_lost: AtomicBool,
    reason: Mutex<Option<String>>,
    uncaptured: Mutex<Option<Fault>>,
}

impl Faults {
    /// Listens to a device. The callbacks only record: they run inside `wgpu`.
    pub(crate) fn listen(device: &wgpu::Device) -> Arc<Self> {
        let faults = Arc::new(Faults::default());
        let lost = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            let message = if message.is_empty() { format!("{reason:?}") } else { message };
            lost.record_loss(message);
        });
        let errors = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            let fault = Fault::from(error);
            log::error!("uncaptured device error: {fault:?}");
            // The first error is the cause; the rest follow from it.
            lock(&errors.uncaptured).get_or_insert(fault);
        }));
        faults
    }

    pub(crate) fn record_loss(&self, message: String) {
        lock(&self.reason).get_or_insert(one_line(&message));
        self.is_lost.store(true, Ordering::Release);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// `DeviceLost` if the device is lost.
    pub(crate) fn loss(&self, doing: impl Display) -> Result<()> {
        if !self.is_lost() {
            return Ok(());
        }
        let reason = lock(&self.reason).clone().unwrap_or_default();
        Err(Error::DeviceLost { doing: doing.to_string(), reason })
    }

    fn take_uncaptured(&self, doing: impl Display) -> Result<()> {
        match lock(&self.uncaptured).take() {
            Some(fault) => Err(fault.typed(doing, 0)),
            None => Ok(()),
        }
    }
}

/// The future's value if it is ready already.
fn now<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// `wgpu` spreads a message over indented lines; errors here are one line.
pub(crate) fn one_line(message: &str) -> String {
    let parts = message.lines().map(str::trim).filter(|l| !l.is_empty() && *l != "Caused by:");
    parts.collect::<Vec<_>>().join(": ")
}

impl Gpu {
    /// Runs `f` and returns its value, or the first error of the device calls in it.
    ///
    /// `doing` completes "while ..." in the message; `bytes` is reported when
    /// memory runs out. In a browser errors arrive later, at the next
    /// [`check`](Self::check).
    ///
    /// # Errors
    /// `OutOfMemory`, `Device` or `DeviceLost`.
    pub fn scope<T>(
        &self,
        doing: impl Display,
        bytes: u64,
        f: impl FnOnce(&wgpu::Device) -> T,
    ) -> Result<T> {
        self.faults.loss(&doing)?;
        let filters = [
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Validation,
        ];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let value = f(&self.device);
        let mut first = None;
        // Scopes nest, so the last one opened is closed first.
        for scope in scopes.into_iter().rev() {
            let mut answer: Answer = Box::pin(scope.pop());
            match now(answer.as_mut()) {
                Some(error) => first = first.or(error),
                None => {
                    let doing = doing.to_string();
                    lock(&self.late.0).push(Late { doing, bytes, answer });
                }
            }
        }
        self.faults.loss(&doing)?;
        match first {
            Some(error) => Err(Fault::from(error).typed(doing, bytes)),
            None => Ok(value),
        }
    }

    /// Fails if the device was lost or has reported an error outside a scope.
    ///
    /// # Errors
    /// `DeviceLost`, or the error that nobody caught, once.
    pub fn check(&self, doing: impl Display) -> Result<()> {
        // A loss is reported by a callback, and callbacks run when the device is polled.
        self.poll_once();
        self.faults.loss(&doing)?;
        self.late.error()?;
        self.faults.take_uncaptured(&doing)
    }

    /// Whether the device is lost. Open it again with [`Gpu::reopen`].
    pub fn is_lost(&self) -> bool {
        self.poll_once();
        self.faults.is_lost()
    }

    /// Loses the device as a driver would, for tests of recovery.
    pub fn lose_for_test(&self) {
        self.device.destroy();
        self.poll(wgpu::PollType::wait_indefinitely());
    }

    fn poll_once(&self) {
        self.poll(wgpu::PollType::Poll);
    }

    /// Polls the device; runs the callbacks that are due.
    pub(crate) fn poll(&self, kind: wgpu::PollType) {
        if self.faults.is_lost() {
            return;
        }
        // `wgpu` panics when the driver reports a loss from a wait (a GPU
        // watchdog does that). It holds no lock then, so the panic is caught
        // and the loss recorded. In a browser polling does nothing.
        let polled =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.device.poll(kind)));
        match polled {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => log::debug!("device poll: {error}"),
            Err(_) => self.faults.record_loss("the driver lost the device during a wait".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn device_errors_become_typed_ones() {
        let oom = wgpu::Error::OutOfMemory { source: "full".into() };
        assert!(matches!(
            Fault::from(oom).typed("allocating 'x'", 42),
            Error::OutOfMemory { doing, bytes: 42 } if doing == "allocating 'x'"
        ));
        let bad = wgpu::Error::Validation {
            source: "bad".into(),
            description: "Validation Error\n\nCaused by:\n  In a\n    too big\n".into(),
        };
        let bad = Fault::from(bad).typed("binding", 0);
        assert_eq!(bad.kind(), ErrorKind::Device);
        assert!(bad.to_string().contains("Validation Error: In a: too big"), "{bad}");
    }

    #[test]
    fn a_late_answer_is_reported_once_with_what_was_being_done() {
        let late = LateAnswers::default();
        let error = wgpu::Error::OutOfMemory { source: "full".into() };
        lock(&late.0).push(Late {
            doing: "uploading".into(),
            bytes: 7,
            answer: Box::pin(std::future::ready(Some(error))),
        });
        lock(&late.0).push(Late {
            doing: "waiting".into(),
            bytes: 0,
            answer: Box::pin(std::future::pending()),
        });
        assert!(late.error().unwrap_err().to_string().contains("uploading (7 bytes"));
        assert!(late.error().is_ok());
        assert_eq!(lock(&late.0).len(), 1);
    }
}
