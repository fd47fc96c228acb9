"""The workers of the benchmark do their work, and measure it right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import limit, stopwatch
from bench.contenders import COMPILER
from bench.peer_steps import peer_steps
from bench.tiling import link_dataset, repeat_dataset
from bench.volumes import Volumes
from wkpipe import Dataset
from wkpipe.formats import open_array
from wkpipe.formats.base import Compression
from wkpipe.formats.codecs import Lz4, Zstd

SHAPE = (64, 64, 32)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    return Volumes(tmp_path_factory.mktemp("volumes"), SHAPE, Path("/nowhere"))


def test_repeated_layer_shows_the_other_one_again_and_again(volumes: Volumes, tmp_path: Path) -> None:
    once = volumes.dataset("seg", "zarr3", level=3)
    repeat_dataset(once, tmp_path / "often", (2, 1, 3))
    expected = np.tile(Dataset.open(once).layers["seg"].get_mag("1").read(), (1, 2, 1, 3))
    layer = Dataset.open(tmp_path / "often").layers["seg"]
    assert tuple(layer.bounding_box.size) == (128, 64, 96)
    assert (layer.get_mag("1").read() == expected).all()
    assert open_array(tmp_path / "often" / "seg" / "1", "zarr3").spec.compression.level == 3
    assert not (tmp_path / "often" / ".tmp").exists()


def test_linked_dataset_shares_its_data_and_not_its_metadata(volumes: Volumes, tmp_path: Path) -> None:
    parts = [volumes.dataset("color", "zarr3"), volumes.dataset("seg", "zarr3")]
    link_dataset(parts, tmp_path / "both")
    assert list(Dataset.open(tmp_path / "both").layers) == ["color", "seg"]
    for name, part in zip(("color", "seg"), parts, strict=True):
        shard = Path(name) / "1" / "c" / "0" / "0" / "0" / "0"
        assert (tmp_path / "both" / shard).samefile(part / shard)
        assert not (tmp_path / "both" / name / "1" / "zarr.json").samefile(part / name / "1" / "zarr.json")


def test_peer_makes_the_same_mags_but_for_ties(volumes: Volumes, root: Path, tmp_path: Path) -> None:
    ours, peer = tmp_path / "ours", tmp_path / "peer"
    for target in (ours, peer):
        link_dataset([volumes.dataset("seg", "zarr3")], target)
    (tmp_path / "steps.json").write_text(json.dumps(peer_steps(peer, "anisotropic")), encoding="utf-8")
    worker = root / "bench" / "downsample_tensorstore.py"
    subprocess.run([sys.executable, str(worker), str(tmp_path / "steps.json"), str(tmp_path / "result.json")], check=True)
    assert json.loads((tmp_path / "result.json").read_bytes())["wall_s"] > 0
    Dataset.open(ours).layers["seg"].downsample()
    shutil.copyfile(ours / "datasource-properties.json", peer / "datasource-properties.json")
    source, found, expected = (
        Dataset.open(path).layers["seg"].get_mag(mag).read()[0] for path, mag in ((ours, "1"), (peer, "2-2-1"), (ours, "2-2-1"))
    )
    blocks = source.reshape(32, 2, 32, 2, 32).transpose(0, 2, 4, 1, 3).reshape(32, 32, 32, 4)
    votes = [(blocks == mag[..., None]).sum(axis=-1) for mag in (found, expected)]
    assert (votes[0] == votes[1]).all()
    assert (found == expected).mean() > 0.9


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="there is no C compiler")
@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_limit_decodes_and_encodes_what_is_stored(volumes: Volumes, data_format: str, tmp_path: Path) -> None:
    compression = Compression("zstd", 5, "labels-fine") if data_format == "zarr3" else None
    array = open_array(volumes.dataset("seg", data_format) / "seg" / "1", data_format, compression=compression)
    (batch,) = limit._batches(array, ((0, 0, 0), SHAPE))
    assert len(batch) == 4  # most of the 32768 positions in a WKW file are zeros
    with (tmp_path / "chunks").open("w+b") as file:
        loop = limit.Loop(tmp_path, file)
        loop.run(array, batch, encodes=False)
        assert (loop.cpu["decode"] > 0, loop.cpu["encode"], loop.cpu["write"]) == (True, 0, 0)
        loop.run(array, batch, encodes=True)
        assert min(loop.cpu.values()) > 0
        assert min(loop.wall.values()) > 0
        codec = Zstd(3, checksum=True) if data_format == "zarr3" else Lz4(high=False)
        others = [codec.encode(array.read((0, 32 * i, 0, 0), array.spec.chunk_shape).tobytes(order="F")) for i in range(2)]
        with pytest.raises(SystemExit, match="of 2 chunks are stored with other parameters"):
            loop.run(array, others, encodes=True)


def test_cpu_is_that_of_live_children_too() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    before = stopwatch.cpu_seconds()
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    assert stopwatch.cpu_seconds() - before > 0.3
    child.communicate(b"\n")
    assert child.returncode == 0
