"""Measure the speed of uploads over the loopback interface, compared with the reference client.

    WKPIPE_REFERENCE_PYTHON=…/bin/python python bench/upload.py [ROUNDS]

Both clients upload the same files to the tests' server, in turns. The server runs in its own process and keeps only small
chunks, so that its disk has no influence. Wall time is that of the whole command. Throughput counts from the first chunk to the
request to finish, as the server sees them: without start-up. Without the reference, only wkpipe is measured.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from bench.contenders import REFERENCE_VARIABLE
from tests.server.wk_server.process import ServerProcess
from wkpipe import BoundingBox, Dataset

ROUNDS = 3
WORKLOADS = {"2 GB in 16 files": (16, 128 << 20), "2000 files of 20 kB": (2000, 20_000)}
"""The number of files and their size."""


@dataclass(frozen=True)
class Run:
    """One upload: seconds of the command, seconds from the first chunk to finish, bytes."""

    wall: float
    transfer: float
    size: int

    @property
    def rate(self) -> float:
        """MB/s while chunks are sent."""
        return self.size / self.transfer / 1e6


def make_dataset(directory: Path, files: int, size: int) -> Path:
    """Make a small dataset with `files` more files below its mag; both clients send these."""
    dataset = Dataset(directory, voxel_size=(10, 10, 10), name="bench_upload")
    layer = dataset.add_layer("color", "color", dtype="uint8", data_format="zarr3", bounding_box=BoundingBox((0, 0, 0), (64, 64, 64)))
    layer.add_mag(1, chunk_shape=(32, 32, 32), shard_shape=(64, 64, 64)).write(np.ones((64, 64, 64), np.uint8))
    noise = random.Random(0).randbytes(1 << 20)
    for i in range(files):
        path = directory / "color/1/more" / str(i // 500) / str(i % 500)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for at in range(0, size, len(noise)):
                file.write(noise[: size - at])
    shutil.rmtree(directory / ".wkpipe")  # the reference would upload it
    return directory


def clients(dataset: Path, state: Path, reference: str | None) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands."""
    yield "ours", [sys.executable, "-m", "wkpipe", "upload", str(dataset), "--state-dir", str(state), "--quiet"]
    if reference is not None:
        yield "reference", [str(Path(reference).parent / "webknossos"), "upload", str(dataset)]


def run(command: list[str], directory: Path) -> Run:
    """Upload once, to a fresh server."""
    with ServerProcess(directory / "server", keep="small") as server:
        environment = {**os.environ, "WK_URL": server.url, "WK_TOKEN": server.token}
        environment.pop("PYTHONPATH", None)
        start = time.monotonic()
        result = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, check=False)
        wall = time.monotonic() - start
        if result.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout}\n{result.stderr}")
        requests = server.ask("report")["requests"]
        size = server.ask("chunk_bytes")
    shutil.rmtree(directory / "server")
    begin = next(request["seconds"] for request in requests if request["route"] == "chunk")
    end = next(request["seconds"] for request in requests if request["route"] == "finish")
    return Run(wall, end - begin, size)


def main(rounds: int) -> None:
    reference = os.environ.get(REFERENCE_VARIABLE)
    for name, (files, size) in WORKLOADS.items():
        with tempfile.TemporaryDirectory(prefix="bench_upload_") as temporary:
            directory = Path(temporary)
            dataset = make_dataset(directory / "dataset", files, size)
            runs: dict[str, list[Run]] = {}
            for _ in range(rounds):
                for client, command in clients(dataset, directory / "state", reference):
                    runs.setdefault(client, []).append(run(command, directory))
            rates = {client: statistics.median(each.rate for each in found) for client, found in runs.items()}
            for client, found in runs.items():
                walls = statistics.median(each.wall for each in found)
                print(f"{name}: {client:9} {rates[client]:8.1f} MB/s while sending, {walls:6.2f} s in all (medians of {rounds})")
            if "reference" in rates:
                walls = {client: statistics.median(each.wall for each in found) for client, found in runs.items()}
                ratio, whole = rates["ours"] / rates["reference"], walls["reference"] / walls["ours"]
                print(f"{name}: wkpipe sends {ratio:.2f} times as fast, the whole command is {whole:.2f} times as fast")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
