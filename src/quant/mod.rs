//! Block formats of weights: exact decoding, encoding, and the device layout.
//!
//! - [`decode()`]: bytes to f32, bit for bit what PyPI `gguf` computes with NumPy.
//! - [`encode()`]: f32 to bytes, plain round-to-nearest.
//! - [`layout`]: how a tensor's blocks lie in device memory.
//! - [`random`]: random blocks for tests.
//!
//! # The shader side
//!
//! `shaders/weights/<type>.wgsl` decodes one type, straight from the device
//! layout. All of them have the same interface, so a kernel imports the module
//! `package::weight`, and the host mounts the file of the weight's type under
//! that name. The two regions of the weight's buffer are bound by name:
//! `w_body` and, where [`layout::DeviceLayout::has_head`], `w_head`
//! (`shaders/weight_body.wgsl`, `weight_head.wgsl`).
//!
//! ```wgsl
//! import package::common::eight::Eight;             // struct Eight { lo, hi: vec4<f32> }
//! import package::weight::{BLOCK_LEN, decode8, decode8_at, element};
//! ```
//!
//! | Name | Meaning |
//! |---|---|
//! | `const BLOCK_LEN: u32` | elements per block: 32, 64 or 256; 8 for plain types |
//! | `const GROUP_LEN: u32` | consecutive elements that share scale and offset: 8, 16 or 32; 8 for plain types |
//! | `decode8(block, part) -> Eight` | elements `8 * part ..+ 8` of a block |
//! | `decode8_at(index) -> Eight` | eight elements from a global element index: a multiple of 8, any number for plain types |
//! | `element(index) -> f32` | one element by global index (a tail, a gather of one) |
//! | `affine(block, part) -> vec2<f32>` | (scale, offset) of the part: `decode8 = quants8 * scale + offset` |
//! | `quants8(block, part) -> Eight` | the part's quants as floats, before scaling |
//! | `packed8(block, part) -> vec2<u32>` | the same quants as eight signed bytes, for `dot4I8Packed`; not for plain types |
//! | `quants32(block) -> Block32` | all quants of a block of 32 as floats, each word read once; where [`layout::DeviceLayout::has_whole_blocks`] says so |
//! | `strips(block, step) -> Block32` | quants of 32 elements, 16 from `strip_start(step)` in the block and 16 from `STRIP_APART` behind it, from words that are read four at a time; where [`layout::DeviceLayout::has_strips`] says so; Q4_K and Q5_K have `strip_scales`, `affine` of both |
//!
//! `block` counts blocks over the whole tensor: `row * blocks_per_row + b`.
//! `part` is below `BLOCK_LEN / 8`. Elements are in the tensor's order.
//! A dot product with a row is cheapest as
//! `scale * dot(quants, x) + offset * sum(x)` per group of `GROUP_LEN`.
//!
//! For plain types a block is 8 consecutive elements of the tensor, so `decode8`
//! serves row lengths that are multiples of 8. For other row lengths use
//! `decode8_at(row * row_len + 8 * i)` and `element` for the rest of the row;
//! both work for every type.
//!
//! The codebooks of the IQ types are in a buffer of their own, bound as `w_table`
//! ([`layout::DeviceLayout::codebook`], `shaders/weight_table.wgsl`).
//!
//! `decode8`, `decode8_at` and `element` give exactly the bits that [`decode()`]
//! gives. Each module says why in a comment: the only operation that rounds is
//! the last one, so it does not matter whether a driver fuses it. (The sign of a
//! zero and subnormal results of `F32` and `BF16` are the driver's.)

mod codebooks;
pub mod decode;
pub mod encode;
pub mod layout;
pub mod random;

#[cfg(target_arch = "x86_64")]
pub(crate) use decode::vectors;
pub use decode::{decode, decode_block};
pub use encode::encode;
pub use layout::DeviceLayout;

use crate::tensor::DType;

/// Every type a weight may have: the block types and the plain floating-point ones.
pub const WEIGHT_TYPES: [DType; 26] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Q2_K,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::IQ4_NL,
    DType::IQ4_XS,
    DType::IQ2_XXS,
    DType::IQ2_XS,
    DType::IQ2_S,
    DType::IQ3_XXS,
    DType::IQ3_S,
    DType::IQ1_S,
    DType::IQ1_M,
    DType::TQ1_0,
    DType::TQ2_0,
    DType::MXFP4,
    DType::NVFP4,
];

/// One type of every kind that kernels tell apart: plain and of blocks, with a
/// minimum and without, with a head and without, with a codebook.
pub(crate) const KINDS: [DType; 9] = [
    DType::F32,
    DType::F16,
    DType::Q4_0,
    DType::Q8_0,
    DType::Q4_K,
    DType::Q6_K,
    DType::IQ2_XXS,
    DType::IQ1_M,
    DType::MXFP4,
];
