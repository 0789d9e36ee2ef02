//! Hints about memory: huge pages, prefetching, pages had before they are written to.
//!
//! Nothing here changes a result, only how fast it comes; on systems without
//! these hints every function does nothing. Tables of millions of flows miss
//! the caches with every packet: prefetching overlaps those misses, and pages
//! of 2 MiB keep the translation of their addresses from missing as well.
#![allow(unsafe_code)]

/// A vector with room for `capacity` values, in huge pages where the kernel
/// has them. What is never written costs no memory.
pub(crate) fn vec_in_huge_pages<T>(capacity: usize) -> Vec<T> {
    roomy_vec_in_huge_pages(capacity, capacity)
}

/// The same with room for `wished` values where there are addresses for them,
/// else for `needed`.
pub(crate) fn roomy_vec_in_huge_pages<T>(needed: usize, wished: usize) -> Vec<T> {
    let mut memory = Vec::new();
    if memory.try_reserve_exact(wished).is_err() {
        memory.reserve_exact(needed);
    }
    advise_huge_pages(memory.spare_capacity_mut());
    memory
}

#[cfg(target_os = "linux")]
fn advise_huge_pages<T>(memory: &mut [T]) {
    /// Below the size of one huge page there is nothing to gain.
    const HUGE_PAGE_BYTES: usize = 2 << 20;
    /// What madvise wants addresses to be a multiple of, on every machine.
    const ALIGNMENT: usize = 64 << 10;

    if size_of_val(memory) >= HUGE_PAGE_BYTES {
        advise(memory, ALIGNMENT, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages<T>(_: &mut [T]) {}

/// Takes the memory of the next `values` places behind the vector's end from the kernel
/// now, instead of with the first write to each page. Gives up silently where that can't
/// be had: older than Linux 5.14, or not so much memory.
pub(crate) fn populate<T>(memory: &mut Vec<T>, values: usize) {
    let spare = memory.spare_capacity_mut();
    let len = spare.len().min(values);
    populate_pages(&mut spare[..len]);
}

#[cfg(target_os = "linux")]
fn populate_pages<T>(memory: &mut [T]) {
    /// The smallest pages there are: rounding to larger ones is the kernel's affair.
    const PAGE_BYTES: usize = 4 << 10;

    advise(memory, PAGE_BYTES, libc::MADV_POPULATE_WRITE);
}

#[cfg(not(target_os = "linux"))]
fn populate_pages<T>(_: &mut [T]) {}

/// Advises the kernel about memory, from the first address on that is a multiple of
/// `alignment`.
#[cfg(target_os = "linux")]
fn advise<T>(memory: &mut [T], alignment: usize, advice: libc::c_int) {
    let bytes = size_of_val(memory);
    let start = memory.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(alignment);
    let Some(len) = bytes.checked_sub(skipped) else { return };
    // SAFETY: the range lies within `memory`, which is borrowed for writing. The two
    // pieces of advice above change how and when it is backed and never what it holds. A
    // kernel that does not know one refuses, which changes nothing.
    unsafe {
        libc::madvise(start.add(skipped).cast(), len, advice);
    }
}

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
        let mut vec = vec_in_huge_pages::<u32>(1 << 20);
        vec.extend(0..1 << 19);
        advise_huge_pages(&mut vec);
        prefetch(&vec[77_777]);
        vec.extend(1 << 19..1 << 20);
        assert!(vec.iter().copied().eq(0..1 << 20));
    }

    #[test]
    fn populating_leaves_the_memory_as_it_is() {
        let mut vec = vec_in_huge_pages::<u32>(1 << 20);
        vec.extend(0..1 << 19);
        populate(&mut vec, 1 << 18);
        populate(&mut vec, usize::MAX);
        populate(&mut Vec::<u64>::new(), 5);
        vec.extend(1 << 19..1 << 20);
        assert!(vec.iter().copied().eq(0..1 << 20));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_populated_is_backed_at_once() {
        /// Of the mapping that an address lies in, whatever other tests take meanwhile.
        fn resident_kib(address: usize) -> u64 {
            let maps = std::fs::read_to_string("/proc/self/smaps").expect("own mappings");
            let mut lines = maps.lines().skip_while(|line| {
                let range = line.split(' ').next().and_then(|range| range.split_once('-'));
                let ends =
                    range.map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16)));
                !matches!(ends, Some([Ok(from), Ok(to)]) if (from..to).contains(&address))
            });
            let line = lines.find(|line| line.starts_with("Rss:")).expect("its resident part");
            let number = line.split_whitespace().nth(1).expect("a number");
            number.parse().expect("a number")
        }
        // 64 MiB have a mapping of their own.
        let mut vec = vec_in_huge_pages::<u64>(64 << 17);
        let middle = vec.as_ptr() as usize + (32 << 20);
        let before = resident_kib(middle);
        populate(&mut vec, 64 << 17);
        assert!(resident_kib(middle) >= before + (62 << 10), "{before}");
    }

    #[test]
    fn room_that_is_not_to_be_had_is_done_without() {
        let vec = roomy_vec_in_huge_pages::<u64>(1000, usize::MAX / 16);
        assert!((1000..1 << 30).contains(&vec.capacity()));
    }

    #[test]
    fn short_and_empty_memory_is_fine() {
        prefetch_line(&0u8, 0);
        prefetch_line(&0u8, 64);
        assert!(vec_in_huge_pages::<u64>(0).is_empty());
    }
}
