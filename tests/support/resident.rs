//! The resident size of this process, as Linux tells it.

use libtest_mimic::Failed;

/// Bytes of anonymous and shared memory in RAM, without pages of files: a
/// driver's buffers and the heap, but not a mapped model.
///
/// # Errors
/// If the kernel does not tell.
pub fn without_files() -> Result<u64, Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kilobytes = |name: &str| -> Result<u64, Failed> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        Ok(number.ok_or_else(|| format!("no {name} in /proc/self/status"))?.parse()?)
    };
    Ok((kilobytes("RssAnon:")? + kilobytes("RssShmem:")?) * 1024)
}
