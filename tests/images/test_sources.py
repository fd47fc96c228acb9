"""Sources: archives, globs and links have the voxels of the plain files; what is wrong with an archive is named."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.images.reading import read_rows
from wkpipe import Dataset
from wkpipe.errors import InputRefused, NotWritable, UnreadableInput
from wkpipe.images import ImageStack, Inspection, SourceOptions, inspect_source

RNG = np.random.default_rng(5)
PLANES = RNG.integers(0, 255, (6, 40, 50), dtype=np.uint8)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Return a folder of slices of several encodings, with a hidden file and one that is no image."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for z, plane in enumerate(PLANES):
        options: dict[str, object] = [{}, {"compression": "zlib", "rowsperstrip": 8}, {"compression": "lzw"}][z % 3]
        tifffile.imwrite(folder / f"s{z + 8}.tif", plane, photometric="minisblack", **options)  # type: ignore[arg-type]
    (folder / "._s8.tif").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    return folder


def zipped(folder: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", method) as file:
        for path in sorted(folder.rglob("*"), reverse=True):
            file.write(path, path.relative_to(folder.parent))
        file.writestr("__MACOSX/scans/._s8.tif", b"x")
    return target


def tarred(folder: Path) -> Path:
    target = folder.with_suffix(".tar")
    with tarfile.open(target, "w") as file:
        file.add(folder, "scans")
    return target


def look(source: Path, **options: object) -> Inspection:
    return inspect_source(source, category="color", options=SourceOptions(**options))  # type: ignore[arg-type]


def voxels(stack: ImageStack) -> np.ndarray:
    again = ImageStack.from_json(stack.to_json())
    return read_rows(again, 0, 0, again.sizes.z, 0, again.sizes.y)[..., 0]


# -- archives -------------------------------------------------------------------------------------------------------

ARCHIVES: list[tuple[Callable[[Path], Path], int]] = [
    (zipped, 9),
    (lambda folder: zipped(folder, zipfile.ZIP_STORED), 9),
    (tarred, 8),
]


@pytest.mark.parametrize("packed, count", ARCHIVES)
def test_archives_have_the_voxels_of_their_members(tmp_path: Path, scans: Path, packed: Callable[[Path], Path], count: int) -> None:
    archive = packed(scans)
    shutil.rmtree(scans)
    found = look(archive)
    assert found[0].name == "scans"
    np.testing.assert_array_equal(voxels(found[0]), PLANES)
    account = found.accounts[0]
    assert (account.text.split(",")[0], account.text.split(":")[0]) == (f"{archive.name}: {count} members", archive.name)
    assert "1 not an image (scans/notes.txt)" in account.text
    dataset = Dataset.from_images(archive, tmp_path / "d", (1, 1, 1), layer_category="color", downsample=False)
    np.testing.assert_array_equal(dataset.get_layer("scans").get_mag(1).read()[0].transpose(2, 1, 0), PLANES)


def test_threads_read_members(scans: Path) -> None:
    (stack,) = look(zipped(scans))
    gate = threading.Barrier(6)

    def read(z: int) -> np.ndarray:
        gate.wait()
        return read_rows(stack, 0, z, z + 1, 3, 30)[0, ..., 0]

    with ThreadPoolExecutor(6) as pool:
        for z, plane in enumerate(pool.map(read, range(6))):
            np.testing.assert_array_equal(plane, PLANES[z, 3:30])


def test_memory_of_members_is_planned(scans: Path) -> None:
    (plain,) = look(scans)
    (packed,) = look(zipped(scans))
    assert packed.files[0].scratch_bytes == plain.files[0].scratch_bytes + plain.files[0].size


def test_members_that_stay_the_same_have_the_same_identity(scans: Path) -> None:
    archive = zipped(scans)
    (before,) = look(archive)
    tifffile.imwrite(scans / "s10.tif", PLANES[2] + 1, photometric="minisblack")
    zipped(scans)
    (after,) = look(archive)
    assert [a.mtime_ns == b.mtime_ns for a, b in zip(before.files, after.files, strict=True)] == [True, True, False, True, True, True]
    with pytest.raises(UnreadableInput, match=r"scans\.zip/scans/s10\.tif: changed while it was converted"):
        voxels(before)


@pytest.mark.parametrize("name", ["../s1.tif", "/etc/s1.tif", "a/../../s1.tif"])
def test_members_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, b"x")
    with pytest.raises(InputRefused, match=r"x\.zip: a member's name leads out of the archive, found '.*s1\.tif'; make the archive again"):
        look(archive)


def test_links_in_a_tar_are_not_followed(tmp_path: Path, scans: Path) -> None:
    (scans / "s14.tif").symlink_to("/etc/passwd")
    with pytest.raises(UnreadableInput, match=r"scans\.tar/scans/s14\.tif: .* a link.*, expected a stored or deflated file; unpack"):
        look(tarred(scans))


@pytest.mark.parametrize("cut", [0, 10, 1000, -1, -30])
@pytest.mark.parametrize("packed", [zipped, tarred])
def test_damaged_archives_are_named(scans: Path, packed: Callable[[Path], Path], cut: int) -> None:
    archive = packed(scans)
    content = archive.read_bytes()
    archive.write_bytes(content[:cut])
    is_whole = packed is tarred and cut in (-1, -30)  # it is without a part of the empty block at its end
    if is_whole:
        np.testing.assert_array_equal(voxels(look(archive)[0]), PLANES)
        return
    with pytest.raises(UnreadableInput, match=re.escape(archive.name)) as refused:
        look(archive)
    assert "\n" not in str(refused.value)


def test_flipped_bytes_in_a_zip_are_found(scans: Path) -> None:
    """The checksum of a member finds what the format itself may not."""
    archive = zipped(scans, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    place = content.find(PLANES[0, 20].tobytes())
    content[place] ^= 1
    archive.write_bytes(content)
    with pytest.raises(
        UnreadableInput, match=r"scans\.zip/scans/s8\.tif: its data are damaged, expected \d+ bytes with the right checksum"
    ):
        look(archive)


def test_encrypted_members_are_refused(scans: Path) -> None:
    archive = zipped(scans)
    content = archive.read_bytes().replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
    archive.write_bytes(content)
    with pytest.raises(UnreadableInput, match="is encrypted, a link, or compressed by a method"):
        look(archive)


@pytest.mark.parametrize("ending", [".tar.zst", ".7z", ".rar"])
def test_other_archives_are_refused(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"x{ending}").write_bytes(b"x")
    with pytest.raises(
        InputRefused, match=r"archives of this kind cannot be read, expected a zip, tar, tar\.gz, tar\.bz2 or tar\.xz; unpack it"
    ):
        look(tmp_path / f"x{ending}")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_compressed_tars_are_decompressed_once(tmp_path: Path, scans: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive, spool = tmp_path / f"scans.tar.{kind}", Path("spool")
    with tarfile.open(archive, f"w:{kind}") as file:  # type: ignore[call-overload]
        file.add(scans, "scans")
    shutil.rmtree(scans)
    found = look(archive, spool=spool)
    assert found[0].files[0].path.is_absolute()  # jobs have other working directories
    np.testing.assert_array_equal(voxels(found[0]), PLANES)
    assert found.accounts[0].text.startswith(f"scans.tar.{kind}: 8 members, 6 used, 2 left out")
    (made,) = (path for path in spool.rglob("*") if path.is_file())
    before = made.stat()
    again = look(archive, spool=spool)
    assert (made.stat().st_ino, made.stat().st_mtime_ns) == (before.st_ino, archive.stat().st_mtime_ns)
    made.unlink()
    assert look(archive, spool=spool)[0] == again[0]  # whatever becomes of the spool, it is the same source
    dataset = Dataset.from_images(archive, tmp_path / "d", (1, 1, 1), layer_category="color", downsample=False, spool_dir=spool)
    np.testing.assert_array_equal(dataset.get_layer("scans").get_mag(1).read()[0].transpose(2, 1, 0), PLANES)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_damaged_compressed_tars_are_named(tmp_path: Path, scans: Path, kind: str) -> None:
    archive, spool = tmp_path / f"scans.tar.{kind}", tmp_path / "spool"
    with tarfile.open(archive, f"w:{kind}") as file:  # type: ignore[call-overload]
        file.add(scans, "scans")
    content = archive.read_bytes()
    for damaged in (b"", content[:100], content[:-20], content[:500] + bytes(50) + content[550:]):
        archive.write_bytes(damaged)
        with pytest.raises(UnreadableInput, match=rf"scans\.tar(\.{kind})?: .*(damaged|no image|cannot be read)"):
            look(archive, spool=spool)
        assert not list(spool.rglob("*.tmp"))


def test_a_spool_that_cannot_be_written(tmp_path: Path, scans: Path) -> None:
    with tarfile.open(tmp_path / "scans.tgz", "w:gz") as file:
        file.add(scans, "scans")
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(
        NotWritable, match=r"the archive cannot be decompressed into the spool: .*; choose a directory with room with --spool-dir"
    ):
        look(tmp_path / "scans.tgz", spool=tmp_path / "spool")


# -- globs and links ------------------------------------------------------------------------------------------------


def test_globs(tmp_path: Path, scans: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(PLANES[0]).save(tmp_path / name / "x.png")
    found = look(scans.parent / "sc*" / "s*.tif")
    np.testing.assert_array_equal(voxels(found[0]), PLANES)
    assert found[0].name == "scans"
    assert found.accounts[0].text.endswith("6 files, all used")
    assert [stack.name for stack in look(tmp_path / "**" / "x.png")] == ["a", "b"]
    assert [stack.name for stack in look(tmp_path / "[ab]")] == ["a", "b"]
    assert (
        look(scans / "*").accounts[0].text.endswith("7 files, 6 used, 1 left out: 1 not an image (scans/notes.txt)".replace("scans/", ""))
    )
    with pytest.raises(UnreadableInput, match=r"there is no such file or directory; check the path"):
        look(scans / "*.jpg")


def test_a_name_with_wildcards_that_exists_is_taken_as_it_is(scans: Path) -> None:
    odd = scans.rename(scans.with_name("star*[1]"))
    np.testing.assert_array_equal(voxels(look(odd)[0]), PLANES)


def test_links(tmp_path: Path, scans: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in scans.glob("s*.tif"):
        (linked / path.name).symlink_to(os.path.relpath(path, linked))
    (tmp_path / "link").symlink_to(linked)
    np.testing.assert_array_equal(voxels(look(tmp_path / "link")[0]), PLANES)
