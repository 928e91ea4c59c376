//! `wginfer devices`: what could compute here.

use crate::failure::Failure;
use crate::output::{self, Fields, bytes, count_noun, safe, wrapped};
use serde_json::{Value, json};
use std::io::{self, BufWriter, Write};
use wginfer::Result;
use wginfer::gpu::{self, AdapterChoice, AdapterInfo, CoopShape, FEATURES, Picked};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let infos: Vec<AdapterInfo> =
        pollster::block_on(gpu::adapters())?.into_iter().map(|adapter| adapter.info).collect();
    let picked = pollster::block_on(gpu::pick(AdapterChoice::Auto));
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        output::json(&mut out, &report(&infos, &picked))?;
    } else {
        text(&mut out, &infos, &picked)?;
    }
    Ok(out.flush()?)
}

fn text(out: &mut impl Write, infos: &[AdapterInfo], picked: &Result<Picked>) -> io::Result<()> {
    if infos.is_empty() {
        let why = safe(&format!("No adapters: {}.", gpu::missing()));
        writeln!(out, "{}\n", wrapped(&why, output::WIDTH).join("\n"))?;
    }
    for info in infos {
        writeln!(out, "{}: {}\n{}", info.index, safe(&info.name), fields(info))?;
    }
    let threads = count_noun(rayon::current_num_threads(), "thread");
    let simd = simd();
    let simd = if simd.is_empty() { "no SIMD known".to_string() } else { simd.join(", ") };
    writeln!(out, "cpu: the CPU backend\n   {threads}, {simd}\n")?;
    let why = match picked {
        Ok(Picked::Gpu { adapter, why }) => format!("Picked: {}, {why}", adapter.info.index),
        Ok(Picked::Cpu { why }) => format!("Picked: cpu, {why}"),
        Err(error) => format!("Picked: nothing, {error}"),
    };
    for line in wrapped(&safe(&why), output::WIDTH) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn fields(info: &AdapterInfo) -> Fields {
    let limits = &info.limits;
    let mut fields = Fields::indented(3);
    fields
        .add("kind", format_args!("{} ({})", info.kind(), info.backend))
        .add("driver", safe(&info.driver_line()))
        .add(
            "memory",
            format_args!(
                "{} in one binding, {} in one buffer",
                bytes(limits.max_storage_buffer_binding_size),
                bytes(limits.max_buffer_size)
            ),
        )
        .add(
            "workgroup",
            format_args!(
                "{} invocations, {} of memory",
                limits.max_compute_invocations_per_workgroup,
                bytes(limits.max_compute_workgroup_storage_size.into())
            ),
        )
        .add("features", features(info))
        .maybe("matrices", matrices(&info.coop_shapes))
        .maybe("unusable", info.unusable());
    fields
}

fn features(info: &AdapterInfo) -> String {
    let (least, most) = (info.min_subgroup_size, info.max_subgroup_size);
    let has = FEATURES.iter().filter(|feature| info.features.contains(feature.bits));
    let names: Vec<String> = has
        .map(|feature| match feature.name {
            "subgroups" if least == most => format!("subgroups (of {least})"),
            "subgroups" => format!("subgroups (of {least} to {most})"),
            name => name.to_string(),
        })
        .collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Cooperative-matrix configurations, none broken across lines.
fn matrices(shapes: &[CoopShape]) -> Option<String> {
    let names: Vec<String> =
        shapes.iter().map(|shape| shape.to_string().replace(' ', "\u{a0}")).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn report(infos: &[AdapterInfo], picked: &Result<Picked>) -> Value {
    json!({
        "schema": 1,
        "adapters": infos.iter().map(adapter_json).collect::<Vec<_>>(),
        "cpu": { "threads": rayon::current_num_threads(), "simd": simd() },
        "picked": match picked {
            Ok(Picked::Gpu { adapter, why }) => {
                picked_json(Some("gpu"), Some(&adapter.info), why)
            }
            Ok(Picked::Cpu { why }) => picked_json(Some("cpu"), None, why),
            Err(error) => picked_json(None, None, &error.to_string()),
        },
    })
}

/// No object in it: `picked` in `scripts/lib.sh` reads it with plain text tools.
fn picked_json(backend: Option<&str>, info: Option<&AdapterInfo>, why: &str) -> Value {
    json!({
        "backend": backend,
        "index": info.map(|info| info.index),
        "name": info.map(|info| &info.name),
        "why": why,
    })
}

fn adapter_json(info: &AdapterInfo) -> Value {
    let limits = &info.limits;
    let features: serde_json::Map<String, Value> = FEATURES
        .iter()
        .map(|known| (known.name.to_string(), info.features.contains(known.bits).into()))
        .collect();
    let shapes: Vec<Value> = info.coop_shapes.iter().map(shape_json).collect();
    json!({
        "index": info.index,
        "name": info.name,
        "type": info.kind(),
        "backend": info.backend.to_string(),
        "software": info.is_software,
        "unusable": info.unusable(),
        "driver": info.driver,
        "driver_info": info.driver_info,
        "vendor": info.vendor,
        "device": info.device,
        "limits": {
            "max_storage_buffer_binding_size": limits.max_storage_buffer_binding_size,
            "max_buffer_size": limits.max_buffer_size,
            "max_storage_buffers_per_shader_stage": limits.max_storage_buffers_per_shader_stage,
            "min_storage_buffer_offset_alignment": limits.min_storage_buffer_offset_alignment,
            "max_compute_workgroup_storage_size": limits.max_compute_workgroup_storage_size,
            "max_compute_invocations_per_workgroup": limits.max_compute_invocations_per_workgroup,
            "max_compute_workgroups_per_dimension": limits.max_compute_workgroups_per_dimension,
        },
        "features": features,
        "subgroup_size": { "min": info.min_subgroup_size, "max": info.max_subgroup_size },
        "cooperative_matrices": shapes,
    })
}

fn shape_json(shape: &CoopShape) -> Value {
    json!({
        "m": shape.m,
        "n": shape.n,
        "k": shape.k,
        "ab": format!("{:?}", shape.ab).to_lowercase(),
        "cr": format!("{:?}", shape.cr).to_lowercase(),
        "saturating": shape.saturating,
    })
}

/// The vector extensions of this CPU that kernels profit from.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn simd() -> Vec<&'static str> {
    let known = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    known.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

/// The vector extensions of this CPU that kernels profit from.
#[cfg(target_arch = "aarch64")]
fn simd() -> Vec<&'static str> {
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
    ];
    known.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

/// Nothing is known of the vector extensions of other processors.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> Vec<&'static str> {
    Vec::new()
}
