//! Loading a model, and what it is.
use crate::arguments::{Destination, handle, or_default, required, required_text, text, times};
use crate::status::{GlowError, GlowStatus, free, guard};
use glow_runtime::ndarray::ArrayView4;
use glow_runtime::{Glow, Provider};
use std::ffi::{CString, c_char};
use std::path::PathBuf;
use std::ptr;

/// Both graphs of the bundle.
pub const GLOW_BOTH: u32 = 0;
/// The encoder alone: glow_encode, glow_score, glow_bits_per_dim.
pub const GLOW_ENCODER: u32 = 1;
/// The decoder alone: glow_sample, glow_decode, glow_interpolate.
pub const GLOW_DECODER: u32 = 2;

/// A loaded model. Any number of threads may use it at the same time.
pub struct GlowModel {
    pub glow: Glow,
    onnxruntime: CString,
    class_names: Vec<CString>,
}

/// How a model is loaded. Begin with glow_load_options(); NULL and 0 stand for the default of a field.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GlowLoadOptions {
    /// Execution providers with commas between, in order of preference: "auto", "cpu", "cuda:1",
    /// "tensorrt:0/fp16,cuda:0", "openvino:CPU/bf16". One that cannot be used is an error. Default "cpu".
    pub providers: *const c_char,
    /// Threads that work on one call. Default: the physical cores, over the sessions.
    pub threads: usize,
    /// Calls that run at the same time, each with threads and memory of its own. Default 1.
    pub sessions: usize,
    /// The most images that run at once; larger batches go through in chunks, to the same result. Default: what fits
    /// the memory budget.
    pub max_batch: usize,
    /// Bytes that the activations may take. Default 512 MiB.
    pub memory_budget: usize,
    /// Folder in which what is made of the bundle for this machine is kept, so that it loads faster. Default: none.
    pub cache: *const c_char,
    /// The ONNX Runtime library, 1.21 or newer, or its folder. Default: ORT_DYLIB_PATH in the environment, the
    /// program's folder, the folder `lib` beside that one, the system's libraries.
    pub onnxruntime: *const c_char,
    /// GLOW_BOTH, GLOW_ENCODER or GLOW_DECODER. Default GLOW_BOTH.
    pub graphs: u32,
    /// Whether sizes and SHA-256 of the bundle's files are compared with its manifest. Default true.
    pub verify: bool,
    /// Whether an image is encoded and decoded once, to see that the provider computes accurately; only with
    /// both graphs. Default true.
    pub check: bool,
}

/// Sizes of a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GlowShape {
    /// Rows of an image, H.
    pub height: usize,
    /// Columns of an image, W.
    pub width: usize,
    /// Channels of an image, C: 1 or 3.
    pub channels: usize,
    /// H*W*C: the bytes of an image, and the numbers of its latents.
    pub dims: usize,
    /// Bits of a value that the model sees, the upper ones.
    pub n_bits: u32,
    /// Levels of the latents, L.
    pub levels: usize,
    /// Classes of a conditional model, which needs a label for each image; 0 of an unconditional one.
    pub classes: usize,
    /// The most images that run at once.
    pub max_batch: usize,
}

/// Shape of the latents of one level, eps_0 being the finest.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GlowLatentShape {
    /// Channels, c.
    pub channels: usize,
    /// Rows, h.
    pub height: usize,
    /// Columns, w.
    pub width: usize,
}

/// The defaults.
#[unsafe(no_mangle)]
pub extern "C" fn glow_load_options() -> GlowLoadOptions {
    GlowLoadOptions {
        providers: ptr::null(),
        threads: 0,
        sessions: 0,
        max_batch: 0,
        memory_budget: 0,
        cache: ptr::null(),
        onnxruntime: ptr::null(),
        graphs: GLOW_BOTH,
        verify: true,
        check: true,
    }
}

/// Loads the bundle in a folder. `options` may be NULL. *model is the caller's, who frees it with glow_free; it is NULL
/// after an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_load(
    folder: *const c_char,
    options: *const GlowLoadOptions,
    model: *mut *mut GlowModel,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = handle(model, "model")?;
        let folder = required_text(folder, "folder")?;
        model.give(load(folder, or_default(options, glow_load_options()))?);
        Ok(())
    })
}

/// # Safety
/// The texts in `options` are NULL or live.
unsafe fn load(folder: &str, options: GlowLoadOptions) -> Result<GlowModel, GlowError> {
    // SAFETY: the caller's promise.
    let (providers, cache, onnxruntime) = unsafe {
        (
            text(options.providers, "providers")?,
            text(options.cache, "cache")?,
            text(options.onnxruntime, "onnxruntime")?,
        )
    };
    let mut builder = Glow::builder().verify(options.verify).check(options.check);
    if let Some(names) = providers {
        let parse = |name: &str| name.trim().parse::<Provider>();
        let providers = names.split(',').map(parse).collect::<Result<Vec<_>, _>>();
        let wrong = |error| GlowError::argument(format!("providers = {names:?}: {error}"));
        builder = builder.providers(providers.map_err(wrong)?);
    }
    for (number, set) in [
        (options.threads, glow_runtime::GlowBuilder::threads as fn(_, _) -> _),
        (options.sessions, glow_runtime::GlowBuilder::sessions),
        (options.max_batch, glow_runtime::GlowBuilder::max_batch),
        (options.memory_budget, glow_runtime::GlowBuilder::memory_budget),
    ] {
        if number > 0 {
            builder = set(builder, number);
        }
    }
    if let Some(folder) = cache {
        builder = builder.cache(folder);
    }
    if let Some(path) = onnxruntime {
        builder = builder.onnxruntime(PathBuf::from(path));
    }
    builder = match options.graphs {
        GLOW_BOTH => builder,
        GLOW_ENCODER => builder.encoder_only(),
        GLOW_DECODER => builder.decoder_only(),
        other => {
            let text = format!("graphs = {other} is out of range: GLOW_BOTH, GLOW_ENCODER or GLOW_DECODER");
            return Err(GlowError::argument(text));
        }
    };
    let glow = builder.load(folder)?;
    // A class name comes from a stranger and may contain NUL, where a text in C would end.
    let c = |text: &str| CString::new(text.replace('\0', "")).unwrap_or_default();
    let onnxruntime = c(&glow.onnxruntime().version);
    let class_names = glow.manifest().class_names.iter().map(|name| c(name)).collect();
    Ok(GlowModel { glow, onnxruntime, class_names })
}

/// Frees a model; no call on it may be running. Nothing happens for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_free(model: *mut GlowModel) {
    // SAFETY: NULL or a model of the caller's, as the header asks.
    unsafe { free(model) }
}

/// Writes the sizes of a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_shape(
    model: *const GlowModel,
    shape: *mut GlowShape,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let glow = &required(model, "model")?.glow;
        let shape = one(shape, "shape")?;
        let a = glow.architecture();
        shape.write(&[GlowShape {
            height: a.height,
            width: a.width,
            channels: a.channels,
            dims: a.dims(),
            n_bits: a.n_bits,
            levels: glow.manifest().latent_shapes.len(),
            classes: a.classes,
            max_batch: glow.max_batch(),
        }]);
        Ok(())
    })
}

/// Writes the shape of the latents of one level, 0 to levels - 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_latent_shape(
    model: *const GlowModel,
    level: usize,
    shape: *mut GlowLatentShape,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let shapes = &required(model, "model")?.glow.manifest().latent_shapes;
        let destination = one(shape, "shape")?;
        let Some(shape) = shapes.get(level) else {
            let levels = shapes.len();
            return Err(GlowError::argument(format!(
                "level = {level} is out of range: the model has {levels}"
            )));
        };
        let (channels, height, width) = (shape.channels, shape.height, shape.width);
        destination.write(&[GlowLatentShape { channels, height, width }]);
        Ok(())
    })
}

/// The name of a class, 0 to classes - 1. It belongs to the model. NULL where there is no such class, where the bundle
/// names none, or for a model that is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_class_name(model: *const GlowModel, class: usize) -> *const c_char {
    // SAFETY: NULL or a live model, as the header asks.
    let name = unsafe { model.as_ref() }.and_then(|model| model.class_names.get(class));
    name.map_or(ptr::null(), |name| name.as_ptr())
}

/// The version of the ONNX Runtime in use, such as "1.31.1". It belongs to the model. NULL for a model that is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_onnxruntime_version(model: *const GlowModel) -> *const c_char {
    // SAFETY: NULL or a live model, as the header asks.
    unsafe { model.as_ref() }.map_or(ptr::null(), |model| model.onnxruntime.as_ptr())
}

impl GlowModel {
    /// H·W·C.
    pub fn dims(&self) -> usize {
        self.glow.architecture().dims()
    }

    /// Numbers of n images, or of their latents.
    pub fn len_of(&self, n: usize) -> Result<usize, GlowError> {
        times(n, self.dims())
    }

    /// For messages about lengths.
    pub fn describe(&self, n: usize) -> String {
        let a = self.glow.architecture();
        format!("{n} times {}*{}*{}", a.height, a.width, a.channels)
    }

    /// `n` images in a slice of their length.
    pub fn images<'a>(&self, n: usize, pixels: &'a [u8]) -> ArrayView4<'a, u8> {
        let a = self.glow.architecture();
        ArrayView4::from_shape((n, a.height, a.width, a.channels), pixels).expect("its length is checked")
    }
}

/// # Safety
/// `pointer` is NULL or may be written.
unsafe fn one<T: Copy>(pointer: *mut T, name: &str) -> Result<Destination<T>, GlowError> {
    // SAFETY: the caller's promise.
    unsafe { Destination::new(pointer, 1, name, 1, "one") }
}
