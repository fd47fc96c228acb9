"""A dataset to upload, and a server that enforces the protocol."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.raw_client import Client
from tests.server.upload_helpers import SECRET, Stage
from tests.server.wk_server import WkServer
from tests.verify.helpers import make_dataset, write_images


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of some twenty files; copy it before you change it."""
    base = tmp_path_factory.mktemp("small")
    return make_dataset(write_images(base / "images"), base / "data", "zarr3")


@pytest.fixture
def stage(small_dataset: Path, tmp_path: Path) -> Iterator[Stage]:
    with WkServer(tmp_path / "server", SECRET) as server:
        yield Stage(Path(shutil.copytree(small_dataset, tmp_path / "data")), server)


@pytest.fixture
def legacy_stage(small_dataset: Path, tmp_path: Path) -> Iterator[Stage]:
    with WkServer(tmp_path / "server", SECRET, current_api=13, legacy_only=True) as server:
        yield Stage(Path(shutil.copytree(small_dataset, tmp_path / "data")), server)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WkServer]:
    with WkServer(tmp_path / "server") as server:
        yield server


@pytest.fixture
def client(server: WkServer) -> Client:
    return Client(server)
