//! Comparing eight lanes at once: what the slots of a hash table's line are searched
//! with.
//!
//! Touches no memory: what is compared comes and goes in registers.
#![allow(unsafe_code)]

/// A bit for each lane that is `wanted`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn equal(lanes: [u32; 8], wanted: u32) -> u32 {
    use std::arch::x86_64::{
        _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_movemask_ps, _mm_set1_epi32, _mm_setr_epi32,
    };
    let [a, b, c, d, e, f, g, h] = lanes;
    // SAFETY: every x86-64 processor has SSE2, which is all that these need.
    unsafe {
        let wanted = _mm_set1_epi32(wanted as i32);
        let first = _mm_setr_epi32(a as i32, b as i32, c as i32, d as i32);
        let second = _mm_setr_epi32(e as i32, f as i32, g as i32, h as i32);
        let first = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(first, wanted)));
        let second = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(second, wanted)));
        (first | second << 4) as u32
    }
}

/// A bit for each lane that is `wanted`.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn equal(lanes: [u32; 8], wanted: u32) -> u32 {
    lanes.iter().enumerate().map(|(at, &lane)| u32::from(lane == wanted) << at).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_equal_lane_has_its_bit(
            lanes in proptest::array::uniform8(prop_oneof![0..3_u32, Just(u32::MAX), any::<u32>()]),
            wanted in prop_oneof![0..3_u32, Just(u32::MAX)],
        ) {
            let bits = equal(lanes, wanted);
            for (at, lane) in lanes.into_iter().enumerate() {
                prop_assert_eq!(bits >> at & 1 == 1, lane == wanted);
            }
            prop_assert_eq!(bits >> 8, 0);
        }
    }
}
