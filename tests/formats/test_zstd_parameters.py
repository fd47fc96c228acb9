"""Sets of parameters: each name always stands for the same frames, whatever CPU and thread makes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from wkpipe.errors import InputRefused, NotWritable
from wkpipe.formats import make_spec, validate_spec, zstd_parameters
from wkpipe.formats.base import Compression, DataFormat
from wkpipe.formats.codecs import Lz4, Zstd, encoding_as
from wkpipe.formats.zstd_parameters import GOLDEN, LEVEL_5, SETS, check_frames, golden_of, made_up_chunk, set_for, set_parameters

FRAMES = {
    8192: dict.fromkeys(SETS, "3fef18d4db96fedf"),
    32768: GOLDEN,
    65536: dict(zip(SETS, ("54c3d4f19b3abda0", "d889548485539df4", "106304b166943b49", "5bb1cfe68495fb26"), strict=True)),
    131072: dict(zip(SETS, ("2956167224df0bca", "8c45a210b4df0c69", "42bb27cdb4e24187", "95ce2804c80f31ea"), strict=True)),
    262144: dict(zip(SETS, ("ec58fa9c887814c3", "ad20e62d6db574ff", "ec58fa9c887814c3", "ad20e62d6db574ff"), strict=True)),
    1048576: dict(zip(SETS, ("b1e8b6d6a592e588", "16d6a3dfa3502b37", "b1e8b6d6a592e588", "760c3d8e31e29380"), strict=True)),
}
"""The hashes of frames of the made-up chunk, by its bytes: if they change, a set needs another name."""


@pytest.mark.parametrize("size", FRAMES)
def test_frames_are_the_recorded_ones(size: int) -> None:
    for _ in range(2):  # contexts that have encoded other chunks give the same frames
        assert {name: golden_of(name, size) for name in SETS} == dict(FRAMES[size])


def test_every_parameter_that_decides_bytes_is_named() -> None:
    search = set(range(100, 108)) | {1011}
    rest = {130, 160, 200, 201, 202, 400, 1002, 1010, 1015, 1017}
    for name in SETS:
        for size in FRAMES:
            parameters = set_parameters(name, True, size)
            assert {number for number, _ in parameters} == search | rest
            assert dict(parameters)[1011] in (1, 2), "left to the library, it depends on the CPU"


def test_one_set_is_level_5_as_it_is() -> None:
    noise = np.random.default_rng(3).integers(0, 30, 1 << 19, np.uint8)
    for size in (512, 16384, 16385, 32768, 100_000, 131072, 131073, 262144, 300_000, 1 << 19):
        for chunk in (made_up_chunk(size), noise[:size]):
            for checksum in (True, False):
                assert Zstd(5, checksum, LEVEL_5).encode(chunk) == Zstd(5, checksum).encode(chunk)


@pytest.mark.parametrize("name", SETS)
def test_frames_of_a_set_are_decoded(name: str) -> None:
    chunk = made_up_chunk(65536)
    for checksum in (True, False):
        assert Zstd(5, checksum).decode(Zstd(5, checksum, name).encode(chunk), len(chunk)) == chunk.tobytes()


@pytest.fixture
def fresh_checks() -> Iterator[None]:
    check_frames.cache_clear()
    yield
    check_frames.cache_clear()


@pytest.mark.usefixtures("fresh_checks")
def test_other_frames_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(zstd_parameters.GOLDEN, "labels-fine", "0" * 16)
    Zstd(5, True, "labels-coarse").check_writable()
    with pytest.raises(NotWritable, match=r"labels-fine of libzstd 1\.5\.7: .* found a9d5c5ba444665ea, expected 0{16}; pip install"):
        Zstd(5, True, "labels-fine").check_writable()


def test_the_set_follows_from_category_and_mag() -> None:
    assert [set_for(False, voxels) for voxels in (1, 2, 4, 8)] == ["images-fine"] + ["images-coarse"] * 3
    assert [set_for(True, voxels) for voxels in (1, 2, 4, 8, 64)] == ["labels-fine"] * 3 + ["labels-coarse"] * 2


def test_a_set_counts_only_for_its_level() -> None:
    plain, fine = Zstd(5, True), Compression("zstd", 5, "labels-fine")
    assert encoding_as(plain, fine).encoder == "zstd-5 labels-fine libzstd 1.5.7"
    assert encoding_as(plain, Compression("zstd", 5)).encoder == "zstd-5 libzstd 1.5.7"
    for codec, wanted in (
        (plain, Compression("zstd", 3, "labels-fine")),
        (plain, None),
        (Lz4(True), fine),
    ):
        assert encoding_as(codec, wanted) is codec


@pytest.mark.parametrize("compression", [Compression("zstd", 5, "labels-9"), Compression("zstd", 3, "labels-fine")])
def test_unknown_sets_are_refused(compression: Compression) -> None:
    with pytest.raises(InputRefused, match=r"parameters of zstd: .*one of images-fine"):
        validate_spec(make_spec(DataFormat.ZARR3, "cxyz", (1, 40, 40, 40), "uint8", 1, (8,) * 3, (16,) * 3, compression))
