//! The resident size of this process, as Linux tells it.

use libtest_mimic::Failed;

/// Bytes of anonymous and shared memory in RAM, without pages of files: a
/// driver's buffers and the heap, but not a mapped model.
///
/// # Errors
/// If the kernel does not tell.
pub fn without_files() -> Result<u64, Failed> {
    Ok(status("RssAnon:")? + status("RssShmem:")?)
}

/// Lets the peak start from now: the bytes resident, pages of files included.
///
/// # Errors
/// If the kernel does not let it.
pub fn start_of_peak() -> Result<u64, Failed> {
    // proc(5): 5 resets the peak resident size to the current one.
    std::fs::write("/proc/self/clear_refs", "5")?;
    status("VmRSS:")
}

/// The most bytes resident since then.
///
/// # Errors
/// If the kernel does not tell.
pub fn peak() -> Result<u64, Failed> {
    status("VmHWM:")
}

/// A size in bytes.
fn status(name: &str) -> Result<u64, Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    let kilobytes: u64 =
        number.ok_or_else(|| format!("no {name} in /proc/self/status"))?.parse()?;
    Ok(kilobytes * 1024)
}
