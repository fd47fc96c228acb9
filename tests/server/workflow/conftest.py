from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.wk_server.server import WkServer
from tests.server.workflow.watched import SHARDS, TOKEN, Server
from tests.workflow.workflow_helpers import VOXEL_SIZE, WKPIPE, data_files, write_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of slices that make some dozen small shards."""
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (100, 150, 170))


@pytest.fixture(scope="session")
def local(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The hash of every file of arrays that `wkpipe convert` makes of the stack."""
    target = tmp_path_factory.mktemp("local") / "stack"
    subprocess.run([*WKPIPE, "convert", str(stack), str(target), "--voxel-size", VOXEL_SIZE, *SHARDS], check=True, capture_output=True)
    return {name: found for name, found in data_files(target).items() if name.count("/") > 1}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that checks at the end that the client kept its rules."""
    with WkServer(tmp_path / "server", TOKEN) as wk:
        yield Server(wk)
    wk.check()
