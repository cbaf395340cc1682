"""Exceptions, by kind. Each message names what is wrong and what to do, with its causes behind it."""


class GlowError(Exception):
    """Every error of this package."""


class LibraryError(GlowError):
    """ONNX Runtime: there is none, it is older than 1.21, or it does not start."""


class BundleError(GlowError):
    """The bundle: a file is missing, damaged, of another format, or rejected by ONNX Runtime."""


class ProviderError(GlowError):
    """The execution provider that was asked for cannot be used, or is not accurate enough."""


class ArgumentError(GlowError, ValueError):
    """An argument: its type, its shape, its range, a name that there is not."""


class FileError(GlowError, OSError):
    """A file that cannot be read or written, or holds something else."""


class NonFiniteError(GlowError, ArithmeticError):
    """A number that is NaN or infinite, given or computed."""


class OutOfMemoryError(GlowError, MemoryError):
    """Memory ran out, of the host or of the device: fewer images at once may do (``max_batch``)."""


class DeviceError(GlowError):
    """The device is lost to this process."""


class RunError(GlowError, RuntimeError):
    """ONNX Runtime or the operating system failed in another way, or the process was forked."""


class OverloadedError(RunError):
    """A queue is full: try again later."""


class DeadlineError(RunError, TimeoutError):
    """A job was not done before its deadline."""


class CancelledError(RunError):
    """A job was cancelled."""


class StoppedError(RunError):
    """A queue is being stopped, and takes or does no more jobs."""
