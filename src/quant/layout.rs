//! How a weight lies in device memory.
//!
//! GGML blocks have sizes like 18 or 210 bytes, which shaders cannot read as
//! words. On upload the blocks of a tensor are split into two regions of one
//! buffer, without padding between blocks:
//!
//! - the *body*: all parts of a block that are whole words, a fixed number of
//!   words per block;
//! - the *head*: the f16 scale (2 bytes, two blocks per word), the f16 pair of
//!   scale and minimum (4 bytes, one block per word), or a scale of one byte. Where
//!   the scales of groups lie beside it they are in the head too (8 or 16 bytes), so
//!   that the quants of a block begin at a whole vector of four words.
//!
//! Both parts are contiguous in the source block too, so splitting is two copies.
//! Plain types have a body only: their elements as they are.

use super::codebooks;
use crate::error::{Error, Result};
use crate::tensor::DType;

/// The device layout of one weight type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceLayout {
    /// The weight's type.
    pub dtype: DType,
    /// Elements per block as the methods here count blocks: 1 for plain types.
    pub block_len: usize,
    /// Bytes of a block in the body: a multiple of 4 for block types, the
    /// element's size for plain ones.
    pub body_bytes_per_block: usize,
    /// Bytes of a block in the head: 0, 1, 2, 4, 8 or 16.
    pub head_bytes_per_block: usize,
    body_at: usize,
    head_at: usize,
}

impl DeviceLayout {
    /// The layout of a type, or `None` where shaders cannot read it as a weight.
    pub const fn of(dtype: DType) -> Option<Self> {
        // Byte offset of the head in the source block, and its size. The rest of
        // the block is the body, before the head or after it
        // (ggml-common.h, the `block_*` structs).
        let (head_at, head) = match dtype {
            DType::F32 | DType::F16 | DType::BF16 => (0, 0),
            DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4_NL => (0, 2),
            DType::Q4_1 | DType::Q5_1 => (0, 4),
            // Scale and minimum, and the scales and minimums of groups.
            DType::Q4_K | DType::Q5_K => (0, 16),
            DType::Q2_K => (80, 4),
            DType::Q3_K => (108, 2),
            DType::Q6_K => (208, 2),
            DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S => (0, 2),
            DType::IQ3_XXS | DType::IQ3_S | DType::IQ1_S => (0, 2),
            // The scale, and the high and the low bits of the scales of groups.
            DType::IQ4_XS => (0, 8),
            // Its scale is in pieces among those of the groups.
            DType::IQ1_M => (0, 0),
            DType::TQ1_0 => (52, 2),
            DType::TQ2_0 => (64, 2),
            DType::MXFP4 => (0, 1),
            DType::NVFP4 => (0, 4),
            _ => {
                return None;
            }
        };
        Some(DeviceLayout {
            dtype,
            block_len: dtype.block_len(),
            body_bytes_per_block: dtype.block_bytes() - head,
            head_bytes_per_block: head,
            body_at: if head_at == 0 { head } else { 0 },
            head_at,
        })
    }

    /// The file of the type's decoder, below `shaders/`.
    pub const fn shader(&self) -> &'static str {
        match self.dtype {
            DType::F32 => "weights/f32.wgsl",
            DType::F16 => "weights/f16.wgsl",
            DType::BF16 => "weights/bf16.wgsl",
            DType::Q4_0 => "weights/q4_0.wgsl",
            DType::Q4_1 => "weights/q4_1.wgsl",
            DType::Q5_0 => "weights/q5_0.wgsl",
            DType::Q5_1 => "weights/q5_1.wgsl",
            DType::Q8_0 => "weights/q8_0.wgsl",
            DType::Q2_K => "weights/q2_k.wgsl",
            DType::Q3_K => "weights/q3_k.wgsl",
            DType::Q4_K => "weights/q4_k.wgsl",
            DType::Q5_K => "weights/q5_k.wgsl",
            DType::Q6_K => "weights/q6_k.wgsl",
            DType::IQ4_NL => "weights/iq4_nl.wgsl",
            DType::IQ4_XS => "weights/iq4_xs.wgsl",
            DType::IQ2_XXS => "weights/iq2_xxs.wgsl",
            DType::IQ2_XS => "weights/iq2_xs.wgsl",
            DType::IQ2_S => "weights/iq2_s.wgsl",
            DType::IQ3_XXS => "weights/iq3_xxs.wgsl",
            DType::IQ3_S => "weights/iq3_s.wgsl",
            DType::IQ1_S => "weights/iq1_s.wgsl",
            DType::IQ1_M => "weights/iq1_m.wgsl",
            DType::TQ1_0 => "weights/tq1_0.wgsl",
            DType::TQ2_0 => "weights/tq2_0.wgsl",
            DType::MXFP4 => "weights/mxfp4.wgsl",
            DType::NVFP4 => "weights/nvfp4.wgsl",
            // `of` makes no layout of these.
            _ => "",
        }
    }

    /// The shader's `BLOCK_LEN`: elements per block, 8 for plain types.
    pub const fn shader_block_len(&self) -> usize {
        if self.block_len == 1 { 8 } else { self.block_len }
    }

    /// Words of a block in the body; `None` for plain types.
    pub const fn body_words_per_block(&self) -> Option<usize> {
        if self.block_len == 1 { None } else { Some(self.body_bytes_per_block / 4) }
    }

    /// Whether the type has a head region, and its shader the binding `w_head`.
    pub const fn has_head(&self) -> bool {
        self.head_bytes_per_block != 0
    }

    /// Whether the type's shader has `quants32`: blocks of 32 elements whose words each
    /// have quants of two parts.
    pub const fn has_whole_blocks(&self) -> bool {
        matches!(
            self.dtype,
            DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::IQ4_NL | DType::MXFP4
        )
    }

    /// Whether the type's shader has `strips`: 32 elements at a time, whose quants lie in
    /// groups of four neighbouring words, each from a multiple of four words on.
    pub const fn has_strips(&self) -> bool {
        use DType::{IQ4_NL, IQ4_XS, MXFP4, Q2_K, Q4_0, Q4_1, Q4_K, Q5_K, Q6_K, Q8_0};
        matches!(
            self.dtype,
            Q4_0 | Q4_1 | Q8_0 | Q2_K | Q4_K | Q5_K | Q6_K | IQ4_NL | IQ4_XS | MXFP4
        )
    }

    /// The entries of the type's codebook, two in a word on a device; none for
    /// most types.
    pub const fn codebook(&self) -> &'static [u16] {
        match self.dtype {
            DType::IQ2_XXS => &codebooks::IQ2_XXS,
            DType::IQ2_XS => &codebooks::IQ2_XS,
            DType::IQ2_S => &codebooks::IQ2_S,
            DType::IQ3_XXS => &codebooks::IQ3_XXS,
            DType::IQ3_S => &codebooks::IQ3_S,
            DType::IQ1_S | DType::IQ1_M => &codebooks::IQ1,
            _ => &[],
        }
    }

    /// Whether the type's shader has the binding `w_table`.
    pub const fn has_codebook(&self) -> bool {
        !self.codebook().is_empty()
    }

    /// Bytes of the body region of so many blocks, rounded up to whole words.
    ///
    /// # Errors
    /// If the size does not fit in memory's address space.
    pub fn body_bytes(&self, blocks: usize) -> Result<usize> {
        self.region(blocks, self.body_bytes_per_block)
    }

    /// Bytes of the head region of so many blocks, rounded up to whole words.
    ///
    /// # Errors
    /// If the size does not fit in memory's address space.
    pub fn head_bytes(&self, blocks: usize) -> Result<usize> {
        self.region(blocks, self.head_bytes_per_block)
    }

    fn region(&self, blocks: usize, per_block: usize) -> Result<usize> {
        blocks.checked_mul(per_block).and_then(|n| n.checked_next_multiple_of(4)).ok_or_else(|| {
            Error::input(
                format!("blocks of a {} weight", self.dtype),
                "a size below 2^64 bytes",
                blocks,
            )
        })
    }

    /// Writes the body of a run of blocks.
    ///
    /// A tensor may be repacked in chunks: the body of block `i` starts at byte
    /// `i * body_bytes_per_block` of the region. `dst` takes
    /// [`body_bytes`](Self::body_bytes) of the run; the bytes that fill up the
    /// last word are set to zero.
    ///
    /// # Errors
    /// If `src_blocks` is not a whole number of blocks or `dst` has another size.
    pub fn repack_body(&self, src_blocks: &[u8], dst: &mut [u8]) -> Result<()> {
        let blocks = self.count(src_blocks)?;
        self.check("body", dst.len(), self.body_bytes(blocks)?)?;
        self.copy(src_blocks, dst, self.body_at, self.body_bytes_per_block);
        Ok(())
    }

    /// Writes the head of a run of blocks.
    ///
    /// As [`repack_body`](Self::repack_body). Where a chunk is uploaded by itself
    /// it must start at a multiple of four blocks, for they may share a word.
    ///
    /// # Errors
    /// If `src_blocks` is not a whole number of blocks or `dst` has another size.
    pub fn repack_head(&self, src_blocks: &[u8], dst: &mut [u8]) -> Result<()> {
        let blocks = self.count(src_blocks)?;
        self.check("head", dst.len(), self.head_bytes(blocks)?)?;
        self.copy(src_blocks, dst, self.head_at, self.head_bytes_per_block);
        Ok(())
    }

    /// The inverse of repacking: source blocks from both regions.
    ///
    /// # Errors
    /// If `dst` is not a whole number of blocks or a region has another size.
    pub fn unpack(&self, body: &[u8], head: &[u8], dst: &mut [u8]) -> Result<()> {
        let blocks = self.count(dst)?;
        self.check("body", body.len(), self.body_bytes(blocks)?)?;
        self.check("head", head.len(), self.head_bytes(blocks)?)?;
        let (body_len, head_len) = (self.body_bytes_per_block, self.head_bytes_per_block);
        for (i, block) in dst.chunks_exact_mut(self.dtype.block_bytes()).enumerate() {
            block[self.body_at..][..body_len].copy_from_slice(&body[i * body_len..][..body_len]);
            block[self.head_at..][..head_len].copy_from_slice(&head[i * head_len..][..head_len]);
        }
        Ok(())
    }

    /// The head's bytes in a source block.
    pub(crate) fn head_of<'a>(&self, block: &'a mut [u8]) -> &'a mut [u8] {
        &mut block[self.head_at..self.head_at + self.head_bytes_per_block]
    }

    /// Copies `len` bytes at `at` of every block, and zeroes what remains of `dst`.
    fn copy(&self, src: &[u8], dst: &mut [u8], at: usize, len: usize) {
        if len == 0 {
            return;
        }
        let stride = self.dtype.block_bytes();
        let (whole, rest) = dst.split_at_mut(src.len() / stride * len);
        if len == stride {
            whole.copy_from_slice(src);
        } else {
            for (from, to) in src.chunks_exact(stride).zip(whole.chunks_exact_mut(len)) {
                to.copy_from_slice(&from[at..at + len]);
            }
        }
        rest.fill(0);
    }

    fn count(&self, blocks: &[u8]) -> Result<usize> {
        let size = self.dtype.block_bytes();
        if !blocks.len().is_multiple_of(size) {
            return Err(Error::input(
                format!("bytes of {} blocks", self.dtype),
                format!("a multiple of {size}"),
                blocks.len(),
            ));
        }
        Ok(blocks.len() / size)
    }

    fn check(&self, region: &str, got: usize, expected: usize) -> Result<()> {
        if got == expected {
            return Ok(());
        }
        Err(Error::input(
            format!("bytes of the {region} of a {} weight", self.dtype),
            expected,
            got,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::WEIGHT_TYPES;

    /// The table of `DeviceLayout`, written out: words of the body, bytes of the head.
    const TABLE: [(DType, usize, usize); 23] = [
        (DType::Q4_0, 4, 2),
        (DType::Q4_1, 4, 4),
        (DType::Q5_0, 5, 2),
        (DType::Q5_1, 5, 4),
        (DType::Q8_0, 8, 2),
        (DType::Q2_K, 20, 4),
        (DType::Q3_K, 27, 2),
        (DType::Q4_K, 32, 16),
        (DType::Q5_K, 40, 16),
        (DType::Q6_K, 52, 2),
        (DType::IQ4_NL, 4, 2),
        (DType::IQ4_XS, 32, 8),
        (DType::IQ2_XXS, 16, 2),
        (DType::IQ2_XS, 18, 2),
        (DType::IQ2_S, 20, 2),
        (DType::IQ3_XXS, 24, 2),
        (DType::IQ3_S, 27, 2),
        (DType::IQ1_S, 12, 2),
        (DType::IQ1_M, 14, 0),
        (DType::TQ1_0, 13, 2),
        (DType::TQ2_0, 16, 2),
        (DType::MXFP4, 4, 1),
        (DType::NVFP4, 8, 4),
    ];

    #[test]
    fn sizes_are_those_of_the_table() {
        for (dtype, words, head) in TABLE {
            let layout = DeviceLayout::of(dtype).unwrap();
            assert_eq!(layout.body_words_per_block(), Some(words), "{dtype}");
            assert_eq!(layout.head_bytes_per_block, head, "{dtype}");
            assert_eq!(words * 4 + head, dtype.block_bytes(), "{dtype}");
            assert_eq!(layout.body_bytes(3).unwrap(), words * 12, "{dtype}");
            assert_eq!(layout.head_bytes(3).unwrap(), (head * 3).next_multiple_of(4), "{dtype}");
        }
    }

    #[test]
    fn every_weight_type_has_a_layout_and_no_other() {
        for dtype in DType::ALL {
            assert_eq!(DeviceLayout::of(dtype).is_some(), WEIGHT_TYPES.contains(&dtype), "{dtype}");
        }
    }

    #[test]
    fn unpacking_undoes_repacking_in_chunks_of_any_even_size() {
        for dtype in WEIGHT_TYPES {
            let layout = DeviceLayout::of(dtype).unwrap();
            let size = dtype.block_bytes();
            let blocks = 7;
            let source: Vec<u8> = (0..blocks * size).map(|i| (i * 37 % 251) as u8).collect();
            let mut body = vec![0xaa; layout.body_bytes(blocks).unwrap()];
            let mut head = vec![0xaa; layout.head_bytes(blocks).unwrap()];
            for start in (0..blocks).step_by(4) {
                let end = (start + 4).min(blocks);
                let chunk = &source[start * size..end * size];
                let body_at = start * layout.body_bytes_per_block;
                let body_len = layout.body_bytes(end - start).unwrap();
                layout.repack_body(chunk, &mut body[body_at..][..body_len]).unwrap();
                let head_at = start * layout.head_bytes_per_block;
                let head_len = layout.head_bytes(end - start).unwrap();
                layout.repack_head(chunk, &mut head[head_at..][..head_len]).unwrap();
            }
            let padding = body.len() - blocks * layout.body_bytes_per_block;
            assert!(body[body.len() - padding..].iter().all(|&b| b == 0), "{dtype}");
            let padding = head.len() - blocks * layout.head_bytes_per_block;
            assert!(head[head.len() - padding..].iter().all(|&b| b == 0), "{dtype}");
            let mut back = vec![0; source.len()];
            layout.unpack(&body, &head, &mut back).unwrap();
            assert_eq!(back, source, "{dtype}");
        }
    }

    #[test]
    fn wrong_sizes_are_errors() {
        let layout = DeviceLayout::of(DType::Q4_0).unwrap();
        assert!(layout.repack_body(&[0; 17], &mut [0; 16]).is_err());
        assert!(layout.repack_body(&[0; 18], &mut [0; 20]).is_err());
        assert!(layout.repack_head(&[0; 18], &mut [0; 2]).is_err());
        assert!(layout.unpack(&[0; 16], &[0; 2], &mut [0; 18]).is_err());
        assert!(layout.body_bytes(usize::MAX / 2).is_err());
        assert!(layout.head_bytes(usize::MAX - 1).is_err());
    }
}
