//! From recipes to latents: the arithmetic of `glow sample`, `encode`, `edit` and `interpolate`, to the last bit.
use crate::app::App;
use crate::images::ImageId;
use crate::limits::Deadline;
use crate::model::Loaded;
use crate::problem::Problem;
use crate::recipe::{Base, Blend, Face, Recipe, Sample};
use glow_runtime::{EncodeOptions, Error, Job, Latents, SampleOptions};
use ndarray::Array4;
use std::collections::HashMap;
use std::sync::Arc;

/// Latents of photographs.
type Encoded = HashMap<ImageId, Arc<Latents>>;

/// The latents of a recipe, a batch of one.
pub(crate) async fn latents(
    app: &App,
    model: &Arc<Loaded>,
    recipe: Recipe,
    deadline: Deadline,
) -> Result<Latents, Problem> {
    recipe.check()?;
    check_model(model, &recipe)?;
    model.check_room()?;
    let encoded = encode(app, model, recipe.faces(), recipe.label, deadline).await?;
    let model = Arc::clone(model);
    blocking(move || Ok(follow(&model, &recipe, &encoded)?)).await
}

/// The latents of two faces, for ways between them.
pub(crate) async fn pair(
    app: &App,
    model: &Arc<Loaded>,
    [a, b]: [Face; 2],
    label: Option<i64>,
    deadline: Deadline,
) -> Result<(Latents, Latents), Problem> {
    let (a, b) = (Recipe::of(a, label), Recipe::of(b, label));
    let both = futures_util::future::join(latents(app, model, a, deadline), latents(app, model, b, deadline));
    let (a, b) = both.await;
    Ok((a?, b?))
}

/// Does work that takes longer than a thread of the network should.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Problem::internal(format!("a thread failed: {error}"))),
    }
}

/// Checks what depends on the model, before any work.
fn check_model(model: &Loaded, recipe: &Recipe) -> Result<(), Problem> {
    let a = model.architecture();
    for (name, _) in &recipe.strengths.0 {
        model.attributes.get(name)?;
    }
    let levels = recipe.redraw.iter().flat_map(|redraw| &redraw.levels);
    for level in levels {
        if *level >= a.levels {
            let message = format!("there is no level {level}: the model has {}", a.levels);
            return Err(Problem::invalid(message));
        }
    }
    let wrong = |message: String| Err(Problem { kind: "label", ..Problem::invalid(message) });
    match recipe.label {
        None if a.classes > 0 => wrong(format!("this model needs a label, 0 to {}", a.classes - 1)),
        Some(_) if a.classes == 0 => wrong("this model has no classes and takes no label".into()),
        Some(label) if !(0..a.classes as i64).contains(&label) => {
            wrong(format!("label = {label} must be one of the classes 0 to {}", a.classes.saturating_sub(1)))
        }
        _ => Ok(()),
    }
}

/// Encodes the photographs among the faces; those that were encoded before are in a cache.
async fn encode(
    app: &App,
    model: &Loaded,
    faces: &[Face],
    label: Option<i64>,
    deadline: Deadline,
) -> Result<Encoded, Problem> {
    let mut ids: Vec<ImageId> = Vec::new();
    for face in faces {
        if let Face::Image(id) = face
            && !ids.contains(id)
        {
            ids.push(*id);
        }
    }
    let one = async |id: ImageId| {
        if let Some(latents) = model.latents.get(&(id, label)) {
            return Ok((id, latents));
        }
        let image = image(app, model, id)?;
        let options = EncodeOptions::new().labels(label.map(|label| vec![label]));
        let latents = Arc::new(model.run(Job::encode(image, options), deadline).await?.latents);
        let bytes = size_of::<f32>() * model.architecture().dims();
        model.latents.put((id, label), Arc::clone(&latents), bytes);
        Ok::<_, Problem>((id, latents))
    };
    // All at once, so that they go through in one batch.
    let encoded = futures_util::future::try_join_all(ids.into_iter().map(one)).await?;
    Ok(encoded.into_iter().collect())
}

/// The pixels of a photograph, [1, H, W, C].
fn image(app: &App, model: &Loaded, id: ImageId) -> Result<Array4<u8>, Problem> {
    let unknown = || {
        let message = format!("the image {id} is not here, or not any more: send it to /v1/images again");
        Problem::not_found("unknown_image", message)
    };
    let pixels = app.images.get(&id).ok_or_else(unknown)?;
    let a = model.architecture();
    let dim = (1, a.height, a.width, a.channels);
    // Another model's images are of another size.
    Array4::from_shape_vec(dim, pixels.to_vec()).map_err(|_| {
        let size = format!("{}×{}×{}", a.height, a.width, a.channels);
        Problem::invalid(format!("the image {id} was sent for another model: this one takes {size}"))
    })
}

fn follow(model: &Loaded, recipe: &Recipe, encoded: &Encoded) -> Result<Latents, Error> {
    let face = |face: &Face| match face {
        Face::Sample(sample) => draw(model, sample),
        Face::Image(id) => Ok(Latents::clone(&encoded[id])),
    };
    let mut latents = match &recipe.base {
        Base::Face(base) => face(base)?,
        Base::Blend(blend) => {
            let of: Vec<Latents> = blend.of.iter().map(face).collect::<Result<_, _>>()?;
            blended(&of, blend)?
        }
    };
    if let Some(redraw) = &recipe.redraw {
        let fresh = draw(
            model,
            &Sample {
                seed: redraw.seed,
                number: redraw.number,
                temperature: redraw.temperature,
                truncation: None,
            },
        )?;
        for &level in &redraw.levels {
            latents = latents.with_levels_of(&fresh, level..level + 1)?;
        }
    }
    if recipe.strengths.0.is_empty() {
        return Ok(latents);
    }
    let strengths: Vec<(&str, f32)> =
        recipe.strengths.0.iter().map(|(name, strength)| (name.as_str(), *strength)).collect();
    model.attributes.apply(&latents, &strengths)
}

/// Two faces, or four in the corners of a square, row by row.
fn blended(of: &[Latents], blend: &Blend) -> Result<Latents, Error> {
    let way = |a: &Latents, b: &Latents, t: f32| {
        if blend.spherical { a.slerp(b, t) } else { a.lerp(b, t) }
    };
    match of {
        [a, b, c, d] => way(&way(a, b, blend.x)?, &way(c, d, blend.x)?, blend.y),
        of => way(&of[0], &of[1], blend.x),
    }
}

fn draw(model: &Loaded, sample: &Sample) -> Result<Latents, Error> {
    let options = SampleOptions::new()
        .seed(sample.seed)
        .first(sample.number)
        .temperature(sample.temperature)
        .truncation(sample.truncation);
    model.glow().sample_latents(1, &options)
}
