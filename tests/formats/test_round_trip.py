"""Written voxels are read back: formats × types × shapes × compression × axes, chunks in any order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.helpers import DTYPES, files_of, leftovers, new_array, noise, scratch_of, write_array
from wkpipe.errors import AlreadyExists, DamagedShard
from wkpipe.formats import create_array, open_array
from wkpipe.formats.base import Compression
from wkpipe.storage.digest import digest_of
from wkpipe.storage.proof import FILL

LAYOUTS = {
    "cxyz": (("c", "x", "y", "z"), (1, 37, 20, 11)),
    "rgb": (("c", "x", "y", "z"), (3, 17, 9, 18)),
    "txyz": (("t", "x", "y", "z"), (3, 17, 9, 18)),
    "tcxyz": (("t", "c", "x", "y", "z"), (2, 3, 17, 9, 18)),
    "xyz": (("x", "y", "z"), (17, 9, 18)),
}
KINDS = {
    "zarr3": ("zarr3", True),
    "zarr3-raw": ("zarr3", False),
    "zarr": ("zarr", True),
    "zarr-raw": ("zarr", False),
    "wkw": ("wkw", True),
    "wkw-lz4": ("wkw", Compression("lz4")),
    "wkw-raw": ("wkw", False),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_type_in_every_format(tmp_path: Path, kind: str, dtype: str) -> None:
    data_format, compression = KINDS[kind]
    data = noise((1, 37, 20, 11), dtype)
    array = new_array(tmp_path / "a", data_format, data.shape, dtype, compression=compression)
    proofs = write_array(array, data, scratch_of(array.path), seed=1)
    for opened in (array, open_array(array.path, data_format)):
        np.testing.assert_array_equal(opened.read((0,) * 4, data.shape), data)
        stored = set(opened.stored_units())
        assert stored == {unit for unit, proof in proofs.items() if not proof.is_fill}
        for unit, proof in proofs.items():
            assert opened.prove_unit(unit) == (None if proof.is_fill else proof)
            opened.check_unit(unit)
    assert leftovers(array.path) == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["zarr3", "zarr3-raw", "zarr", "zarr-raw"])
@pytest.mark.parametrize("shard", [8, 16])
def test_every_axis_order(tmp_path: Path, layout: str, kind: str, shard: int) -> None:
    axes, shape = LAYOUTS[layout]
    data_format, compression = KINDS[kind]
    data = noise(shape, "uint16", 3)
    array = new_array(tmp_path / "a", data_format, shape, "uint16", axes, shard=shard, compression=compression)
    write_array(array, data, scratch_of(array.path), seed=2)
    opened = open_array(array.path, data_format, axes)
    assert opened.spec == array.spec
    np.testing.assert_array_equal(opened.read((0,) * len(axes), shape), data)


@st.composite
def arrays_and_regions(draw: st.DrawFn) -> tuple[str, tuple[int, ...], str, tuple[int, ...], tuple[int, ...], int, int, int]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    shape = (draw(st.integers(1, 3)), *(draw(st.integers(1, 40)) for _ in range(3)))
    start = (draw(st.integers(0, shape[0])), *(draw(st.integers(0, 45)) for _ in range(3)))
    size = (draw(st.integers(0, 4)), *(draw(st.integers(0, 40)) for _ in range(3)))
    chunk = draw(st.sampled_from([4, 8]))
    return (
        kind,
        shape,
        draw(st.sampled_from(DTYPES)),
        start,
        size,
        chunk,
        chunk * draw(st.sampled_from([1, 2, 4])),
        draw(st.integers(0, 99)),
    )


@settings(max_examples=25)
@given(arrays_and_regions())
def test_any_region_of_any_array(
    temporary: Path, case: tuple[str, tuple[int, ...], str, tuple[int, ...], tuple[int, ...], int, int, int]
) -> None:
    kind, shape, dtype, start, size, chunk, shard, seed = case
    data_format, compression = KINDS[kind]
    data = noise(shape, dtype, seed)
    with tempfile.TemporaryDirectory(dir=temporary) as directory:
        array = new_array(Path(directory) / "a", data_format, shape, dtype, chunk=chunk, shard=shard, compression=compression)
        write_array(array, data, scratch_of(array.path), seed)
        expected = np.zeros(size, dtype)
        cut = data[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]
        expected[tuple(map(slice, cut.shape))] = cut
        got = array.read(start, size)
        np.testing.assert_array_equal(got, expected)
        assert got.flags.f_contiguous
        if array.is_fill(start, size):
            assert not got.any()


def test_chunks_in_many_forms(tmp_path: Path) -> None:
    data = noise((1, 64, 64, 4), "uint8", 5)
    array = new_array(tmp_path / "a", "zarr3", data.shape, chunk=(32, 32, 1), shard=(64, 64, 4))
    write_array(array, data, scratch_of(array.path), seed=5)
    np.testing.assert_array_equal(array.read((0,) * 4, data.shape), data)
    np.testing.assert_array_equal(array.read((0, 31, 33, 1), (1, 2, 3, 2)), data[:, 31:33, 33:36, 1:3])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_chunks_give_the_same_bytes(tmp_path: Path, kind: str) -> None:
    data_format, compression = KINDS[kind]
    data = noise((2, 30, 20, 17), "uint32", 7)
    stored = []
    for number, seed in enumerate([None, None, 4, 5]):
        array = new_array(tmp_path / str(number) / "a", data_format, data.shape, "uint32", compression=compression)
        write_array(array, data, scratch_of(array.path), seed)
        stored.append(files_of(array.path))
    assert stored[0] == stored[1]
    if data_format != "zarr3":  # there, chunks are in the shard in the order in which they came
        assert stored[0] == stored[2] == stored[3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_of_zeros_has_no_file_and_removes_an_earlier_one(tmp_path: Path, kind: str) -> None:
    data_format, compression = KINDS[kind]
    array = new_array(tmp_path / "a", data_format, (1, 16, 16, 16), compression=compression)
    scratch = scratch_of(array.path)
    zeros = np.zeros((1, 16, 16, 16), np.uint8, order="F")
    assert write_array(array, zeros, scratch) == {(0, 0, 0, 0): FILL}
    assert array.unit_files((0, 0, 0, 0)) == []
    assert array.unit_facts((0, 0, 0, 0)) is None
    assert array.prove_unit((0, 0, 0, 0)) is None
    assert array.is_fill((0,) * 4, zeros.shape)
    assert list(array.stored_units()) == []

    data = noise(zeros.shape, "uint8", holes=False)
    write_array(array, data, scratch)
    assert not array.is_fill((0,) * 4, zeros.shape)
    np.testing.assert_array_equal(array.read((0,) * 4, data.shape), data)
    assert write_array(array, zeros, scratch) == {(0, 0, 0, 0): FILL}
    assert list(array.stored_units()) == []
    assert not array.read((0,) * 4, data.shape).any()
    assert leftovers(array.path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_rewriting_a_unit_replaces_it_wholly(tmp_path: Path, kind: str) -> None:
    data_format, compression = KINDS[kind]
    array = new_array(tmp_path / "a", data_format, (1, 16, 16, 16), compression=compression)
    scratch = scratch_of(array.path)
    write_array(array, noise((1, 16, 16, 16), "uint8", 1, holes=False), scratch)
    assert array.read((0,) * 4, (1, 16, 16, 16)).any()
    second = np.zeros((1, 16, 16, 16), np.uint8, order="F")
    second[0, 9, 2, 3] = 200
    (proof,) = write_array(array, second, scratch).values()
    np.testing.assert_array_equal(array.read((0,) * 4, second.shape), second)
    assert proof == array.prove_unit((0, 0, 0, 0))
    assert proof.files == 1
    facts = array.unit_facts((0, 0, 0, 0))
    assert facts is not None
    assert proof.matches(facts)
    assert leftovers(array.path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_discarding_leaves_nothing(tmp_path: Path, kind: str) -> None:
    data_format, compression = KINDS[kind]
    array = new_array(tmp_path / "a", data_format, (1, 16, 16, 16), compression=compression)
    before = files_of(array.path)
    chunk = noise((1, 8, 8, 8), "uint8", holes=False)
    with array.unit_writer((0, 0, 0, 0), scratch_of(array.path)) as writer:
        for position in [(0, 1, 1, 1), (0, 0, 0, 0)]:
            writer.append(position, writer.encode(chunk))
    writer.discard()

    def interrupted() -> None:
        with array.unit_writer((0, 0, 0, 0), scratch_of(array.path)) as writer:
            writer.append((0, 1, 0, 0), writer.encode(chunk))
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert leftovers(array.path) == []
    assert files_of(array.path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_use_is_refused(tmp_path: Path, kind: str) -> None:
    data_format, compression = KINDS[kind]
    array = new_array(tmp_path / "a", data_format, (1, 16, 16, 16), compression=compression)
    chunk = noise((1, 8, 8, 8), "uint8", holes=False)
    with array.unit_writer((0, 0, 0, 0), scratch_of(array.path)) as writer:
        encoded = writer.encode(chunk)
        writer.append((0, 0, 1, 0), encoded)
        for position in [(0, 0, 1, 0), (0, 128, 0, 0), (0, -1, 0, 0), (0, 0, 0)]:
            with pytest.raises(ValueError, match="chunk"):
                writer.append(position, encoded)
        with pytest.raises(ValueError, match="a chunk is"):
            writer.encode(chunk[:, :4])
        with pytest.raises(ValueError, match="a chunk is"):
            writer.encode(chunk.astype(np.uint16))
    for unit in [(0, 0, -1, 0), (0, 0, 0), (1, 0, 0, 0)]:
        with pytest.raises(ValueError, match="no unit"):
            array.unit_writer(unit, scratch_of(array.path))
    for start, shape in [((0, -1, 0, 0), (1, 1, 1, 1)), ((0, 0, 0, 0), (1, 1, -1, 1)), ((0, 0), (1, 1))]:
        with pytest.raises(ValueError, match="region"):
            array.read(start, shape)
        with pytest.raises(ValueError, match="region"):
            array.is_fill(start, shape)


def test_float_special_values(tmp_path: Path) -> None:
    data = np.zeros((1, 16, 16, 16), np.float32, order="F")
    data[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    data[0, 8:] = -0.0
    array = new_array(tmp_path / "a", "zarr3", data.shape, "float32")
    write_array(array, data, scratch_of(array.path))
    np.testing.assert_array_equal(array.read((0,) * 4, data.shape), data)
    assert array.is_fill((0, 8, 0, 0), (1, 8, 16, 16))


@pytest.mark.parametrize("kind", KINDS)
def test_read_encoded_gives_what_encode_made(tmp_path: Path, kind: str) -> None:
    data_format, compression = KINDS[kind]
    array = new_array(tmp_path / "a", data_format, (1, 32, 16, 16), compression=compression)
    chunk = noise((1, 8, 8, 8), "uint8", holes=False)
    with array.unit_writer((0, 0, 0, 0), scratch_of(array.path)) as writer:
        encoded = writer.encode(chunk)
        writer.append((0, 1, 0, 1), encoded)
        writer.commit()
    assert array.read_encoded((0, 1, 0, 1)) == encoded
    if data_format != "wkw":
        assert array.read_encoded((0, 0, 0, 1)) is None
    assert array.read_encoded((0, 2, 0, 0)) is None or data_format == "zarr"


@pytest.mark.parametrize("kind", KINDS)
def test_stored_chunks_are_those_that_were_encoded(tmp_path: Path, kind: str) -> None:
    data_format, compression = KINDS[kind]
    array = new_array(tmp_path / "a", data_format, (1, 48, 16, 16), compression=compression)
    kept = np.array([(0, 1, 0, 1), (0, 0, 0, 0), (0, 1, 1, 1), (0, 0, 1, 0)])
    assert not array.stored_chunks((0, 0, 0, 0), kept).data
    written: dict[tuple[int, ...], bytes | None] = {}
    with array.unit_writer((0, 0, 0, 0), scratch_of(array.path)) as writer:
        for i, position in enumerate([(0, 0, 0, 0), (0, 1, 0, 1), (0, 0, 1, 0)]):
            written[position] = writer.encode(noise((1, 8, 8, 8), "uint8", seed=i, holes=False))
            writer.append(position, written[position])
        writer.commit()
    found = array.stored_chunks((0, 0, 0, 0), kept)
    for position, data, digest in found.each():
        assert data == written.get(position, array.read_encoded(position))
        assert (digest is None) == (data is None)
        assert data is None or digest == digest_of(data)


def test_a_stored_chunk_without_bytes_is_damage(tmp_path: Path) -> None:
    array = new_array(tmp_path / "a", "zarr3", (1, 32, 16, 16))
    with array.unit_writer((0, 0, 0, 0), scratch_of(array.path)) as writer:
        writer.append((0, 1, 0, 1), b"")
        writer.commit()
    with pytest.raises(DamagedShard, match=r"chunk \(0, 1, 0, 1\).*no bytes"):
        array.stored_chunks((0, 0, 0, 0), np.array([(0, 0, 0, 0), (0, 1, 0, 1)]))


@pytest.mark.parametrize("kind", KINDS)
def test_resize(tmp_path: Path, kind: str) -> None:
    data_format, compression = KINDS[kind]
    array = new_array(tmp_path / "a", data_format, (1, 16, 16, 16), compression=compression)
    data = noise((1, 16, 16, 16), "uint8", holes=False)
    scratch = scratch_of(array.path)
    write_array(array, data, scratch)
    array.resize((1, 64, 16, 16), scratch)
    assert array.spec.shape == (1, 64, 16, 16)
    with array.unit_writer(tuple(n - 1 for n in array.spec.unit_grid), scratch) as writer:
        writer.commit()
    reopened = open_array(array.path, data_format, shape=array.spec.shape)
    assert reopened.spec == array.spec
    kept = data if reopened.spec.is_sharded else np.zeros_like(data)  # a block of chunk files is one unit, which was just rewritten
    np.testing.assert_array_equal(reopened.read((0,) * 4, data.shape), kept)
    assert leftovers(array.path) == []


def test_create_twice(tmp_path: Path) -> None:
    first = new_array(tmp_path / "a", "zarr3", (1, 16, 16, 16))
    again = create_array(tmp_path / "a", first.spec, scratch_of(first.path))
    assert again.spec == first.spec
    for data_format, shape in [("zarr3", (1, 32, 16, 16)), ("zarr", (1, 16, 16, 16)), ("wkw", (1, 16, 16, 16))]:
        with pytest.raises(AlreadyExists):
            new_array(tmp_path / "a", data_format, shape)
    assert set(files_of(tmp_path / "a")) == {"zarr.json"}


def test_wkw_shape_comes_from_the_files_or_the_caller(tmp_path: Path) -> None:
    data = noise((2, 40, 16, 20), "uint8", holes=False)
    array = new_array(tmp_path / "a", "wkw", data.shape)
    write_array(array, data, scratch_of(array.path))
    assert open_array(array.path, "wkw").spec.shape == (2, 48, 16, 32)
    assert open_array(array.path, "wkw", shape=(2, 40, 16, 20)).spec.shape == (2, 40, 16, 20)


def test_a_replaced_shard_is_read_anew(tmp_path: Path) -> None:
    for kind in ("zarr3", "wkw", "wkw-raw"):
        data_format, compression = KINDS[kind]
        array = new_array(tmp_path / kind, data_format, (1, 16, 16, 16), compression=compression)
        for seed in range(4):
            data = noise((1, 16, 16, 16), "uint8", seed, holes=False)
            write_array(array, data, scratch_of(array.path))
            np.testing.assert_array_equal(array.read((0,) * 4, data.shape), data)


@pytest.mark.parametrize("data_format", ["zarr", "zarr3"])
def test_blocks_of_chunk_files(tmp_path: Path, data_format: str) -> None:
    """More than one unit: chunks of 128 × 128 × 1 give units of 1024³, so 2048 voxels in x are two units."""
    array = new_array(tmp_path / "a", data_format, (1, 2048, 128, 2), chunk=(128, 128, 1), shard=(128, 128, 1))
    assert array.spec.unit_grid == (1, 2, 1, 1)
    scratch = scratch_of(array.path)
    chunk = noise((1, 128, 128, 1), "uint8", holes=False)
    proofs = []
    for unit, positions in [((0, 0, 0, 0), [(0, 7, 0, 1), (0, 0, 0, 0)]), ((0, 1, 0, 0), [(0, 3, 0, 0)])]:
        with array.unit_writer(unit, scratch) as writer:
            for position in positions:
                writer.append(position, writer.encode(chunk))
            proofs.append(writer.commit())
    assert [proof.files for proof in proofs] == [2, 1]
    assert [array.prove_unit(unit) for unit in array.stored_units()] == proofs
    prefix = "c/" if data_format == "zarr3" else ""
    assert [p.relative_to(array.path).as_posix() for p in array.unit_files((0, 0, 0, 0))] == [f"{prefix}0/0/0/0", f"{prefix}0/7/0/1"]
    np.testing.assert_array_equal(array.read((0, 1024 + 384, 0, 0), (1, 128, 128, 1)), chunk)


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_whose_chunks_forked_processes_leave_empty_has_no_file(tmp_path: Path, kind: str) -> None:
    data_format, compression = KINDS[kind]
    array = new_array(tmp_path / "a", data_format, (1, 16, 16, 16), compression=compression)
    before = files_of(array.path)
    with array.unit_writer((0, 0, 0, 0), scratch_of(array.path)) as writer:
        writer.begin_stowing()
        assert writer.commit().files == 0
    assert files_of(array.path) == before
    assert leftovers(array.path) == []
