"""The bundles that the tests run on: the project's random models of 8x8 RGB images."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import glow

CHECKOUT = Path(__file__).parents[3]
BUNDLES = CHECKOUT / "models" / "tests"


@pytest.fixture(scope="session")
def bundle() -> Path:
    return BUNDLES / "bundle"


@pytest.fixture(scope="session")
def model(bundle):
    return glow.Glow(bundle, threads=1)


@pytest.fixture(scope="session")
def conditional():
    """A model of three classes."""
    return glow.Glow(BUNDLES / "conditional-bundle", threads=1)


@pytest.fixture
def copy(bundle, tmp_path):
    """A bundle that may be changed."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def noise():
    """Images without any structure."""
    return np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
