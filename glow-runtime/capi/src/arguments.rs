//! Pointers and lengths from C, checked as far as they can be: NULL, alignment, length.
use crate::status::GlowError;
use std::ffi::{CStr, c_char};
use std::slice;

type Result<T> = std::result::Result<T, GlowError>;

/// A handle or an array that must be there.
///
/// # Safety
/// `pointer` is NULL or points to a live `T`.
pub unsafe fn required<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// Options; their defaults for NULL.
///
/// # Safety
/// `pointer` is NULL or points to a live `T`.
pub unsafe fn or_default<T: Copy>(pointer: *const T, default: T) -> T {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.copied().unwrap_or(default)
}

/// A text; none for NULL.
///
/// # Safety
/// `pointer` is NULL or points to a text that ends with NUL and lives as long as 'a.
pub unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    let invalid = |_| GlowError::argument(format!("{name} is not UTF-8"));
    bytes.to_str().map(Some).map_err(invalid)
}

/// A text that must be there.
///
/// # Safety
/// As [`text`].
pub unsafe fn required_text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { text(pointer, name) }?.ok_or_else(|| null(name))
}

/// An array of `len` elements. It may be NULL where it is empty.
///
/// # Safety
/// `pointer` is NULL or points to `len` elements that live as long as 'a.
pub unsafe fn array<'a, T>(pointer: *const T, len: usize, name: &str) -> Result<&'a [T]> {
    check(pointer, len, name)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: checked above; the rest is the caller's promise.
    Ok(unsafe { slice::from_raw_parts(pointer, len) })
}

/// Labels: none for NULL.
///
/// # Safety
/// As [`array`].
pub unsafe fn labels<'a>(pointer: *const i64, len: usize) -> Result<Option<&'a [i64]>> {
    match (pointer.is_null(), len) {
        (true, 0) => Ok(None),
        // SAFETY: the caller's promise.
        _ => unsafe { array(pointer, len, "labels") }.map(Some),
    }
}

/// Where `len` elements are to be written. Nothing of it is read, so that it may be uninitialised, or the memory of an
/// input.
pub struct Destination<T> {
    pointer: *mut T,
    len: usize,
}

impl<T: Copy> Destination<T> {
    /// # Safety
    /// `pointer` is NULL or points to `len` elements that may be written as long as this value is used.
    pub unsafe fn new(pointer: *mut T, len: usize, name: &str, expected: usize, of: &str) -> Result<Self> {
        check(pointer, len, name)?;
        same(len, expected, name, of)?;
        Ok(Self { pointer, len })
    }

    /// # Panics
    /// If it is not as many values as were expected.
    pub fn write(self, values: &[T]) {
        assert_eq!(values.len(), self.len, "a result has the length that was announced");
        if self.len > 0 {
            // SAFETY: `new` checked pointer and length, and its caller promised the rest. The values are the library's own.
            unsafe { self.pointer.copy_from_nonoverlapping(values.as_ptr(), self.len) };
        }
    }
}

/// Where a handle is to be written; it begins as NULL.
///
/// # Safety
/// `pointer` is NULL or may be written.
pub unsafe fn handle<T>(pointer: *mut *mut T, name: &str) -> Result<HandleOut<T>> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    unsafe { pointer.write(std::ptr::null_mut()) };
    Ok(HandleOut(pointer))
}

pub struct HandleOut<T>(*mut *mut T);

impl<T> HandleOut<T> {
    pub fn give(self, value: T) {
        // SAFETY: `handle` checked the pointer, and its caller promised the rest.
        unsafe { self.0.write(Box::into_raw(Box::new(value))) };
    }
}

/// n · size, unless it is more than memory can hold.
pub fn times(n: usize, size: usize) -> Result<usize> {
    n.checked_mul(size)
        .filter(|&len| len <= isize::MAX as usize / size_of::<f64>())
        .ok_or_else(|| GlowError::argument(format!("n = {n} is out of range: what memory can hold")))
}

pub fn same(len: usize, expected: usize, name: &str, of: &str) -> Result<()> {
    if len == expected {
        return Ok(());
    }
    Err(GlowError::argument(format!("{name}_len is {len}, expected {expected}: {of}")))
}

fn null(name: &str) -> GlowError {
    GlowError::argument(format!("{name} is NULL"))
}

fn check<T>(pointer: *const T, len: usize, name: &str) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    if !pointer.is_aligned() {
        return Err(GlowError::argument(format!("{name} is not aligned to its element type")));
    }
    if len > isize::MAX as usize / size_of::<T>() {
        return Err(GlowError::argument(format!("{name}_len = {len} is out of range: what memory can hold")));
    }
    Ok(())
}
