"""Fixtures of the attacks: images, a converted dataset, and the other tool that changes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attack.helpers import convert, noise, write_images
from tests.attack.other_tools import Imitation, Original, OtherTool


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Turn the syncs off, because these tests do not cut the power."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.usefixtures("no_syncs"))


@pytest.fixture(scope="session")
def original(reference_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Original]:
    tool = Original(reference_python, tmp_path_factory.mktemp("original"))
    yield tool
    tool.close()


@pytest.fixture(params=["imitation", pytest.param("original", marks=pytest.mark.reference)])
def tool(request: pytest.FixtureRequest) -> OtherTool:
    """The other tool: an imitation, and the reference package itself if it is installed."""
    if request.param == "imitation":
        return Imitation()
    found: OtherTool = request.getfixturevalue("original")
    return found


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices of noise; a test that changes them makes a copy."""
    return write_images(tmp_path_factory.mktemp("attack") / "images", noise())


@pytest.fixture(scope="session")
def pristine(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def get(data_format: str) -> Path:
        if data_format not in made:
            made[data_format] = convert(images, tmp_path_factory.mktemp("attack") / f"ds-{data_format}", data_format)
        return made[data_format]

    return get


@pytest.fixture
def converted(pristine: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies, with its times, a dataset that wkpipe converted and downsampled to mag 4."""

    def copied(data_format: str = "zarr3", name: str = "ds") -> Path:
        return Path(shutil.copytree(pristine(data_format), tmp_path / name))

    return copied
