"""Fixtures for tests of image inputs: copies of the sample files; links that were checked out as text are resolved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.images.reading import read_rows
from tests.material import material
from wkpipe.errors import UnreadableInput
from wkpipe.images import ImageStack, inspect_source


def resolve(path: Path) -> Path:
    """Follow links that were checked out as small text files, any number of times."""
    while path.stat().st_size < 200:
        target = path.parent / path.read_text()
        if not target.is_file():
            return path
        path = target
    return path


@pytest.fixture
def sample(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies a folder of sample images (at most `limit` files) and returns the copy."""

    def copy(name: str, limit: int | None = None) -> Path:
        source, target = material(f"data/{name}"), tmp_path / name
        for path in sorted(path for path in source.rglob("*") if path.is_file())[:limit]:
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(resolve(path), target / path.relative_to(source))
        return target

    return copy


@pytest.fixture
def voxels() -> Callable[[ImageStack], np.ndarray]:
    """Return a function that reads a whole stack, axes (t, z, y, x, c), and checks each part's form."""

    def read(stack: ImageStack) -> np.ndarray:
        sizes = stack.sizes
        parts = [read_rows(stack, t, 0, sizes.z, 0, sizes.y) for t in range(sizes.t)]
        for part in parts:
            assert part.shape == (sizes.z, sizes.y, sizes.x, sizes.c)
            assert part.flags.c_contiguous  # channels, then x vary fastest
            assert part.dtype == stack.dtype
            assert part.dtype.newbyteorder("<") == part.dtype
        return np.stack(parts)

    return read


@pytest.fixture
def refused(voxels: Callable[[ImageStack], np.ndarray]) -> Callable[..., bool]:
    """Return a function that checks that a damaged image is refused (then it returns True) or has the expected voxels."""

    def check(path: Path, expected: np.ndarray) -> bool:
        try:
            (stack,) = inspect_source(path, category="color")
            read = voxels(stack)
        except UnreadableInput as error:
            text = str(error)
        else:
            np.testing.assert_array_equal(read, expected)
            return False
        assert path.name in text
        assert "\n" not in text
        return True

    return check
