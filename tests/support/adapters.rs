//! The adapters that tests run on, their names, and the rule that a missing one
//! is a failure.
#![allow(dead_code, reason = "each test program uses its own part")]

use wginfer::gpu::{Adapter, AdapterInfo};

/// The software adapters that `scripts/adapters.sh` installs, by the names that
/// `Variant::executed_on` has.
pub(crate) const KNOWN: [&str; 3] = ["lavapipe", "lavapipe-old", "swiftshader"];

/// Which of [`KNOWN`] an adapter is.
pub(crate) fn known(info: &AdapterInfo) -> Option<&'static str> {
    if info.name.contains("SwiftShader") {
        return Some("swiftshader");
    }
    if !info.name.contains("llvmpipe") {
        return None;
    }
    let version = info.driver_info.split("Mesa ").nth(1)?;
    let major: u32 = version.split('.').next()?.parse().ok()?;
    Some(if major >= 24 { "lavapipe" } else { "lavapipe-old" })
}

/// The known name, or the driver's without spaces.
pub(crate) fn name(info: &AdapterInfo) -> String {
    if let Some(known) = known(info) {
        return known.into();
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = info.name.chars().map(plain).collect();
    let parts: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

/// Every adapter, by Vulkan or whatever else `WGPU_BACKEND` names.
pub(crate) fn all() -> Vec<Adapter> {
    let mut all = pollster::block_on(wginfer::gpu::adapters()).expect("adapters are listed");
    // The same GPU through another interface is the interface's matter.
    let chosen = std::env::var_os("WGPU_BACKEND").is_some();
    all.retain(|adapter| chosen || adapter.info.backend != wgpu::Backend::Gl);
    all
}

/// Fails if an adapter that must be there is not: each that
/// `WGINFER_EXPECT_ADAPTERS` names a part of, or any at all. Every test program
/// that goes through [`all`] has this as a test, so that none passes on nothing.
pub(crate) fn expected() -> Result<(), String> {
    let titles: Vec<String> = all().iter().map(|adapter| adapter.info.title()).collect();
    let wanted = std::env::var("WGINFER_EXPECT_ADAPTERS").unwrap_or_default();
    let flag =
        |name: &str| std::env::var(name).is_ok_and(|v| !matches!(v.as_str(), "" | "0" | "false"));
    judge(&titles, &wanted, flag("CI"), flag("WGINFER_ALLOW_NO_GPU"))
}

/// As [`expected`], on data.
pub(crate) fn judge(
    titles: &[String],
    wanted: &str,
    ci: bool,
    none_allowed: bool,
) -> Result<(), String> {
    let wanted: Vec<String> = wanted
        .split(',')
        .map(|part| part.trim().to_lowercase())
        .filter(|w| !w.is_empty())
        .collect();
    for part in &wanted {
        if !titles.iter().any(|title| title.to_lowercase().contains(part)) {
            return Err(format!("no adapter's name contains '{part}': {titles:?}"));
        }
    }
    if wanted.is_empty() && ci {
        return Err(
            "WGINFER_EXPECT_ADAPTERS must name the adapters in continuous integration".into()
        );
    }
    if titles.is_empty() && !none_allowed {
        return Err("there is no adapter: scripts/adapters.sh installs software ones; \
             WGINFER_ALLOW_NO_GPU=1 accepts that only the CPU backend is tested"
            .into());
    }
    Ok(())
}
