"""Fixtures for tests of image inputs: copies of the sample files, with links that were checked out as text made whole again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wkpipe.errors import UnreadableInput
from wkpipe.images import ImageStack, inspect_source


def resolve(path: Path) -> Path:
    """Follow a link that was checked out as a small text file, any number of times."""
    while path.stat().st_size < 200:
        target = path.parent / path.read_text()
        if not target.is_file():
            return path
        path = target
    return path


@pytest.fixture
def sample(shared: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies a folder of sample images (at most `limit` files) and returns the copy."""

    def copy(name: str, limit: int | None = None) -> Path:
        source, target = shared / "data" / name, tmp_path / name
        for path in sorted(path for path in source.rglob("*") if path.is_file())[:limit]:
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(resolve(path), target / path.relative_to(source))
        return target

    return copy


@pytest.fixture
def voxels() -> Callable[[ImageStack], np.ndarray]:
    """Return a function that reads a whole stack, axes (t, z, y, x, c), checking each part's form."""

    def read(stack: ImageStack) -> np.ndarray:
        sizes = stack.sizes
        parts = [stack.read(t, 0, sizes.z, 0, sizes.y) for t in range(sizes.t)]
        for part in parts:
            assert part.shape == (sizes.z, sizes.y, sizes.x, sizes.c)
            assert part.flags.c_contiguous
            assert part.dtype == stack.dtype
            assert part.dtype.newbyteorder("<") == part.dtype
        return np.stack(parts)

    return read


@pytest.fixture
def refused(voxels: Callable[[ImageStack], np.ndarray]) -> Callable[..., bool]:
    """Return a function that tells whether a damaged image is refused, and checks that else its voxels are the expected ones."""

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
