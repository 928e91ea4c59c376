//! What the processor behind a software adapter is good at.

use std::sync::OnceLock;

/// How much faster gathers have to be than loads one by one; on an Intel processor with AMX
/// they were twice as fast.
const WORTH: f64 = 1.3;

/// Whether one instruction reads eight words from eight places clearly faster than eight
/// instructions do. Measured once, in a few tenths of a millisecond.
pub(super) fn gathers() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(measured)
}

#[cfg(not(target_arch = "x86_64"))]
fn measured() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
fn measured() -> bool {
    use std::hint::black_box;
    use std::time::Instant;

    if !std::is_x86_feature_detected!("avx2") {
        return false;
    }
    let table = black_box([1f32; x86::WORDS]);
    // The least of many: others may use the processor.
    let (mut gathered, mut loaded) = (f64::MAX, f64::MAX);
    for _ in 0..16 {
        let begun = Instant::now();
        // SAFETY: the processor has AVX2.
        black_box(unsafe { x86::gathers(&table) });
        gathered = gathered.min(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        // SAFETY: as above.
        black_box(unsafe { x86::loads(&table) });
        loaded = loaded.min(begun.elapsed().as_secs_f64());
    }
    log::info!("gathers take {:.2} of what loads do", gathered / loaded);
    loaded > WORTH * gathered
}

/// The same words of a table, eight at a time and four apart, as the lanes of a vector read
/// vectors of four words.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    pub(super) const WORDS: usize = 1024;
    /// Where the first word may be.
    const MASK: i32 = 511;
    const TURNS: i32 = 4096;
    /// From the first word to the last one.
    const SPAN: usize = 28;

    const _: () = assert!(MASK as usize + SPAN < WORDS);

    #[target_feature(enable = "avx2")]
    pub(super) fn gathers(table: &[f32; WORDS]) -> f32 {
        let apart = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
        let mut sum = _mm256_setzero_ps();
        for turn in 0..TURNS {
            let places = _mm256_add_epi32(apart, _mm256_set1_epi32(turn & MASK));
            // SAFETY: the last place is below the table's end, by the assertion above.
            sum = _mm256_add_ps(sum, unsafe { _mm256_i32gather_ps::<4>(table.as_ptr(), places) });
        }
        total(sum)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn loads(table: &[f32; WORDS]) -> f32 {
        let mut sum = _mm256_setzero_ps();
        for turn in 0..TURNS {
            let first = (turn & MASK) as usize;
            let halves = [0, 16].map(|half| four(&table[first + half..]));
            sum = _mm256_add_ps(sum, _mm256_set_m128(halves[1], halves[0]));
        }
        total(sum)
    }

    /// Words 0, 4, 8 and 12, one by one.
    #[target_feature(enable = "avx2")]
    fn four(words: &[f32]) -> __m128 {
        let one = |at: usize| _mm_set_ss(words[at]);
        let both = _mm_insert_ps::<0x10>(one(0), one(4));
        _mm_insert_ps::<0x30>(_mm_insert_ps::<0x20>(both, one(8)), one(12))
    }

    #[target_feature(enable = "avx2")]
    fn total(sum: __m256) -> f32 {
        let mut lanes = [0f32; 8];
        // SAFETY: it has room for eight.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
        lanes.iter().sum()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn both_read_the_same_words() {
            if !std::is_x86_feature_detected!("avx2") {
                return;
            }
            let table: [f32; WORDS] = std::array::from_fn(|i| i as f32);
            // SAFETY: the processor has AVX2.
            let (gathered, loaded) = unsafe { (gathers(&table), loads(&table)) };
            assert_eq!(gathered, loaded);
            assert!(gathered > 0.0);
        }
    }
}
