//! Hints about memory: huge pages and prefetching.
//!
//! Nothing here changes a result, only how fast it comes; on systems without
//! these hints every function does nothing. Tables of millions of flows miss
//! the caches with every packet: prefetching overlaps those misses, and pages
//! of 2 MiB keep the translation of their addresses from missing as well.
#![allow(unsafe_code)]

/// A vector with room for `capacity` values, in huge pages where the kernel
/// has them.
pub(crate) fn vec_in_huge_pages<T>(capacity: usize) -> Vec<T> {
    let mut memory = Vec::with_capacity(capacity);
    advise_huge_pages(memory.spare_capacity_mut());
    memory
}

/// Zeros for a table that will be used all over at once, in huge pages where
/// the kernel has them.
pub(crate) fn zeros_in_huge_pages(len: usize) -> Vec<u64> {
    let mut memory = vec![0u64; len];
    advise_huge_pages(memory.as_mut_slice());
    make_writable(memory.as_mut_slice());
    memory
}

#[cfg(target_os = "linux")]
fn advise_huge_pages<T>(memory: &mut [T]) {
    /// Below the size of one huge page there is nothing to gain.
    const HUGE_PAGE_BYTES: usize = 2 << 20;
    if size_of_val(memory) >= HUGE_PAGE_BYTES {
        advise(memory, libc::MADV_HUGEPAGE);
    }
}

/// Has the kernel back all of it now. A page that is read before it is written
/// is first the kernel's page of zeros; replacing that interrupts every other
/// processor that runs one of our threads.
#[cfg(target_os = "linux")]
fn make_writable<T>(memory: &mut [T]) {
    advise(memory, libc::MADV_POPULATE_WRITE);
}

#[cfg(target_os = "linux")]
fn advise<T>(memory: &mut [T], advice: libc::c_int) {
    /// What madvise wants addresses to be a multiple of, on every machine.
    const ALIGNMENT: usize = 64 << 10;

    let start = memory.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(ALIGNMENT);
    let Some(len) = size_of_val(memory).checked_sub(skipped).filter(|&len| len > 0) else { return };
    // SAFETY: the range lies within `memory`, which is borrowed for writing.
    // Both kinds of advice change how the range is backed and never what it
    // holds. A kernel that doesn't know one refuses, which changes nothing.
    unsafe {
        libc::madvise(start.add(skipped).cast(), len, advice);
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages<T>(_: &mut [T]) {}

#[cfg(not(target_os = "linux"))]
fn make_writable<T>(_: &mut [T]) {}

/// Asks for the cache line that holds the start of `value`.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    prefetch_line(value, 0);
}

/// Asks for the cache line that is `offset_bytes` into `value`, where it is
/// that long.
#[inline(always)]
pub(crate) fn prefetch_line<T>(value: &T, offset_bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    if offset_bytes < size_of::<T>() {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address lies within a value that is borrowed; prefetching
        // reads nothing that the program can see.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast::<i8>().add(offset_bytes));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, offset_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_leaves_the_memory_as_it_is() {
        let mut zeros = zeros_in_huge_pages(1 << 19);
        assert!(zeros.iter().all(|&word| word == 0));
        zeros[77_777] = 1;
        prefetch(&zeros[77_777]);
        let mut vec = vec_in_huge_pages::<u32>(1 << 20);
        vec.extend(0..1 << 20);
        assert!(zeros[77_777] == 1 && vec.iter().copied().eq(0..1 << 20));
    }

    #[test]
    fn short_and_empty_memory_is_fine() {
        prefetch_line(&0u8, 0);
        prefetch_line(&0u8, 64);
        assert!(vec_in_huge_pages::<u64>(0).is_empty());
        assert!(zeros_in_huge_pages(3) == [0; 3]);
    }
}
