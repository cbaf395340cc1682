//! Latents as flat arrays.
use crate::arguments::{Destination, array, required, same};
use crate::model::GlowModel;
use crate::options::{GlowSampleOptions, sampling};
use crate::status::{GlowError, GlowStatus, guard};
use glow_runtime::Latents;
use glow_runtime::ndarray::ArrayView2;

/// Draws the latents of `n` samples into `latents`, float [n, H*W*C]: those that glow_sample decodes. `options` may be
/// NULL; its labels play no part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_sample_latents(
    model: *const GlowModel,
    n: usize,
    options: *const GlowSampleOptions,
    latents: *mut f32,
    latents_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let options = sampling(options)?;
        let latents =
            Destination::new(latents, latents_len, "latents", model.len_of(n)?, &model.describe(n))?;
        write(latents, &model.glow.sample_latents(n, &options)?);
        Ok(())
    })
}

/// Latents of `n` images from C.
///
/// # Safety
/// `pointer` is NULL or points to `len` numbers.
pub unsafe fn read(
    model: &GlowModel,
    n: usize,
    pointer: *const f32,
    len: usize,
    name: &str,
) -> Result<Latents, GlowError> {
    // SAFETY: the caller's promise.
    let flat = unsafe { array(pointer, len, name)? };
    same(len, model.len_of(n)?, name, &model.describe(n))?;
    let flat = ArrayView2::from_shape((n, model.dims()), flat).expect("its length is checked");
    Ok(Latents::from_flat(flat, &model.glow.manifest().latent_shapes)?)
}

pub fn write(destination: Destination<f32>, latents: &Latents) {
    destination.write(latents.flat().as_slice().expect("standard layout"));
}
