"""What the methods give."""

import hashlib

import numpy as np
import pytest

import glow
from conftest import CHECKOUT


def test_it_says_what_it_is(model, bundle):
    assert model.shape == (8, 8, 3) and model.dims == 192
    assert model.latent_shapes == [(6, 4, 4), (24, 2, 2)]
    assert model.classes == 0 and model.class_names == []
    assert model.providers == ["CPU"] and model.passed_over == []
    assert model.folder == str(bundle) and "8x8x3" in repr(model)
    assert model.manifest["architecture"]["n_bits"] >= 1
    assert model.max_batch >= 1
    assert tuple(map(int, model.onnxruntime.version.split(".")[:2])) >= (1, 21)
    model.health()


def test_a_seed_gives_the_same_pictures_in_every_language(model):
    golden = (CHECKOUT / "models/tests/samples.sha256").read_text().split()[0]
    images = model.sample(6, seed=1)
    assert (images.shape, images.dtype) == ((6, 8, 8, 3), np.uint8)
    assert hashlib.sha256(images.tobytes()).hexdigest() == golden


def test_a_sample_depends_on_seed_and_number_alone(model):
    images = model.sample(6, seed=1)
    assert (model.sample(2, seed=1, first=3) == images[3:5]).all()
    assert (model.decode(model.sample_latents(6, seed=1)) == images).all()
    assert (model.sample(6, seed=2**64 - 1) != images).any()
    assert model.sample(0).shape == (0, 8, 8, 3)
    cold = model.sample_latents(2, temperature=0)
    assert cold.dtype == np.float32 and (cold == 0).all()
    assert abs(model.sample_latents(50, temperature=1, truncation=0.5)).max() <= 0.5


def test_pixels_come_back(model, noise):
    expected = model.quantize(noise)
    assert (model.reconstruct(noise) == expected).all()
    encoded = model.encode(noise)
    assert encoded.latents.shape == (5, 192) and encoded.log_prob.shape == (5,)
    decoded = model.decode_with_x(encoded.latents)
    assert (decoded.images == expected).all() and decoded.x.shape == noise.shape
    # One latent, and another layout of the memory.
    assert (model.decode(encoded.latents[0]) == expected[:1]).all()
    assert (model.decode(np.asfortranarray(encoded.latents)) == expected).all()
    assert (model.reconstruct(noise[::-1]) == expected[::-1]).all()
    assert (model.encode(noise, seed=1).latents != encoded.latents).any()
    assert (model.encode(noise[2:], seed=1, first=2).latents == model.encode(noise, seed=1).latents[2:]).all()


def test_levels_are_views(model):
    flat = model.sample_latents(3)
    levels = model.levels(flat)
    assert [level.shape for level in levels] == [(3, 6, 4, 4), (3, 24, 2, 2)]
    assert all(np.shares_memory(flat, level) for level in levels)
    assert (model.flat(levels) == flat).all()
    with pytest.raises(glow.ArgumentError):
        model.flat(levels[:1])


def test_interpolation_begins_and_ends_at_the_images(model, noise):
    for spherical in (False, True):
        way = model.interpolate(noise[:2], noise[2:4], steps=4, spherical=spherical)
        assert way.shape == (8, 8, 8, 3)
        assert (way[[0, 4]] == model.quantize(noise[:2])).all()
        if not spherical:
            assert (way[[3, 7]] == model.quantize(noise[2:4])).all()
    latents = model.encode(noise).latents
    assert (model.interpolate(latents[0], noise[1], steps=3) == model.interpolate(noise[0], noise[1], 3)).all()


def test_likelihoods(model, noise):
    scores = model.score(noise, draws=4, seed=3)
    draws = np.stack([model.score(noise, draws=1, seed=3).log_prob])
    assert all(array.shape == (5,) for array in scores)
    assert (scores.standard_error > 0).all() and scores.reliable.all() and scores.reliable.dtype == np.bool_
    assert np.isnan(model.score(noise).standard_error).all()
    np.testing.assert_allclose(scores.bits_per_dim, -scores.log_prob / (np.log(2) * 192))
    assert (model.bits_per_dim(noise, draws=4, seed=3) == scores.bits_per_dim).all()
    assert (model.log_prob(noise, draws=4, seed=3) == scores.log_prob).all()
    # A single draw is what the encoder says of the same noise.
    np.testing.assert_allclose(draws[0], model.encode(noise, seed=3).log_prob, rtol=1e-6)
    flat = np.full((1, 8, 8, 3), 100, np.uint8)
    assert model.complexity_corrected(flat)[0] != model.complexity_corrected(noise[:1])[0]


def test_references(model, noise, tmp_path):
    reference = glow.ReferenceScores(model, [5, 1, 4, 2, 3])
    assert (reference.kind, reference.mean) == ("bits-per-dim", 3)
    assert reference.standard_deviation == pytest.approx(2.5**0.5)
    assert reference.scores.tolist() == [1, 2, 3, 4, 5]
    compared = reference.compare([3, 9])
    assert compared.typicality.tolist() == pytest.approx([0, 6 / 2.5**0.5])
    assert compared.p_value.tolist() == pytest.approx([1, 1 / 6])
    assert compared.p_value_high.tolist() == pytest.approx([4 / 6, 1 / 6])
    reference.save(tmp_path / "scores.json")
    again = glow.ReferenceScores.load(tmp_path / "scores.json", model)
    assert again.scores.tolist() == reference.scores.tolist()
    assert "5 of mean 3" in repr(again)
    other = glow.ReferenceScores(model, [1, 2], kind="complexity-corrected")
    assert other.kind == "complexity-corrected"
    with pytest.raises(glow.ArgumentError):
        glow.ReferenceScores(model, [1])
    with pytest.raises(glow.ArgumentError):
        glow.ReferenceScores(model, [1, 2], kind="likelihood")
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(glow.FileError):
        glow.ReferenceScores.load(tmp_path / "scores.json", model)


def test_attributes(copy):
    model = glow.Glow(copy, threads=1)
    assert len(model.attributes()) == 0
    ramp = np.arange(8, dtype=np.uint8)[None, :, None, None] + np.arange(8, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(np.concatenate([60 + ramp, 180 + ramp]), (16, 8, 8, 3))
    has = [False] * 8 + [True] * 8
    latents = model.encode(images).latents
    attributes = model.new_attributes()
    statistics = attributes.fit("Bright", latents, has)
    assert statistics.positives == statistics.negatives == 8 and statistics.held_out_accuracy == 1
    assert attributes.fit("Ridge", latents, has, method="ridge", penalty=2).penalty == 2
    assert attributes.fit("Other", latents, has, method="logistic").method == "logistic"
    attributes.remove("Other")
    assert list(attributes) == ["Bright", "Ridge"] and "Bright" in attributes and "Other" not in attributes
    # Strength 1 adds 1 to the coordinate.
    before, after = (attributes.project(z) for z in (latents, attributes.apply(latents, {"Bright": 1})))
    np.testing.assert_allclose(after[:, 0] - before[:, 0], 1, rtol=1e-4)
    w = attributes.direction("Bright")
    np.testing.assert_allclose(attributes.apply(latents, {"Bright": 2}), latents + 2 * w, rtol=1e-5, atol=1e-5)
    attributes.save(copy)
    assert model.attributes().names == ["Bright", "Ridge"]
    edited = model.edit(images, {"Bright": 0.5})
    assert (edited == model.decode(latents + np.float32(0.5) * w)).mean() > 0.99
    assert (model.edit(images, {"Bright": 0}, attributes=attributes) == model.quantize(images)).all()
    for wrong in ({"Dark": 1}, {"Bright": float("nan")}):
        with pytest.raises(glow.ArgumentError):
            model.edit(images, wrong)
    with pytest.raises(glow.ArgumentError):
        attributes.fit("Bright", latents, has, method="mean-difference", penalty=1)
    with pytest.raises(glow.ArgumentError):
        attributes.fit("Bright", latents, has[:-1])


def test_the_model_that_comes_with_the_package():
    """Faces, which it finds likelier than noise, and whose attributes move as they are told to."""
    from glow import _glow

    if not _glow.has_faces64:
        with pytest.raises(glow.ArgumentError, match="faces64"):
            glow.Glow()
        return
    model = glow.Glow()
    assert model.shape == (64, 64, 3) and model.folder is None and "faces64" in repr(model)
    faces = model.sample(2, seed=1)
    bits = model.bits_per_dim(np.concatenate([faces, np.random.default_rng(1).integers(0, 256, faces.shape, np.uint8)]))
    assert bits[:2].max() < 2 < bits[2:].min()
    attributes = model.attributes()
    before, after = (
        attributes.project(model.encode(images).latents)[:, attributes.names.index("Smiling")]
        for images in (faces, model.edit(faces, {"Smiling": 1}))
    )
    assert (after - before > 0.5).all()


def test_classes_go_by_number_and_name(conditional, copy):
    assert conditional.classes == 3
    images = conditional.sample(3, labels=[0, 1, 2])
    assert (conditional.sample(1, first=1, labels=1) == images[1:2]).all()
    assert (conditional.sample(3, labels=2) != images).any()
    assert (conditional.reconstruct(images, labels=np.arange(3)) == conditional.quantize(images)).all()
    way = conditional.interpolate(images[:1], images[1:2], steps=3, labels=1)
    assert way.shape == (3, 8, 8, 3)
    for wrong in (None, [0], [0, 1, 3], [0, 1, -1], "owl", [0.5, 1, 2]):
        with pytest.raises(glow.ArgumentError):
            conditional.sample(3, labels=wrong)


def test_a_class_that_has_a_name(tmp_path):
    import json
    import shutil

    from conftest import BUNDLES

    bundle = shutil.copytree(BUNDLES / "conditional-bundle", tmp_path / "named")
    manifest = json.loads((bundle / "model.json").read_text())
    manifest["class_names"] = ["cat", "dog", "owl"]
    (bundle / "model.json").write_text(json.dumps(manifest))
    model = glow.Glow(bundle, threads=1)
    assert model.class_names == ["cat", "dog", "owl"]
    assert (model.sample(2, labels="owl") == model.sample(2, labels=[2, 2])).all()
    assert (model.sample(2, labels=["dog", 0]) == model.sample(2, labels=[1, 0])).all()
    with pytest.raises(glow.ArgumentError, match="there are cat, dog, owl"):
        model.sample(1, labels="cow")
