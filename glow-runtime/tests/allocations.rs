//! Calls in a steady state allocate their results and nothing else.
mod support;

use glow_runtime::{EncodeOptions, SampleOptions};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the promises of `alloc`, which are the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of the last of several calls. What it gives is freed only after they are counted.
fn allocations<T>(mut call: impl FnMut() -> T) -> usize {
    (0..3).for_each(|_| drop(call()));
    let before = COUNT.with(Cell::get);
    let result = call();
    let count = COUNT.with(Cell::get) - before;
    drop(result);
    count
}

#[test]
fn a_call_allocates_its_result_alone() {
    let glow = support::load();
    let images = support::noise(3);
    let options = EncodeOptions::default();
    let latents = glow.encode(&images, &options).unwrap().latents;
    let noise = ndarray::Array4::from_elem(images.dim(), 0.5);

    // The images and x.
    assert_eq!(allocations(|| glow.decode(&latents, None).unwrap()), 2);
    // The two levels, the list of them, and the log-likelihoods.
    assert_eq!(allocations(|| glow.encode_with(&images, &noise, None).unwrap()), 4);
    // Besides: the noise.
    assert_eq!(allocations(|| glow.encode(&images, &options).unwrap()), 5);
    // The images, without x; the noise, the levels of the latents, and the list of them.
    assert_eq!(allocations(|| glow.sample(3, &SampleOptions::default()).unwrap()), 5);
    // However many images and chunks there are.
    let many = glow.encode(&support::noise(100), &options).unwrap().latents;
    assert_eq!(allocations(|| glow.decode(&many, None).unwrap()), 2);
}
