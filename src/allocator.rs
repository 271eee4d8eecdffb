//! Memory between the operations of a step.
//!
//! A training step takes and gives back the same blocks over and over, gigabytes in all. By default glibc hands what is
//! free back to the system whenever it is more than twice the largest block so far, and the system clears every page of it
//! once more when it is next written: at 2,048 tokens a million pages, an eighth of a step's time, and next to none at 512.

/// Has the allocator keep what is freed for the next operation: resident memory stays at its peak, and grows no further.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn keep_freed() {
    use std::ffi::c_int;
    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    // From malloc.h. Each block of the second size or more is the system's as soon as it is freed.
    const TRIM_THRESHOLD: c_int = -1;
    const MMAP_THRESHOLD: c_int = -3;
    // The most that every version takes for the second one, and what newer ones take.
    const LARGE: c_int = 32 << 20;
    const LARGER: c_int = 1 << 30;
    // SAFETY: declared as in malloc.h; it sets numbers of the allocator under the allocator's own lock.
    unsafe {
        mallopt(TRIM_THRESHOLD, c_int::MAX);
        if mallopt(MMAP_THRESHOLD, LARGER) == 0 {
            mallopt(MMAP_THRESHOLD, LARGE);
        }
    }
}

/// Gives what is free back to the system, for once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: declared as in malloc.h; it works under the allocator's own lock.
    unsafe {
        malloc_trim(0);
    }
}

/// Other allocators decide for themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_freed() {}

/// Other allocators decide for themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Pages that the system gave this thread so far.
    fn pages() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("of Linux");
        let after_name = stat.rsplit(')').next().expect("a name in brackets");
        after_name.split_whitespace().nth(7).expect("minor faults").parse().expect("a number")
    }

    #[test]
    fn what_was_freed_is_taken_again_without_the_system() {
        keep_freed();
        let take_and_free = || {
            let before = pages();
            let blocks: Vec<Vec<u8>> = (0..16).map(|_| std::hint::black_box(vec![1; 1 << 20])).collect();
            drop(blocks);
            pages() - before
        };
        // The first time shows the allocator the size of the blocks, to which it adapts by default.
        let taken = [take_and_free(), take_and_free(), take_and_free()];
        assert!(taken[2] < 400, "4,096 pages are written, and the system gave {taken:?}");

        // Of a thread's own stretch of memory the end stays with it in any case.
        let blocks: Vec<Vec<u8>> = (0..16).map(|_| std::hint::black_box(vec![1; 1 << 20])).collect();
        let end = std::hint::black_box(vec![1u8; 1 << 20]);
        drop(blocks);
        give_back();
        let given = take_and_free();
        assert!(given > 400, "they were the system's, which gave {given} pages");
        drop(end);
    }
}
