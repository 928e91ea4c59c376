//! From a variant and the options of a product to a shader.

use super::variants::FEW;
use super::{int8, ksplit};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::kernels::Variant;
use crate::ops::elementwise::Unary;
use crate::quant::{DeviceLayout, KINDS, WEIGHT_TYPES};
use crate::tensor::DType;

/// How rows of A find their matrix of B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    /// By their place in the batch.
    Batch,
    /// By an index of their own, one by one.
    Each,
    /// By an index of their own, those of the same matrix together.
    Grouped,
}

/// What a shader is instantiated for, beside its variant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Options {
    /// The type of B.
    pub(super) weight: DType,
    pub(super) activation: Option<Unary>,
    pub(super) gated: bool,
    pub(super) meeting: Meeting,
    pub(super) bias: bool,
    /// There is more than one matrix.
    pub(super) batched: bool,
    /// This is not all of the sum over k.
    pub(super) staged: bool,
    pub(super) trans_a: bool,
    /// B is `[n, k]`.
    pub(super) rows_b: bool,
    /// Rows of A are whole vectors of four.
    pub(super) a_vec4: bool,
    /// Rows of a plain B are whole groups of eight, from such a group on.
    pub(super) b_quads: bool,
    /// k may not be a multiple of 8.
    pub(super) k_tail: bool,
    /// The most rows there can be.
    pub(super) m: u64,
    /// Invocations of a subgroup, for cooperative matrices.
    pub(super) lanes: u32,
    /// Rows of B in memory that take turns.
    pub(super) together: u64,
}

impl Options {
    /// The tile one workgroup computes: rows and columns of C.
    pub(super) fn tile(&self, variant: &Variant) -> Result<(u32, u32)> {
        let of = |name: &str| constant(variant, name);
        let halved = if self.gated { 2 } else { 1 };
        Ok(match variant.shader {
            "matmul/tiled" | "matmul/int8" => (4 * of("TY")?, 4 * of("TX")? / halved),
            "matmul/tiled_128" => (128, 128 / halved),
            "matmul/coop" => (4 * of("SIZE")?, 4 * of("SIZE")? / halved),
            "matmul/coop_wide" => (8 * of("SIZE")?, 8 * of("SIZE")? / halved),
            "matmul/direct" => {
                let (rows, columns) = direct_tile(variant);
                (rows, columns * of("LANES")? / halved)
            }
            "matmul/matvec" => (self.rows(), 4 / halved),
            "matmul/strips" => (self.rows().min(2), of("THREADS")? / of("TEAM")? * 4 / halved),
            "matmul/blocks" => (1, 4 * of("LANES")? / halved),
            other => return Err(Error::internal(format!("no tile is known for '{other}'"))),
        })
    }

    /// Whether eight elements of B along k are had at once for less than one by one.
    fn eights(&self) -> bool {
        self.rows_b && self.weight != DType::F32
    }

    /// Rows of A that a `matvec` workgroup takes at once: 1, 2, 4 or 8.
    fn rows(&self) -> u32 {
        self.m.clamp(1, FEW).next_power_of_two() as u32
    }

    /// The shader.
    pub(super) fn request(&self, variant: &Variant) -> Result<ShaderRequest> {
        let layout = DeviceLayout::of(self.weight).ok_or_else(|| {
            Error::unsupported("matmul", format!("weights of type {}", self.weight))
        })?;
        let decoder = layout.shader().trim_end_matches(".wgsl");
        let mut request = ShaderRequest::new(variant.shader).module("weight", decoder);
        // Every element of workgroup memory is written before it is read.
        request.zero_workgroup = false;
        request.in_bounds = for_gpus(variant);
        if self.gated {
            request =
                request.module("up/weight", decoder).module("up/weight_body", "matmul/up_body");
            if layout.has_head() {
                request = request.module("up/weight_head", "matmul/up_head");
            }
            if layout.has_codebook() {
                request = request.module("up/weight_table", "matmul/up_table");
            }
        }
        // In how many parts sums are is no matter of one of them.
        for (name, value) in variant.consts.iter().filter(|(name, _)| *name != "SPLIT") {
            request = request.with(*name, *value);
        }
        if self.weight.is_quantised() {
            request = request.with("TOGETHER", self.together as u32);
        }
        match variant.shader {
            "matmul/matvec" => request = request.with("ROWS", self.rows()),
            "matmul/strips" => request = request.with("ROWS", self.rows().min(2)),
            "matmul/coop" | "matmul/coop_wide" => request = request.with("LANES", self.lanes),
            _ => {}
        }
        let flags = [
            ("gated", self.gated),
            ("experts", self.meeting != Meeting::Batch),
            ("grouped", self.meeting == Meeting::Grouped),
            ("bias", self.bias),
            ("batched", self.batched),
            ("staged", self.staged),
            ("trans_a", self.trans_a),
            ("rows_b", self.rows_b),
            ("a_vec4", self.a_vec4 && !variant.features.contains(&"lanes") && !variant.needs.int8),
            ("a_pairs", variant.needs.int64 && self.a_vec4),
            ("body_quads", self.b_quads && by_eights(variant)),
            ("k_tail", self.k_tail),
            ("quantised", self.weight.is_quantised()),
            ("activated", self.activation.is_some()),
            ("eights", variant.shader == "matmul/direct" && self.eights()),
            ("head_quads", variant.shader == "matmul/strips" && layout.head_bytes_per_block == 16),
            (
                "paired",
                variant.shader == "matmul/strips"
                    && matches!(self.weight, DType::Q4_K | DType::Q5_K),
            ),
            ("whole", variant.shader == "matmul/blocks" && layout.has_whole_blocks()),
        ];
        for name in variant.features {
            request = request.feature(*name);
        }
        for (name, _) in flags.iter().filter(|(_, on)| *on) {
            request = request.feature(*name);
        }
        if let Some(activation) = self.activation {
            activation.configure(&mut request);
        }
        Ok(request)
    }
}

/// Rows, and the columns of an invocation, of a `direct` tile: the largest that its
/// features name.
fn direct_tile(variant: &Variant) -> (u32, u32) {
    let most = |names: &[(&str, u32)]| {
        let named = names.iter().filter(|(name, _)| variant.features.contains(name));
        named.map(|(_, size)| *size).max()
    };
    let rows = most(&[("rows_8", 8), ("rows_16", 16), ("rows_32", 32)]).unwrap_or(1);
    (rows, if variant.features.contains(&"wide_2") { 8 } else { 4 })
}

fn constant(variant: &Variant, name: &str) -> Result<u32> {
    let lacks = || Error::internal(format!("variant '{}' lacks {name}", variant.name));
    variant.constant(name).ok_or_else(lacks)
}

/// Every shader of a variant that differs in more than a number: each weight
/// type, plain and gated, and each option with F32.
pub(crate) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let plain = Options {
        weight: DType::F32,
        activation: None,
        gated: false,
        meeting: Meeting::Batch,
        bias: false,
        batched: false,
        staged: false,
        trans_a: false,
        rows_b: true,
        a_vec4: true,
        b_quads: false,
        k_tail: false,
        m: 1,
        lanes: if variant.needs.coop == Some(8) { 8 } else { 32 },
        together: 1,
    };
    let silu = Some(Unary::Silu);
    let mut all = vec![
        Options { bias: true, activation: silu, ..plain },
        Options { batched: true, trans_a: true, a_vec4: false, ..plain },
        Options { batched: true, bias: true, k_tail: true, a_vec4: false, m: 8, ..plain },
        Options { staged: true, bias: true, activation: silu, k_tail: true, ..plain },
    ];
    for weight in WEIGHT_TYPES {
        all.push(Options { weight, ..plain });
        if !weight.is_quantised() && by_eights(variant) {
            all.push(Options { weight, b_quads: true, ..plain });
            all.push(Options { weight, b_quads: true, gated: true, activation: silu, ..plain });
        }
        if !weight.is_quantised() {
            all.push(Options { weight, k_tail: true, a_vec4: false, m: 3, ..plain });
        }
        let gated = Options { weight, gated: true, activation: silu, ..plain };
        all.push(gated);
        if !weight.is_quantised() {
            all.push(Options { k_tail: true, a_vec4: false, ..gated });
        }
        if let Some(meeting) = meeting(variant).filter(|_| KINDS.contains(&weight)) {
            all.push(Options { weight, meeting, ..plain });
            // One by one, two weights with a codebook are a buffer too many.
            let codebook = DeviceLayout::of(weight).is_some_and(|layout| layout.has_codebook());
            if !(codebook && meeting == Meeting::Each) {
                all.push(Options { weight, meeting, gated: true, activation: silu, ..plain });
            }
        }
        if !matches!(variant.shader, "matmul/matvec" | "matmul/blocks" | "matmul/strips") {
            all.push(Options { weight, rows_b: weight.is_quantised(), ..plain });
        }
    }
    if variant.shader == "matmul/blocks" {
        all.retain(|options| in_groups(options.weight));
        all.push(Options { weight: DType::Q4_1, bias: true, activation: silu, ..plain });
        all.push(Options { weight: DType::Q8_0, batched: true, a_vec4: false, ..plain });
    }
    if variant.shader == "matmul/strips" {
        all.retain(|options| in_strips(options.weight));
        all.push(Options { weight: DType::Q4_1, bias: true, activation: silu, m: 2, ..plain });
        all.push(Options { weight: DType::Q8_0, batched: true, a_vec4: false, ..plain });
        all.push(Options { weight: DType::Q4_K, staged: true, m: 2, ..plain });
    }
    if variant.needs.int8 {
        all.retain(|options| in_groups(options.weight) && options.meeting == Meeting::Batch);
    }
    let ways = ksplit::ways(variant);
    if ways > 1 {
        all.retain(|options| !options.gated && !options.staged);
        for options in &mut all {
            *options = Options { bias: false, activation: None, batched: true, ..*options };
        }
    }
    if variant.needs.int64 {
        all.retain(|options| {
            in_pairs(options.weight) || (options.weight == DType::F32 && options.rows_b)
        });
    }
    // The options of this table are complete for its variants, so none fails.
    let requests = all.iter().filter_map(|options| options.request(variant).ok());
    // What groups rows needs nothing special; it is listed with the variants that it
    // is no exception for.
    let groups = meeting(variant) == Some(Meeting::Grouped);
    let plain = variant.needs.coop.is_none() && variant.needs.invocations >= 32;
    let helpers = [false, true].map(grouping).into_iter().filter(|_| groups && plain);
    let joins = [(true, silu), (false, None)].map(|(bias, f)| ksplit::joining(ways, bias, f));
    let joins = joins.into_iter().filter(|_| ways > 1);
    let rounding = Some(int8::rounding()).filter(|_| variant.needs.int8);
    requests.chain(helpers).chain(joins).chain(rounding).collect()
}

/// Whether a variant is one for GPUs. Their places in workgroup memory follow from the
/// sizes of their tiles alone and their loops end with k or a tile, so they need no checks of
/// either. The others are for software adapters, of which one is slower without its checks.
fn for_gpus(variant: &Variant) -> bool {
    !matches!(variant.shader, "matmul/direct" | "matmul/blocks")
}

/// Whether a variant reads eight elements of a plain B along k at a time.
fn by_eights(variant: &Variant) -> bool {
    for_gpus(variant) && !variant.needs.int8 && variant.shader != "matmul/strips"
}

/// Whether the type is in blocks whose scales are of 16 elements at least, which
/// `matmul/blocks` relies on. Those of IQ1_M have offsets of 8.
pub(super) fn in_groups(weight: DType) -> bool {
    weight.is_quantised() && weight != DType::IQ1_M
}

/// Whether the body of the type is read in pairs of words, each beginning at an even
/// one. Blocks of others have an odd number of words, or single ones are read.
pub(super) fn in_pairs(weight: DType) -> bool {
    use DType::{IQ4_NL, IQ4_XS, MXFP4, NVFP4, Q4_0, Q4_1, Q4_K, Q5_K, Q8_0, TQ2_0};
    matches!(weight, Q4_0 | Q4_1 | Q8_0 | Q4_K | Q5_K | IQ4_NL | IQ4_XS | MXFP4 | NVFP4 | TQ2_0)
}

/// Whether the shader of the type has `strips`.
pub(super) fn in_strips(weight: DType) -> bool {
    DeviceLayout::of(weight).is_some_and(|layout| layout.has_strips())
}

/// How a variant has rows meet matrices of their own; `None` if it cannot.
pub(super) fn meeting(variant: &Variant) -> Option<Meeting> {
    match variant.shader {
        _ if ksplit::ways(variant) > 1 || variant.needs.int8 => None,
        "matmul/matvec" | "matmul/blocks" | "matmul/strips" => Some(Meeting::Each),
        "matmul/direct" if direct_tile(variant).0 == 1 => Some(Meeting::Each),
        _ => Some(Meeting::Grouped),
    }
}

/// The shader that counts the rows of each matrix, or the one that groups them.
pub(super) fn grouping(placing: bool) -> ShaderRequest {
    let request = ShaderRequest::new("matmul/group");
    if placing { request.feature("placing") } else { request }
}
