"""Datasets to verify: made once, and copied if a test damages them for good."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verify.helpers import FORMATS, make_dataset, write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "stack")


@pytest.fixture(scope="session")
def pristine(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a sound dataset of every format; a test that changes one restores it."""
    root = tmp_path_factory.mktemp("pristine")
    return {data_format: make_dataset(images, root / data_format, data_format) for data_format in FORMATS}


@pytest.fixture
def dataset(pristine: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that gives a copy of a sound dataset."""

    def copied(data_format: str) -> Path:
        return Path(shutil.copytree(pristine[data_format], tmp_path / data_format))

    return copied
