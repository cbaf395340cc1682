//! libtorch's errors as errors: tch's operations panic, and a training step has a thousand of them.
use crate::error::TrainError;
use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use tch::Tensor;

thread_local! {
    /// Whether this thread is inside [`attempt`], which reports what libtorch refuses.
    static ATTEMPTING: Cell<bool> = const { Cell::new(false) };
}

/// Runs tensor operations; an error of libtorch in one of them comes back as [`TrainError::Torch`], with
/// `doing` as what was being done. Other panics, which are faults of ours, go on.
///
/// What `work` was writing to may be half written then.
///
/// # Errors
/// libtorch refused an operation: memory ran out, above all.
pub(crate) fn attempt<T>(doing: &'static str, work: impl FnOnce() -> T) -> Result<T, TrainError> {
    silence_errors_of_torch();
    let outer = ATTEMPTING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    ATTEMPTING.set(outer);
    result.map_err(|panic| match torch_message(&*panic) {
        Some(message) => TrainError::Torch { doing, message },
        None => panic::resume_unwind(panic),
    })
}

/// Runs tensor operations without autograd's history.
///
/// Unlike `tch::no_grad` it ends when a panic passes through as well. Otherwise a step that [`attempt`] gave up
/// would leave gradients switched off, and the next one would differentiate a loss without history, at which
/// libtorch reads a null pointer.
pub(crate) fn no_grad<T>(work: impl FnOnce() -> T) -> T {
    let _guard = tch::no_grad_guard();
    work()
}

/// A tensor of this shape on the CPU, of the first numbers of a stream.
///
/// Its memory is libtorch's, which refuses where there is none; Rust's vectors would end the process.
pub(crate) fn filled(shape: &[i64], numbers: impl Iterator<Item = f32>) -> Tensor {
    const CHUNK: i64 = 1 << 16;
    let tensor = Tensor::zeros(shape, tch::kind::FLOAT_CPU);
    let flat = tensor.view(-1);
    let length = flat.numel() as i64;
    let mut numbers = numbers.fuse();
    for begin in (0..length).step_by(CHUNK as usize) {
        let count = CHUNK.min(length - begin);
        let chunk: Vec<f32> = numbers.by_ref().take(count as usize).collect();
        flat.narrow(0, begin, count).copy_(&Tensor::from_slice(&chunk));
    }
    tensor
}

/// Keeps the standard message of a panic from being printed for what [`attempt`] turns into an error.
fn silence_errors_of_torch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !(ATTEMPTING.get() && torch_message(info.payload()).is_some()) {
                before(info);
            }
        }));
    });
}

/// What libtorch said, of a panic of tch: "called `Result::unwrap()` on an `Err` value: Torch("…")".
fn torch_message(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<String>()?;
    let (_, quoted) = text.split_once("Torch(\"")?;
    // The backtrace of C++ that follows the message says nothing to a user.
    let message = quoted.split("\\nException raised from").next().unwrap_or(quoted);
    let message = message.trim_end_matches("\")").replace("\\n", " ").replace("\\\"", "\"");
    Some(message.trim().to_string())
}

/// Whether a message of libtorch says that memory ran out, on the CPU or on a GPU.
pub(crate) fn is_out_of_memory(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let words = [
        "out of memory",
        "not enough memory",
        "can't allocate memory",
        "cannot allocate memory",
        "bad_alloc",
        // oneDNN's, which finds no memory for its code or its buffers.
        "could not create a primitive",
    ];
    words.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn what_libtorch_refuses_is_an_error_that_says_what_and_why() {
        let absurd = attempt("a test", || Tensor::zeros([1 << 45], tch::kind::FLOAT_CPU));
        let Err(TrainError::Torch { doing: "a test", message }) = absurd else { panic!("{absurd:?}") };
        assert!(is_out_of_memory(&message), "{message}");
        assert!(!message.contains("Exception raised"), "{message}");
        let shapes = attempt("a test", || {
            Tensor::zeros([2, 3], tch::kind::FLOAT_CPU).mm(&Tensor::zeros([2, 3], tch::kind::FLOAT_CPU))
        });
        let Err(TrainError::Torch { message, .. }) = shapes else { panic!("{shapes:?}") };
        assert!(message.contains("shapes") && !is_out_of_memory(&message), "{message}");
        assert_eq!(
            attempt("a test", || Tensor::ones([3], (Kind::Float, tch::Device::Cpu)).numel()).unwrap(),
            3
        );
    }

    #[test]
    fn what_fails_without_gradients_leaves_them_on() {
        let x = Tensor::ones([2], tch::kind::FLOAT_CPU).set_requires_grad(true);
        let failed = attempt("a test", || no_grad(|| x.mm(&x)));
        assert!(matches!(failed, Err(TrainError::Torch { .. })), "{failed:?}");
        assert!((&x + 1.0).requires_grad());
    }

    #[test]
    fn faults_of_ours_stay_panics() {
        let panic = panic::catch_unwind(|| attempt("a test", || panic!("a fault of ours")));
        assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"a fault of ours"));
    }
}
