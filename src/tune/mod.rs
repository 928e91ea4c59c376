//! Which kernel variants are right on an adapter, and which are fast.
//!
//! A session uses a variant only after it gave right answers on that very adapter:
//! what a plan needs and nothing is known of is tried first, on a small case of the
//! same node, against the operator's reference. What is found out is kept by adapter,
//! version of the driver and final shader text, so that it costs nothing the next time.
//! Which of the right ones is the fastest is measured only when that is asked for:
//!
//! ```no_run
//! use wginfer::{Backend, BackendChoice, tune};
//!
//! let choice = BackendChoice::Auto;
//! let (backend, _) = Backend::open_blocking(&choice, Default::default())?;
//! if let Backend::Gpu(gpu) = &backend {
//!     tune::record(gpu);
//!     // Run the model here, once for each size that matters.
//!     let report = gpu.block_on(tune::in_process(gpu, &[], &mut |_| {}))?;
//!     println!("{} classes of calls", report.rows.len());
//! }
//! # Ok::<(), wginfer::Error>(())
//! ```
//!
//! [`in_process`] times only variants that are known to be right. [`supervised`] tries
//! the others too, in a child process that may hang or die: see there.

mod case;
mod judge;
mod known_bad;
mod ledger;
mod measure;
#[cfg(not(target_arch = "wasm32"))]
mod parent;
mod probe;
mod report;
mod spot;
mod standard;
#[cfg(not(target_arch = "wasm32"))]
mod worker;

pub(crate) use judge::judge;
pub use known_bad::{KnownBad, known_bad};
pub use ledger::{Findings, Measured, Rejection, clear, findings};
#[cfg(not(target_arch = "wasm32"))]
pub use parent::{Supervision, supervised};
pub use report::{Report, Row};
pub use standard::run_standard;
#[cfg(not(target_arch = "wasm32"))]
pub use worker::serve;

use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::registry::KernelFamily;
use ledger::{Known, Ledger};
use std::sync::Arc;

/// From now on the kinds of calls that plans on this device have are noted, for
/// [`in_process`] and [`serve`]. Plans made before are not.
pub fn record(gpu: &Gpu) {
    Ledger::of(gpu).record();
}

/// What is known of the adapter of a device.
pub fn known(gpu: &Gpu) -> Findings {
    Ledger::of(gpu).findings()
}

/// Adds rows to the list of variants that are known to be bad ([`known_bad`]): what
/// concerns the device's adapter and driver is not used in plans made from now on, nor
/// tried or timed. For drivers that an application knows more of than this crate. Kept
/// with the device and those that are opened in its place, not in its store: a program
/// that is started to try variants ([`supervised`]) adds them too, before its first plan.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if a pattern cannot be read; then no row is added.
pub fn add_known_bad(gpu: &Gpu, rows: impl IntoIterator<Item = KnownBad>) -> Result<()> {
    let rows: Vec<KnownBad> = rows.into_iter().collect();
    rows.iter().try_for_each(KnownBad::check)?;
    let concerns = rows.into_iter().filter(|row| row.concerns(gpu.info()));
    known_bad::Added::to(gpu).rows().extend(concerns);
    Ok(())
}

/// Times the variants that could compute what was noted since [`record`], and keeps
/// which are the fastest: plans made from now on use them. `more` are the kernel
/// families of an application, beside the built-in ones.
///
/// Only variants that gave right answers on this adapter before take part, since in
/// this process nothing could end a dispatch that hangs. A class of calls that is too
/// large to be timed has a row that says so.
///
/// # Errors
/// What happens to the device.
pub async fn in_process(
    gpu: &Arc<Gpu>,
    more: &[KernelFamily],
    progress: &mut (dyn FnMut(&Row) + Send),
) -> Result<Report> {
    let ledger = Ledger::of(gpu);
    let mut report = Report::new(&ledger.findings());
    for spot in ledger.spots() {
        let mut row = Row::new(&spot.class, &spot.label);
        let mut names = Vec::new();
        let found = match measure::candidates(gpu, &spot, more) {
            Ok(found) => found,
            Err(error) if gpu.is_lost() => return Err(error),
            Err(error) => {
                row.refused = Some(error.to_string());
                Vec::new()
            }
        };
        for candidate in found {
            if candidate.default {
                row.default = candidate.name.clone();
            }
            let shaders = measure::needed(gpu, &spot, &candidate.name)?;
            let known = |shader| ledger.known(shader) == Known::Right;
            match shaders.keys().all(|shader| known(shader)) {
                true => names.push(candidate.name),
                false => row.reject(&candidate.name, "not known to be right"),
            }
        }
        if !names.is_empty() {
            row.micros = measure::times(gpu, &spot, &names, &mut |_| Ok(())).await?;
            measure::note(&ledger, &row);
        }
        progress(&row);
        report.rows.push(row);
    }
    ledger.save();
    Ok(report)
}
