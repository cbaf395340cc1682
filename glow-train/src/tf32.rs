//! TF32 on CUDA: products of f32 numbers whose factors are rounded to 10 bits of mantissa.
//!
//! Convolutions round so unless libtorch is told otherwise, and matrix products where the environment says so.
//! A flow must not: it would no longer be the inverse of its inverse. [`forbid`] is called when a CUDA device is
//! opened; the coupling networks alone may hold an [`Allowed`] while they compute.
use std::ffi::c_int;

mod ffi {
    use std::ffi::c_int;

    unsafe extern "C" {
        pub(super) fn tf32_set(products: bool, convolutions: bool) -> bool;
        pub(super) fn tf32_get() -> c_int;
    }
}

/// Where TF32 is allowed in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Switches {
    /// In matrix products (cuBLAS).
    products: bool,
    /// In convolutions (cuDNN).
    convolutions: bool,
}

impl Switches {
    const OFF: Self = Self { products: false, convolutions: false };
    const ON: Self = Self { products: true, convolutions: true };

    fn get() -> Self {
        // SAFETY: reads libtorch's global settings; there is no other condition.
        let bits: c_int = unsafe { ffi::tf32_get() };
        assert!(bits >= 0, "libtorch does not tell whether TF32 is allowed");
        Self { products: bits & 1 != 0, convolutions: bits & 2 != 0 }
    }

    /// Whether libtorch took it.
    fn set(self) -> bool {
        // SAFETY: sets libtorch's global settings; there is no other condition.
        unsafe { ffi::tf32_set(self.products, self.convolutions) }
    }
}

/// Forbids TF32 in this process, whatever the environment says.
pub(crate) fn forbid() {
    assert!(Switches::OFF.set(), "libtorch refuses to forbid TF32");
}

/// While it lives, TF32 is allowed in this process.
#[derive(Debug)]
#[must_use]
pub(crate) struct Allowed {
    before: Switches,
}

/// Allows TF32 until the result is dropped, by a panic too.
pub(crate) fn allow() -> Allowed {
    let before = Switches::get();
    assert!(Switches::ON.set(), "libtorch refuses to allow TF32");
    Allowed { before }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        let taken = self.before.set();
        debug_assert!(taken, "libtorch refuses to forbid TF32");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// The switches are the process's: one test at a time.
    pub(crate) fn alone() -> MutexGuard<'static, ()> {
        static LOCK: Mutex<()> = Mutex::new(());
        LOCK.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_forbidden() -> bool {
        Switches::get() == Switches::OFF
    }

    #[test]
    fn it_is_allowed_only_while_somebody_holds_that() {
        let _alone = alone();
        // As libtorch begins where TORCH_ALLOW_TF32_CUBLAS_OVERRIDE is set.
        assert!(Switches::ON.set());
        assert_eq!(Switches::get(), Switches::ON);
        forbid();
        assert_eq!(Switches::get(), Switches::OFF);
        for one in [
            Switches { products: true, ..Switches::OFF },
            Switches { convolutions: true, ..Switches::OFF },
            Switches::OFF,
        ] {
            assert!(one.set());
            let outer = allow();
            let inner = allow();
            drop(inner);
            assert_eq!(Switches::get(), Switches::ON);
            drop(outer);
            assert_eq!(Switches::get(), one);
        }
        let panic = std::panic::catch_unwind(|| {
            let _allowed = allow();
            std::panic::resume_unwind(Box::new(()))
        });
        assert!(panic.is_err() && is_forbidden());
    }
}
