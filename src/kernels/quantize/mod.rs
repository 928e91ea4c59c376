//! Linear quantisation and products of whole numbers.

mod cpu;
mod linear;
mod product;
mod range;

pub use linear::{Conversion, Linear};
pub use product::Product;
pub use range::Range;

use super::{Language, Needs, Variant};
use crate::gpu::{ConstValue, ShaderRequest};

/// The name policies and coverage use.
pub const FAMILY: &str = "quantize";

const RUN_ON: &[&str] = &["lavapipe", "lavapipe-old", "swiftshader"];

const fn needs(invocations: u32, workgroup_bytes: u32) -> Needs {
    Needs {
        f16: false,
        subgroups: false,
        coop: None,
        lanes: None,
        int64: false,
        int8: false,
        storage_buffers: 8,
        invocations,
        workgroup_bytes,
    }
}

/// What there is for conversions, for ranges and for products.
pub const VARIANTS: &[Variant] = &[
    Variant {
        name: "linear",
        shader: "quantize/linear",
        consts: &[("WORKGROUP", ConstValue::U32(64)), ("ITEMS", ConstValue::U32(4))],
        features: &[],
        needs: needs(64, 0),
        languages: Language::ALL,
        executed_on: RUN_ON,
    },
    Variant {
        name: "range",
        shader: "quantize/range",
        consts: &[],
        features: &[],
        needs: needs(1, 0),
        languages: Language::ALL,
        executed_on: RUN_ON,
    },
    // 64 by 64 sums in a workgroup.
    Variant {
        name: "product_64",
        shader: "quantize/product",
        consts: &[("SIDE", ConstValue::U32(16))],
        features: &[],
        needs: needs(256, 8192),
        languages: Language::ALL,
        executed_on: RUN_ON,
    },
    // 32 by 32 sums: for small products, and for software adapters.
    Variant {
        name: "product_32",
        shader: "quantize/product",
        consts: &[("SIDE", ConstValue::U32(8))],
        features: &[],
        needs: needs(64, 4096),
        languages: Language::ALL,
        executed_on: RUN_ON,
    },
];

/// The shader of a variant without options.
fn plain(variant: &Variant) -> ShaderRequest {
    let request = ShaderRequest::new(variant.shader);
    variant.consts.iter().fold(request, |request, (name, value)| request.with(*name, *value))
}

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    match variant.name {
        "linear" => linear::requests(variant),
        "range" => vec![plain(variant)],
        _ => product::requests(variant),
    }
}
