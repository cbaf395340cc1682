"""The examples, the documentation, the types."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import glow

FOLDER = Path(__file__).parents[1]


def example(name, *words):
    result = subprocess.run(
        [sys.executable, str(FOLDER / "examples" / name), *map(str, words)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_first_steps(bundle, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    Image.effect_noise((32, 24), 60).convert("RGB").save(tmp_path / "photo.png")
    assert "bits/dim" in example("first_steps.py", bundle, tmp_path / "photo.png", tmp_path)
    for name in ("samples.png", "way.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size[0] > 8


def test_a_data_set_of_torch(bundle, tmp_path):
    pytest.importorskip("torch", reason="not run: there is no torch")
    assert "bits/dim" in example("torch_dataset.py", bundle)


@pytest.fixture
def readme(copy, tmp_path, monkeypatch):
    """The code of the README, in a folder with the files that it names."""
    Image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    copy.rename("photos.glow")
    for name in ("anna.jpg", "ben.png"):
        Image.effect_noise((32, 24), 60).convert("RGB").save(name)
    model = glow.Glow("photos.glow")
    attributes = model.new_attributes()
    latents = model.sample_latents(10)
    attributes.fit("Smiling", latents, latents[:, 0] > 0)
    attributes.save("photos.glow")
    blocks = [block.split("```")[0] for block in (FOLDER / "README.md").read_text().split("```python")[1:]]
    assert len(blocks) == 2
    return blocks


def test_the_readme_runs(readme):
    names = {}
    exec(readme[0], names)
    assert names["smile"].shape == (1, 8, 8, 3) and names["bits"].shape == (2,)
    assert Path("samples.png").exists()


def test_the_readme_with_torch_and_datasets(readme):
    torch = pytest.importorskip("torch", reason="not run: there is no torch")
    datasets = pytest.importorskip("datasets", reason="not run: there is no datasets")
    names = {"torch": torch}
    exec(readme[0], names)
    names["dataset"] = datasets.Dataset.from_dict({"image": ["anna.jpg", "ben.png"]}).cast_column("image", datasets.Image())
    exec(readme[1], names)
    assert len(names["scored"]["bits_per_dim"]) == 2


def test_all_that_is_public_is_documented():
    for name in glow.__all__:
        item = getattr(glow, name)
        if not callable(item):
            continue
        assert inspect.getdoc(item), name
        if inspect.isclass(item):
            for method, value in vars(item).items():
                if not method.startswith("_") and (callable(value) or isinstance(value, (property, classmethod))):
                    assert inspect.getdoc(getattr(item, method)), f"{name}.{method}"


def test_the_native_module_is_what_its_stub_says():
    """Names and arguments, as far as Python knows them of a native class."""
    import ast

    from glow import _glow

    stub = ast.parse((Path(glow.__file__).parent / "_glow.pyi").read_text())
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}
    public = {name for name in vars(_glow) if not name.startswith("_")} - {"has_faces64"}
    assert public == set(classes) | set(functions)
    for name, node in classes.items():
        native = getattr(_glow, name)
        methods = {child.name: child for child in node.body if isinstance(child, ast.FunctionDef)}
        assert {one for one in vars(native) if not one.startswith("_")} == {one for one in methods if not one.startswith("_")}
        for method, child in methods.items():
            if method == "__init__":
                continue
            arguments = [argument.arg for argument in child.args.args if argument.arg != "self"]
            assert [p for p in inspect.signature(getattr(native, method)).parameters if p != "self"] == arguments, method


def test_mypy_finds_nothing():
    pytest.importorskip("mypy", reason="not run: there is no mypy")
    result = subprocess.run([sys.executable, "-m", "mypy"], cwd=FOLDER, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
