"""Uploads while requests fail at random and clients are killed: all complete, each once, and little is sent twice."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.server.upload_helpers import FAST, SECRET, Stage, ended, program
from tests.server.wk_server import WkServer
from wkpipe.errors import ServerError
from wkpipe.server.upload.uploading import select_files

PROBABILITY = 0.3
MOST_SENT = 1.6
"""The bytes that may be sent, in multiples of the dataset's size."""

MOST_RUNS = 12

HASTY = replace(FAST, idle=0.5, finish=1.0)
"""The client gives up soon on servers that stall, so that many failures happen in little time."""

SEED = int(os.environ.get("WKPIPE_UPLOAD_SEED", random.randrange(10**6)))


@pytest.fixture(scope="module")
def dataset(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset with small files and a large one."""
    copy = Path(shutil.copytree(small_dataset, tmp_path_factory.mktemp("mixed") / "data"))
    (copy / "color/1/zz_big").write_bytes(random.Random(0).randbytes(700_000))
    return copy


def check_all(stage: Stage, names: list[str], sizes: int) -> None:
    """Check that every upload exists once, with the same bytes, was finished once, and that not much more was sent."""
    server = stage.server
    expected = {file.path: file.content or (stage.dataset / file.path).read_bytes() for file in select_files(stage.request()).files}
    usable = [row for row in server.datasets if row.properties is not None]
    assert sorted(row.name for row in usable) == sorted(names)
    assert sorted(row.name for row in server.datasets) == sorted(names)  # no row is left behind
    for row in usable:
        assert server.tree(row) == expected
    finished = [entry for entry in server.requests("finish") if entry.performed]
    assert len(finished) == len(names)
    # As if every attempt had sent all of its chunk, even those that failed before its end.
    sent = sum(int(entry.multipart["resumableCurrentChunkSize"]) for entry in server.requests("chunk") if entry.multipart)
    print(f"seed {SEED}: {len(server.faults.happened)} faults in {len(server.log)} requests, {sent / sizes:.2f} times the bytes")
    assert sizes <= sent <= MOST_SENT * sizes
    stage.check()


def test_uploads_under_random_faults(dataset: Path, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    names = [f"upload_{i}" for i in range(5)]
    with WkServer(tmp_path / "server", SECRET) as server:
        stage = Stage(dataset, server)
        server.random_faults(PROBABILITY, SEED)
        for name in names:
            for _ in range(MOST_RUNS):
                try:
                    stage.upload(policy=HASTY, name=name, chunk_bytes=70_000, state=tmp_path / "state")
                    break
                except ServerError as error:
                    print(f"{name}: {error}")
            else:
                pytest.fail(f"{name} does not complete")
        check_all(stage, names, 5 * stage.size())


@pytest.mark.slow
@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("tens", range(5))
def test_fifty_uploads_under_random_faults_and_kills(dataset: Path, tmp_path: Path, tens: int) -> None:
    print(f"seed {SEED}")
    choice = random.Random(SEED + tens)
    names = [f"upload_{tens}{i}" for i in range(10)]
    kills = 0
    with WkServer(tmp_path / "server", SECRET) as server:
        stage = Stage(dataset, server)
        server.random_faults(PROBABILITY, SEED + tens)
        for name in names:
            for _ in range(MOST_RUNS):
                process = program(
                    stage, "--dataset-name", name, "--chunk-size", "70000", "--state-dir", str(tmp_path / "state"), **vars(HASTY)
                )
                if choice.random() < PROBABILITY:
                    try:
                        process.wait(choice.uniform(0.5, 2.0))
                    except subprocess.TimeoutExpired:
                        process.kill()
                        kills += 1
                code, out, err = ended(process)
                assert code in (0, 5, -9), (code, out, err)
                if code == 0:
                    break
            else:
                pytest.fail(f"{name} does not complete: {err}")
        print(f"{kills} clients were killed")
        check_all(stage, names, 10 * stage.size())
