"""What may be given for images, and what is refused."""

import numpy as np
import pytest

import glow

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def photo(tmp_path):
    """A colourful image larger than the model's."""
    y, x, c = np.ogrid[:24, :32, :3]
    pixels = (y * 5 + x * 4 + c * 40).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def test_files_pil_images_and_arrays_of_one_picture_are_one(model, photo):
    expected = model.encode(photo).latents
    image = Image.open(photo)
    for same in (str(photo), image, [photo], (image,), model.prepare(photo), model.prepare(np.asarray(image))):
        assert (model.encode(same).latents == expected).all()
    both = model.encode([photo, image]).latents
    assert (both == np.concatenate([expected, expected])).all()
    assert model.prepare([]).shape == (0, 8, 8, 3)
    assert model.encode([]).latents.shape == (0, 192)


def test_pil_modes_are_those_of_files(model, photo, tmp_path):
    original = Image.open(photo)
    alpha = np.linspace(0, 255, 24 * 32).reshape(24, 32).astype(np.uint8)
    rgba = np.dstack([np.asarray(original), alpha])
    palette = original.quantize(16)
    palette.info["transparency"] = 3
    cases = {
        "RGBA": Image.fromarray(rgba),
        "LA": Image.fromarray(rgba).convert("LA"),
        "L": original.convert("L"),
        "P": original.quantize(16),
        "P transparent": palette,
        "1": original.convert("1"),
    }
    for name, image in cases.items():
        path = tmp_path / "mode.png"
        image.save(path, **({"transparency": 3} if name == "P transparent" else {}))
        assert (model.prepare(image) == model.prepare(path)).all(), name
    assert (model.prepare(original.convert("CMYK")) == model.prepare(original.convert("CMYK").convert("RGB"))).all()
    with pytest.raises(glow.ArgumentError, match="mode I"):
        model.prepare(Image.fromarray(np.zeros((24, 32), np.int32)))


def test_exif_turns_a_picture(model, photo, tmp_path):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).save(path, exif=exif)
    turned = model.prepare(path)
    assert (turned == model.prepare(Image.open(path))).all()
    assert (turned != model.prepare(photo)).any()


def test_an_array_in_the_models_size_is_not_copied(model, noise):
    from glow import _inputs

    assert _inputs.images(model._native, noise) is noise
    assert np.shares_memory(_inputs.images(model._native, noise[0]), noise)
    latents = model.encode(noise).latents
    assert _inputs.latents(model.dims, latents) is latents
    read_only = noise.copy()
    read_only.flags.writeable = False
    assert (model.reconstruct(read_only) == model.quantize(noise)).all()
    # What comes out may be changed.
    out = model.sample(1)
    assert out.flags.writeable and out.flags.c_contiguous
    out[:] = 0


def test_what_is_no_image_is_refused(model, noise, tmp_path):
    for wrong in (
        noise.astype(np.float32),
        noise.transpose(0, 3, 1, 2),
        noise[:, :4],
        np.zeros((16, 16, 3), np.uint8),
        np.zeros(3, np.uint8),
        None,
    ):
        with pytest.raises(glow.ArgumentError):
            model.encode(wrong)
    with pytest.raises(glow.ArgumentError, match="smaller than the model's"):
        model.prepare(np.zeros((4, 4, 3), np.uint8))
    for shape in ((8, 8, 5), (0, 8, 3), (1, 1, 8, 8, 3)):
        with pytest.raises(glow.ArgumentError):
            model.prepare(np.zeros(shape, np.uint8))
    with pytest.raises(glow.FileError, match="absent.png"):
        model.encode(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(OSError, match="text.png"):
        model.encode(tmp_path / "text.png")


def test_arguments_out_of_range_are_named(model, noise):
    latents = model.encode(noise).latents
    nan = latents.copy()
    nan[2, 5] = np.nan
    wrong = {
        "n = -1": lambda: model.sample(-1),
        "n = 1.5": lambda: model.sample(1.5),
        "n = ": lambda: model.sample(2**62),
        "temperature = -1": lambda: model.sample(temperature=-1),
        "truncation": lambda: model.sample(truncation=0.001),
        "seed = -1": lambda: model.sample(seed=-1),
        "seed = 18446744073709551616": lambda: model.sample(seed=2**64),
        "draws = 0": lambda: model.score(noise, draws=0),
        "steps = 1": lambda: model.interpolate(noise[:1], noise[1:2], steps=1),
        r"latents has shape \[5, 191\]": lambda: model.decode(latents[:, 1:]),
        "latents are of type": lambda: model.decode([["a"] * 192]),
        "a has shape": lambda: model.interpolate(latents[:, 1:], latents),
        "unconditional": lambda: model.sample(labels=0),
        "is no provider": lambda: glow.Glow("x", providers="gpu"),
        "only = 'both'|only = \"both\"": lambda: glow.Glow("x", only="both"),
        "threads = 0": lambda: glow.Glow(model.folder, threads=0),
    }
    for words, call in wrong.items():
        with pytest.raises(glow.ArgumentError, match=words):
            call()
    with pytest.raises(glow.NonFiniteError, match="image 2"):
        model.decode(nan)
    assert issubclass(glow.ArgumentError, ValueError) and issubclass(glow.FileError, OSError)
    assert issubclass(glow.DeadlineError, TimeoutError) and issubclass(glow.OverloadedError, glow.RunError)
    assert issubclass(glow.CancelledError, glow.RunError) and issubclass(glow.StoppedError, glow.RunError)


def test_bundles_and_graphs(model, copy, noise, tmp_path):
    with pytest.raises(glow.BundleError, match="model.json"):
        glow.Glow(tmp_path)
    with open(copy / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(glow.BundleError, match="model.safetensors"):
        glow.Glow(copy)
    decoder = glow.Glow(model.folder, only="decoder", sessions=2, threads=1, max_batch=2, warm_up=[1], providers=["cpu"])
    assert (decoder.sample(5, seed=1) == model.sample(5, seed=1)).all()
    with pytest.raises(glow.ArgumentError, match="encoder"):
        decoder.encode(noise)
    with pytest.raises(glow.ProviderError):
        glow.Glow(model.folder, providers=["cuda:0"])
    cached = glow.Glow(model.folder, cache=tmp_path / "cache", check=True)
    assert (cached.sample(2) == model.sample(2)).all() and any((tmp_path / "cache").iterdir())


def test_pictures(model, noise, tmp_path):
    sheet = glow.grid(noise, columns=5, padding=0, scale=1)
    assert (sheet == np.concatenate(list(noise), axis=1)).all()
    assert glow.grid(noise[..., :1]).shape[2] == 1
    assert (np.asarray(glow.to_pil(noise[0])) == noise[0]).all()
    assert glow.to_pil(noise[0, :, :, :1]).mode == "L"
    for wrong in (noise[0], noise.astype(float)):
        with pytest.raises(glow.ArgumentError):
            glow.grid(wrong)
    with pytest.raises(glow.ArgumentError):
        glow.grid(noise, scale=10**6)
    with pytest.raises(glow.ArgumentError):
        glow.to_pil(noise)
    glow.to_pil(noise[0]).save(tmp_path / "b.png")
    glow.to_pil(noise[1]).save(tmp_path / "a.png")
    files = glow.list_images(tmp_path)
    assert [file.rsplit("/")[-1] for file in files] == ["a.png", "b.png"]
    assert (model.prepare(files) == noise[[1, 0]]).all()
    with pytest.raises(glow.FileError):
        glow.list_images(tmp_path / "absent")


def test_tensors_of_torch(model, noise):
    torch = pytest.importorskip("torch", reason="not run: there is no torch")
    tensor = torch.from_numpy(noise)
    assert (model.reconstruct(tensor) == model.quantize(noise)).all()
    channels_first = torch.from_numpy(model.sample(2)).permute(0, 3, 1, 2)
    assert (model.reconstruct(channels_first.permute(0, 2, 3, 1)) == model.sample(2)).all()
    latents = torch.from_numpy(model.encode(noise).latents)
    assert (model.decode(latents) == model.quantize(noise)).all()
