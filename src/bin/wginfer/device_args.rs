//! The options that every command with a device has.

use clap::builder::PossibleValuesParser;
use std::collections::BTreeSet;
use wginfer::gpu::{DeviceOptions, parse_features};

/// What the device is asked for.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Device")]
pub(crate) struct DeviceArgs {
    /// Features to leave out though the adapter has them: all, or a list of
    /// f16, subgroups, immediates, timestamps, pipeline-cache, int64, coop
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    #[arg(value_parser = parse_features)]
    mask_features: wgpu::Features,

    /// The limits to open the device with: the adapter's own, or those that
    /// every WebGPU device has, for a driver that promises too much
    #[arg(long, value_enum, value_name = "WHOSE", default_value_t = Limits::Adapter)]
    limits: Limits,

    /// The most bytes of one binding, as on a weaker adapter (128M, 1G)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_binding: Option<u64>,

    /// The most memory of a device to use (500M, 4G)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    memory: Option<u64>,

    /// Leave out a pass over the graph; may be given several times
    #[arg(long, value_name = "NAME", value_parser = passes())]
    no_pass: Vec<String>,
}

/// The limits of a device.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Limits {
    Adapter,
    Webgpu,
}

impl DeviceArgs {
    pub(crate) fn options(&self) -> DeviceOptions {
        DeviceOptions {
            mask_features: self.mask_features,
            limits: match self.limits {
                Limits::Adapter => None,
                Limits::Webgpu => Some(wgpu::Limits::defaults()),
            },
            max_binding: self.max_binding,
            memory_budget: self.memory,
            ..DeviceOptions::default()
        }
    }

    pub(crate) fn disabled_passes(&self) -> BTreeSet<String> {
        self.no_pass.iter().cloned().collect()
    }
}

fn passes() -> PossibleValuesParser {
    PossibleValuesParser::new(wginfer::passes::PASSES.iter().map(|pass| pass.name))
}

/// A number of bytes with an optional binary unit.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        unit => return Err(format!("'{unit}' is not one of K, M, G")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a whole number of bytes".to_string())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("at least one byte is needed".into()),
        Some(bytes) => Ok(bytes),
        None => Err("more than 64 bits".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_have_units() {
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert_eq!(parse_bytes("128M"), Ok(128 << 20));
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        for wrong in ["", "M", "-1", "0", "1x", "1.5M", "99999999999999G"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
