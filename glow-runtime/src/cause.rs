//! What ONNX Runtime says of a failure.
use crate::Error;
use std::fmt;
use std::sync::Arc;

/// A failure in ONNX Runtime's words, with its code. It is the [`source`](std::error::Error::source) of
/// [`Error::Run`], [`Error::Load`] and [`Error::Environment`]. All jobs of a batch that failed share one.
#[derive(Debug, Clone)]
pub struct OnnxRuntimeError {
    code: Option<OnnxRuntimeCode>,
    message: Arc<str>,
}

impl OnnxRuntimeError {
    /// ONNX Runtime's code; `None` for a failure that is not its own, such as a thread that panicked.
    pub fn code(&self) -> Option<OnnxRuntimeCode> {
        self.code
    }

    /// Its message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for OnnxRuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OnnxRuntimeError {}

impl From<ort::Error> for OnnxRuntimeError {
    fn from(error: ort::Error) -> Self {
        Self { code: OnnxRuntimeCode::of(error.code()), message: error.message().into() }
    }
}

/// A failure without a code.
impl From<&str> for OnnxRuntimeError {
    fn from(message: &str) -> Self {
        Self { code: None, message: message.into() }
    }
}

/// ONNX Runtime's codes of failure, with its numbers: `code as i32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum OnnxRuntimeCode {
    /// A failure of any kind.
    Fail = 1,
    /// An argument that does not fit.
    InvalidArgument = 2,
    /// A file that is not there.
    NoSuchFile = 3,
    /// No model was loaded.
    NoModel = 4,
    /// An execution engine failed.
    EngineError = 5,
    /// An exception while a graph ran.
    RuntimeException = 6,
    /// A file that is not protobuf.
    InvalidProtobuf = 7,
    /// A model is loaded already.
    ModelLoaded = 8,
    /// Something that this version does not implement.
    NotImplemented = 9,
    /// A graph that is not valid.
    InvalidGraph = 10,
    /// An execution provider failed.
    ProviderFailure = 11,
    /// Loading was cancelled.
    LoadCanceled = 12,
    /// The model has to be compiled first.
    CompilationRequired = 13,
    /// Something was not found.
    NotFound = 14,
    /// The device was reset.
    DeviceReset = 15,
}

impl OnnxRuntimeCode {
    pub(crate) fn of(code: ort::ErrorCode) -> Option<Self> {
        use ort::ErrorCode as Code;
        Some(match code {
            Code::Ok => return None,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::NoSuchFile => Self::NoSuchFile,
            Code::NoModel => Self::NoModel,
            Code::EngineError => Self::EngineError,
            Code::RuntimeException => Self::RuntimeException,
            Code::InvalidProtobuf => Self::InvalidProtobuf,
            Code::ModelLoaded => Self::ModelLoaded,
            Code::NotImplemented => Self::NotImplemented,
            Code::InvalidGraph => Self::InvalidGraph,
            Code::ExecutionProviderFailure => Self::ProviderFailure,
            Code::ModelLoadCanceled => Self::LoadCanceled,
            Code::CompilationRequired => Self::CompilationRequired,
            Code::NotFound => Self::NotFound,
            Code::DeviceReset => Self::DeviceReset,
            _ => Self::Fail,
        })
    }
}

impl Error {
    /// ONNX Runtime's code, if the error came from there.
    pub fn onnxruntime_code(&self) -> Option<OnnxRuntimeCode> {
        match self {
            Self::Run { source, .. } | Self::Load { source, .. } | Self::Environment { source } => {
                source.code()
            }
            Self::Provider { code, .. } => *code,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ort::sys::OrtErrorCode;

    /// The numbers of `onnxruntime_c_api.h`, through those of the binding.
    #[test]
    fn codes_have_the_numbers_of_onnx_runtime() {
        use OrtErrorCode::*;
        for number in [
            ORT_FAIL,
            ORT_INVALID_ARGUMENT,
            ORT_NO_SUCHFILE,
            ORT_NO_MODEL,
            ORT_ENGINE_ERROR,
            ORT_RUNTIME_EXCEPTION,
            ORT_INVALID_PROTOBUF,
            ORT_MODEL_LOADED,
            ORT_NOT_IMPLEMENTED,
            ORT_INVALID_GRAPH,
            ORT_EP_FAIL,
            ORT_MODEL_LOAD_CANCELED,
            ORT_MODEL_REQUIRES_COMPILATION,
            ORT_NOT_FOUND,
            ORT_DEVICE_RESET,
        ] {
            let code = OnnxRuntimeCode::of(ort::ErrorCode::from(number)).unwrap();
            assert_eq!(code as i32, number as i32);
        }
        assert_eq!(OnnxRuntimeCode::of(ort::ErrorCode::Ok), None);
    }
}
