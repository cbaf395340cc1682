//! The pixels and numbers of the API are those of the library, and so of `glow sample`, `edit`, `interpolate`, `score`.
use crate::support::{JSON, Running, builder, bundle, conditional_bundle, source, with_attributes};
use base64::Engine;
use glow_runtime::images;
use glow_runtime::{EncodeOptions, Glow, Interpolation, Latents, SampleOptions, ScoreOptions};
use glow_serve::ServeOptions;
use image::{DynamicImage, ImageFormat, RgbImage};
use ndarray::Array4;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::Cursor;

const RAW: (&str, &str) = ("Accept", "application/octet-stream");

fn raw(server: &Running, path: &str, body: &serde_json::Value) -> Vec<u8> {
    let answer = server.ask("POST", path, &[JSON, RAW], body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.body
}

fn bytes(images: &Array4<u8>) -> Vec<u8> {
    images.iter().copied().collect()
}

fn sample_latents(glow: &Glow, seed: u64, number: u64, temperature: f32) -> Latents {
    let options = SampleOptions::new().seed(seed).first(number).temperature(temperature);
    glow.sample_latents(1, &options).unwrap()
}

/// A photograph as a file, and the name under which the server keeps it.
fn upload(server: &Running, seed: u32) -> (RgbImage, String) {
    let photo = RgbImage::from_fn(20, 16, |x, y| {
        image::Rgb([x * 9 + seed, y * 12, (x * y + 31 * seed) % 256].map(|value| value as u8))
    });
    let mut png = Cursor::new(Vec::new());
    DynamicImage::from(photo.clone()).write_to(&mut png, ImageFormat::Png).unwrap();
    let answer = server.ask("POST", "/v1/images", &[("Content-Type", "image/png")], png.get_ref());
    assert_eq!(answer.status, 201, "{}", answer.text());
    (photo, answer.json()["image"].as_str().unwrap().to_owned())
}

#[test]
fn draws_are_those_of_the_library() {
    let server = Running::with(
        ServeOptions::new(),
        vec![source("faces", bundle()), source("classes", conditional_bundle())],
    );
    let glow = builder().load(bundle()).unwrap();
    let options = SampleOptions::new().seed(u64::MAX).first(3).temperature(0.9).truncation(1.5);
    let expected = glow.sample(5, &options).unwrap();
    let query = "count=5&seed=18446744073709551615&first=3&temperature=0.9&truncation=1.5";
    let answer = server.get(&format!("/v1/sample?{query}&format=raw"));
    assert_eq!(answer.body, bytes(&expected));
    assert_eq!(answer.header("glow-shape"), Some("5,8,8,3"));

    // The hash that is asserted in every language.
    let golden = include_str!("../../../../models/tests/samples.sha256");
    let hash = Sha256::digest(server.get("/v1/sample?count=6&seed=1&format=raw").body);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(golden.split(' ').next(), Some(hash.as_str()));

    // One sheet, and single files.
    let sheet = server.get(&format!("/v1/sample?{query}"));
    assert_eq!(sheet.header("content-type"), Some("image/png"));
    let drawn = image::load_from_memory(&sheet.body).unwrap();
    let grid = images::GridOptions::new().scale(1);
    assert_eq!(drawn.to_rgb8(), images::grid(&expected, &grid).unwrap().to_rgb8());
    let answer = server.get(&format!("/v1/sample?{query}&format=json")).json();
    assert_eq!(answer["shape"], json!([5, 8, 8, 3]));
    for (image, png) in expected.outer_iter().zip(answer["images"].as_array().unwrap()) {
        let png = base64::engine::general_purpose::STANDARD.decode(png.as_str().unwrap()).unwrap();
        let pixels = image::load_from_memory(&png).unwrap().to_rgb8().into_raw();
        assert_eq!(pixels, image.iter().copied().collect::<Vec<u8>>());
    }

    let glow = builder().load(conditional_bundle()).unwrap();
    let expected = glow.sample(2, &SampleOptions::new().labels(vec![2, 2])).unwrap();
    let answer = server.get("/v1/sample?model=classes&count=2&label=2&format=raw");
    assert_eq!(answer.body, bytes(&expected));
}

#[test]
fn recipes_are_followed_to_the_last_bit() {
    let folder = with_attributes();
    let server = Running::with(ServeOptions::new(), vec![source("faces", folder.path())]);
    let glow = builder().load(folder.path()).unwrap();
    let attributes = glow.attributes().unwrap();
    let pixels = |latents: &Latents| bytes(&glow.decode(latents, None).unwrap().images);
    let render = |recipe: serde_json::Value| raw(&server, "/v1/render", &json!({ "recipe": recipe }));

    let ((photo, one), (other, two)) = (upload(&server, 1), upload(&server, 2));
    let arrays = images::to_array([photo, other], &glow).unwrap();
    let encoded = glow.encode(&arrays, &EncodeOptions::default()).unwrap().latents;
    let (a, b) = (encoded.slice(0..1).unwrap(), encoded.slice(1..2).unwrap());
    assert_eq!(render(json!({ "base": { "image": one } })), pixels(&a));

    let strengths = json!({ "Left": -0.7, "Bright": 0.3 });
    let edited = attributes.apply(&a, &[("Left", -0.7), ("Bright", 0.3)]).unwrap();
    assert_eq!(render(json!({ "base": { "image": one }, "strengths": strengths })), pixels(&edited));

    let (c, d) = (sample_latents(&glow, 7, 4, 0.5), sample_latents(&glow, 8, 0, 0.7));
    let of = json!([
        { "image": one },
        { "image": two },
        { "sample": { "seed": "7", "number": 4, "temperature": 0.5, "truncation": null } },
        { "sample": { "seed": 8 } },
    ]);
    let blend = json!({ "of": of, "x": 0.3, "y": 0.6, "spherical": true });
    let top = a.slerp(&b, 0.3).unwrap();
    let blended = top.slerp(&c.slerp(&d, 0.3).unwrap(), 0.6).unwrap();
    assert_eq!(render(json!({ "base": { "blend": blend } })), pixels(&blended));

    let redraw = json!({ "levels": [0], "seed": "3", "number": 2, "temperature": 1 });
    let varied = b.with_levels_of(&sample_latents(&glow, 3, 2, 1.0), 0..1).unwrap();
    assert_eq!(render(json!({ "base": { "image": two }, "redraw": redraw })), pixels(&varied));

    for (spherical, way) in [(false, Interpolation::Linear), (true, Interpolation::Spherical)] {
        let body =
            json!({ "from": { "image": one }, "to": { "image": two }, "steps": 5, "spherical": spherical });
        let expected = glow.interpolate(&a, &b, 5, way, None).unwrap();
        assert_eq!(raw(&server, "/v1/interpolate", &body), bytes(&expected));
    }

    let recipe = json!({ "base": { "image": one }, "strengths": strengths });
    let file = raw(&server, "/v1/latents", &json!({ "recipe": recipe }));
    assert_eq!(file, edited.to_safetensors());
    let answer = server.post("/v1/coordinates", &json!({ "recipe": recipe })).json();
    let projected = attributes.project(&edited).unwrap();
    for (attribute, expected) in attributes.iter().zip(&projected) {
        assert_eq!(answer["coordinates"][attribute.name()].as_f64().unwrap(), *expected);
    }
    let answer = server.post("/v1/score", &json!({ "recipe": recipe, "draws": 4, "seed": 5 })).json();
    let picture = glow.decode(&edited, None).unwrap().images;
    let score = glow.score(&picture, &ScoreOptions::new().draws(4).seed(5)).unwrap()[0];
    assert_eq!(answer["log_prob"].as_f64().unwrap(), score.log_prob);
    assert_eq!(answer["standard_error"].as_f64(), score.standard_error);
    assert_eq!(answer["bits_per_dim"].as_f64().unwrap(), score.bits_per_dim);
    assert_eq!(answer["radii"].as_array().unwrap().len(), 2);
    assert!(server.stop());
}

#[test]
fn a_class_is_a_part_of_a_recipe() {
    let server = Running::with(ServeOptions::new(), vec![source("classes", conditional_bundle())]);
    let glow = builder().load(conditional_bundle()).unwrap();
    let (photo, one) = upload(&server, 4);
    let array = images::to_array([photo], &glow).unwrap();
    for label in [2i64, 0] {
        // Latents of one class are not those of another.
        let options = EncodeOptions::new().labels(vec![label]);
        let latents = glow.encode(&array, &options).unwrap().latents;
        let body = json!({ "recipe": { "base": { "image": one }, "label": label } });
        assert_eq!(raw(&server, "/v1/latents", &body), latents.to_safetensors());
        let expected = glow.decode(&latents, Some(&[label])).unwrap().images;
        assert_eq!(raw(&server, "/v1/render", &body), bytes(&expected));
    }
}
