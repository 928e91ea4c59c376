//! The table of variants, which one suits a convolution, and their shaders.

use super::winograd;
use crate::error::{Error, Result};
use crate::gpu::ConstValue::U32;
use crate::gpu::ShaderRequest;
use crate::kernels::{GpuCx, Language, Needs, Sharing, Variant};
use crate::ops::conv::geometry::{Axis, Geometry};
use crate::ops::elementwise::Unary;

/// The name policies and coverage use.
pub const FAMILY: &str = "conv";

const NEEDS: Needs = Needs {
    f16: false,
    subgroups: false,
    coop: None,
    lanes: None,
    int64: false,
    int8: false,
    storage_buffers: 8,
    invocations: 1,
    workgroup_bytes: 0,
};

/// Every variant; where several suit, the first one is taken.
pub const VARIANTS: &[Variant] = &[
    Variant {
        name: "direct_8",
        shader: "conv/direct",
        consts: &[("LANES", U32(8))],
        features: &["channels_8"],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "direct_16",
        shader: "conv/direct",
        consts: &[("LANES", U32(8))],
        features: &["channels_8", "channels_16"],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "direct_32",
        shader: "conv/direct",
        consts: &[("LANES", U32(8))],
        features: &["channels_8", "channels_16", "channels_32"],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // Each of eight lanes reads the weights of a channel for all eight.
    Variant {
        name: "lanes_8",
        shader: "conv/direct",
        consts: &[("LANES", U32(8))],
        features: &["channels_8", "lanes"],
        needs: Needs { subgroups: true, lanes: Some(8), invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "lanes_16",
        shader: "conv/direct",
        consts: &[("LANES", U32(8))],
        features: &["channels_8", "channels_16", "lanes"],
        needs: Needs { subgroups: true, lanes: Some(8), invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "lanes_32",
        shader: "conv/direct",
        consts: &[("LANES", U32(8))],
        features: &["channels_8", "channels_16", "channels_32", "lanes"],
        needs: Needs { subgroups: true, lanes: Some(8), invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    // Each of four lanes reads the weights of a channel for all four.
    Variant {
        name: "quads_8",
        shader: "conv/direct",
        consts: &[("LANES", U32(8))],
        features: &["channels_8", "quads"],
        needs: Needs { subgroups: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "quads_32",
        shader: "conv/direct",
        consts: &[("LANES", U32(8))],
        features: &["channels_8", "channels_16", "channels_32", "quads"],
        needs: Needs { subgroups: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // Two transforms and matrix products between them; `winograd.rs` has the others.
    Variant {
        name: "winograd",
        shader: "conv/winograd_input",
        consts: &[],
        features: &[],
        needs: Needs { invocations: 64, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // Strips of one output channel, which meets one input channel.
    Variant {
        name: "planes",
        shader: "conv/planes",
        consts: &[("LANES", U32(8)), ("ROWS", U32(16))],
        features: &[],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "planes_64",
        shader: "conv/planes",
        consts: &[("LANES", U32(64)), ("ROWS", U32(4))],
        features: &[],
        needs: Needs { invocations: 64, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // One output channel at a time: for groups of few.
    Variant {
        name: "depthwise",
        shader: "conv/direct",
        consts: &[("LANES", U32(8))],
        features: &[],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "depthwise_64",
        shader: "conv/direct",
        consts: &[("LANES", U32(64))],
        features: &[],
        needs: Needs { invocations: 64, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "tiled_64",
        shader: "conv/tiled",
        consts: &[("SIDE", U32(16))],
        features: &[],
        needs: Needs { invocations: 256, workgroup_bytes: 8448, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "tiled_32",
        shader: "conv/tiled",
        consts: &[("SIDE", U32(8))],
        features: &[],
        needs: Needs { invocations: 64, workgroup_bytes: 2176, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// With fewer output channels in a group, one is computed at a time.
const FEW: usize = 4;
/// Loop iterations of an invocation beside those of its sums.
const OTHER_LOOPS: u64 = 64;

/// Picks the variant: the best suited one; where policy or device leave none of
/// those, the first that can compute it at all.
pub(super) fn choose(cx: &GpuCx<'_>, g: &Geometry, samples: u64) -> Result<&'static Variant> {
    let winograd = winograd::possible(cx, g, samples);
    let can = |v: &Variant| match v.name {
        "winograd" => winograd,
        _ if v.shader == "conv/planes" => in_strips(g) && most_channels(cx, v, g) > 0,
        _ => most_channels(cx, v, g) > 0,
    };
    if cx.policy.force.contains_key(FAMILY) {
        return cx.choose(FAMILY, VARIANTS, can);
    }
    let software = cx.caps.is_software();
    let outputs = samples.saturating_mul(g.plane_out() as u64);
    let tiles = outputs.div_ceil(64) * (g.m as u64).div_ceil(64) * g.groups as u64;
    let sharing = Sharing::of(cx.caps);
    let winograd = software && winograd && pays(g, outputs) && sharing != Sharing::Lanes;
    let direct = direct(g, samples, sharing, cx.caps.gathers).filter(|_| !winograd);
    let suits = |v: &Variant| match v.name {
        "winograd" => winograd,
        _ if v.features.contains(&"channels_8") => software && direct == Some(v.name),
        "planes" => software && g.m < FEW,
        "planes_64" => g.m < FEW,
        "depthwise" => software && g.m < FEW,
        "depthwise_64" => g.m < FEW,
        // Larger tiles read less; smaller ones keep a device busy.
        "tiled_64" => !software && g.m > 32 && tiles >= 64,
        _ => !software,
    };
    cx.choose(FAMILY, VARIANTS, |v| can(v) && suits(v))
        .or_else(|_| cx.choose(FAMILY, VARIANTS, can))
}

/// Whether there is a `planes` shader for the window.
fn in_strips(g: &Geometry) -> bool {
    let [d, h, w] = g.three();
    let same = h.kernel == w.kernel && h.stride == w.stride;
    let plain = !g.transposed && d == Axis::ONE && h.dilation == 1 && w.dilation == 1;
    plain && same && g.c == 1 && matches!(w.kernel, 3 | 5 | 7) && matches!(w.stride, 1 | 2)
}

/// Whether what Winograd's transforms cost, for each input and each output, is won back
/// by the fewer products, of which there are input times output channels.
fn pays(g: &Geometry, outputs: u64) -> bool {
    g.c >= 16 && g.m >= 16 && outputs >= 256
}

/// The variant by which a software adapter computes several channels at once, if it
/// should. What is read for a tile is read for all its channels; those past the end
/// are computed in vain, and larger tiles take longer to compile. Where all lanes share
/// reads, and rows of the window have one tap or three, 16 channels are enough, but where
/// they read different places at once.
fn direct(g: &Geometry, samples: u64, sharing: Sharing, gathers: bool) -> Option<&'static str> {
    const SMALL: u64 = 1 << 21;
    if g.m < FEW {
        return None;
    }
    let outputs = samples.saturating_mul((g.plane_out() * g.groups * g.m) as u64);
    let small = outputs.saturating_mul((g.c * g.taps()) as u64) < SMALL;
    let [.., row] = g.three();
    let written = !g.transposed && matches!(row.kernel, 1 | 3) && !gathers;
    let tiles: &[_] = match sharing {
        Sharing::Quads => &[(8, "quads_8"), (32, "quads_32")],
        Sharing::Alike => &[(8, "direct_8"), (16, "direct_16"), (32, "direct_32")],
        Sharing::Lanes if written => &[(8, "lanes_8"), (16, "lanes_16")],
        Sharing::Lanes => &[(8, "lanes_8"), (16, "lanes_16"), (32, "lanes_32")],
    };
    let cost = |size: usize| g.m.div_ceil(size) * (size + 8);
    let fits = tiles.iter().filter(|(size, _)| *size == 8 || !small);
    fits.min_by_key(|(size, _)| cost(*size)).map(|(_, name)| *name)
}

/// How many input channels an invocation of a variant may go through.
pub(super) fn most_channels(cx: &GpuCx<'_>, variant: &Variant, g: &Geometry) -> u64 {
    let Some(most) = cx.caps.loop_iterations else { return u64::MAX };
    let [d, h, w] = g.three().map(|axis| axis.kernel as u64);
    let search: u64 = match g.transposed {
        true => g.axes.iter().map(|axis| step(axis) as u64).sum(),
        false => 0,
    };
    let each = match variant.shader {
        // Steps of SIDE, and a loop over each step.
        "conv/tiled" => 2 * d * h * w,
        // Of its only channel.
        "conv/planes" => rows_of(variant, g) + h,
        _ => d * h * (1 + w),
    };
    most.saturating_sub(OTHER_LOOPS + search + d * (1 + h)) / each.max(1)
}

/// The distance between the taps of a phase of a transposed convolution.
pub(super) fn step(axis: &Axis) -> usize {
    axis.stride / gcd(axis.stride, axis.dilation)
}

/// The distance between the inputs that they meet.
pub(super) fn apart(axis: &Axis) -> usize {
    axis.dilation / gcd(axis.stride, axis.dilation)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What a shader is instantiated for, beside its variant.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Options {
    pub(super) bias: bool,
    pub(super) residual: bool,
    pub(super) activation: Option<Unary>,
    /// This is not all of the sum.
    pub(super) staged: bool,
    /// There are three spatial axes.
    pub(super) deep: bool,
    pub(super) transposed: bool,
    /// Rows of the window have one tap.
    pub(super) point: bool,
    /// The window is a single tap, and weights of four channels are a vector.
    pub(super) fours: bool,
    /// Neighbouring taps and outputs meet neighbouring inputs.
    pub(super) sliding: bool,
    /// Taps of a row of the window.
    pub(super) taps: usize,
}

impl Options {
    /// The options that follow from the extents.
    pub(super) fn of(g: &Geometry) -> Self {
        let [d, _, w] = g.three();
        let (stride, dilation) = if g.transposed { (1, apart(&w)) } else { (w.stride, w.dilation) };
        let point = w.kernel == 1 && !g.transposed;
        let sliding = !point && stride == 1 && dilation == 1;
        let deep = d != Axis::ONE;
        let fours = point && g.taps() == 1 && g.c.is_multiple_of(4);
        let taps = w.kernel;
        Options {
            deep,
            transposed: g.transposed,
            point,
            fours,
            sliding,
            taps,
            ..Options::default()
        }
    }

    /// The shader.
    pub(super) fn request(&self, variant: &Variant) -> ShaderRequest {
        let mut request = ShaderRequest::new(variant.shader);
        // Every element of workgroup memory is written before it is read.
        request.zero_workgroup = false;
        // Places in workgroup memory follow from the sizes of its tiles alone.
        request.in_bounds = variant.shader == "conv/tiled";
        for (name, value) in variant.consts {
            request = request.with(*name, *value);
        }
        let direct = variant.shader == "conv/direct";
        let planes = variant.shader == "conv/planes";
        let written = direct && self.taps == 3 && !self.transposed;
        let flags = [
            ("bias", self.bias),
            ("residual", self.residual),
            ("activated", self.activation.is_some()),
            ("staged", self.staged),
            ("deep", self.deep),
            ("transposed", self.transposed),
            ("point", self.point && direct && !self.fours),
            ("fours", self.fours && direct),
            ("sliding", self.sliding && direct),
            ("taps_3", written),
            ("stride_2", !self.sliding && planes),
            ("taps_5", self.taps >= 5 && planes),
            ("taps_7", self.taps >= 7 && planes),
        ];
        let flags = flags.iter().filter(|(_, on)| *on).map(|(name, _)| *name);
        for name in variant.features.iter().copied().chain(flags) {
            request = request.feature(name);
        }
        if let Some(activation) = self.activation {
            activation.configure(&mut request);
        }
        request
    }
}

/// Rows of outputs of an invocation.
pub(super) fn rows_of(variant: &Variant, g: &Geometry) -> u64 {
    match variant.consts {
        [_, ("ROWS", U32(rows))] if g.three()[1].stride == 1 => u64::from(*rows),
        _ => 1,
    }
}

/// Output channels and quads of outputs that a workgroup computes.
pub(super) fn tile(variant: &Variant) -> Result<(u64, u64)> {
    match (variant.shader, variant.consts) {
        ("conv/tiled", [("SIDE", U32(side))]) => Ok((4 * u64::from(*side), u64::from(*side))),
        ("conv/planes", [("LANES", U32(lanes)), _]) => Ok((1, u64::from(*lanes))),
        ("conv/direct", [("LANES", U32(lanes))]) => {
            let most = [("channels_8", 8), ("channels_16", 16), ("channels_32", 32)];
            let named = most.iter().filter(|(name, _)| variant.features.contains(name));
            Ok((named.map(|(_, size)| *size).max().unwrap_or(1), u64::from(*lanes)))
        }
        _ => Err(Error::internal(format!("no tile is known for variant '{}'", variant.name))),
    }
}

/// Every shader of a variant that differs in more than a number.
pub(crate) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let plain = Options::default();
    let relu = Some(Unary::Relu);
    let all = [
        plain,
        Options { bias: true, activation: relu, sliding: true, ..plain },
        Options { bias: true, residual: true, activation: relu, point: true, ..plain },
        Options { bias: true, point: true, fours: true, ..plain },
        Options { bias: true, staged: true, activation: relu, ..plain },
        Options { deep: true, staged: true, sliding: true, ..plain },
        Options { deep: true, bias: true, ..plain },
        Options { transposed: true, bias: true, sliding: true, ..plain },
        Options { transposed: true, deep: true, residual: true, ..plain },
        Options { transposed: true, staged: true, activation: relu, ..plain },
    ];
    let strips = [(3, true), (3, false), (5, false), (7, true)].map(|(taps, sliding)| Options {
        bias: sliding,
        residual: sliding,
        activation: relu,
        taps,
        sliding,
        ..plain
    });
    match variant.shader {
        "conv/winograd_input" => winograd::requests(&all[1..3]),
        "conv/planes" => strips.iter().map(|options| options.request(variant)).collect(),
        _ => all.iter().map(|options| options.request(variant)).collect(),
    }
}
