"""How files are created and removed: pending files and groups, removed directories, abandoned temporary files, each alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from wkpipe.errors import InputRefused, TryAgain
from wkpipe.storage import commit, disk, names
from wkpipe.storage.barrier import MOST_SYNCED_ALONE
from wkpipe.storage.commit import FileProof, PendingFile
from wkpipe.storage.digest import BLOCK_BYTES, digest_of, file_digest
from wkpipe.storage.group import PendingGroup, replace_files
from wkpipe.storage.process import signature
from wkpipe.storage.removal import remove_abandoned, remove_directory
from wkpipe.storage.scratch import Scratch

CALLS = ("sync", "sync_closed", "sync_directory", "sync_file_system", "rename", "remove_tree")


class NotMine(TryAgain):
    """The error that the fence of these tests raises."""


def closed_fence() -> None:
    raise NotMine("another run has the dataset")


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "scratch", root=tmp_path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that records the calls that make files durable or visible; each call still does its work."""
    noted: list[str] = []
    for name in CALLS:
        module = names if hasattr(names, name) else disk
        monkeypatch.setattr(module, name, noting(name, getattr(module, name), noted))
    return noted


def noting(name: str, call: Callable[..., Any], noted: list[str]) -> Callable[..., Any]:
    def noted_call(*arguments: Any) -> Any:
        noted.append(name)
        return call(*arguments)

    return noted_call


def write_file(final: Path, data: bytes, scratch: Scratch) -> FileProof:
    with PendingFile(final, scratch) as file:
        file.append(data)
        return file.commit()


def leftovers(scratch: Scratch) -> list[Path]:
    return sorted(scratch.directory.iterdir()) if scratch.directory.exists() else []


# -- one file ---------------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_and_with_its_proof(tmp_path: Path, scratch: Scratch) -> None:
    final = tmp_path / "a" / "b" / "file"
    with PendingFile(final, scratch) as file:
        assert [file.append(b"one"), file.append(memoryview(b"two")), file.append(b"")] == [0, 3, 6]
        assert not final.exists()
        assert len(leftovers(scratch)) == 1
        proof = file.commit()
    assert final.read_bytes() == b"onetwo"
    assert proof == FileProof(6, google_crc32c.value(b"onetwo"), final.stat().st_mtime_ns)
    assert not leftovers(scratch)


def test_holes_are_zeros_until_they_are_written(tmp_path: Path, scratch: Scratch) -> None:
    with PendingFile(tmp_path / "file", scratch) as file:
        assert [file.append(b"ab"), file.append_hole(4), file.append(b"cd")] == [0, 2, 6]
        file.overwrite(3, b"xy")
        proof = file.commit()
    content = b"ab\0xy\0cd"
    assert (tmp_path / "file").read_bytes() == content
    assert (proof.size, proof.crc32c) == (8, google_crc32c.value(content))


def test_a_hole_at_the_end_belongs_to_the_file(tmp_path: Path, scratch: Scratch) -> None:
    with PendingFile(tmp_path / "file", scratch) as file:
        file.append(b"ab")
        file.append_hole(3)
        proof = file.commit()
    assert (tmp_path / "file").read_bytes() == b"ab\0\0\0"
    assert (proof.size, proof.crc32c) == (5, google_crc32c.value(b"ab\0\0\0"))


@pytest.mark.parametrize("offset, data", [(4, b"x"), (2, b"xyz"), (5, b"")])
def test_nothing_is_written_past_the_end(tmp_path: Path, scratch: Scratch, offset: int, data: bytes) -> None:
    with PendingFile(tmp_path / "file", scratch) as file:
        file.append(b"abcd")
        with pytest.raises(ValueError, match="past the end 4"):
            file.overwrite(offset, data)
        file.overwrite(3, b"D")
        file.commit()
    assert (tmp_path / "file").read_bytes() == b"abcD"


@pytest.mark.parametrize("piece", [3, 1 << 20])
def test_a_part_of_another_file_is_appended(tmp_path: Path, scratch: Scratch, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "_READ_BACK", piece)
    (tmp_path / "other").write_bytes(bytes(range(100)))
    descriptor = os.open(tmp_path / "other", os.O_RDONLY)
    try:
        with PendingFile(tmp_path / "file", scratch) as file:
            file.append(b"ab")
            assert file.append_from(descriptor, 10, 20) == 2
            with pytest.raises(ValueError, match="ended 7 bytes early"):
                file.append_from(descriptor, 93, 14)
        with PendingFile(tmp_path / "file", scratch) as file:
            file.append(b"ab")
            file.append_from(descriptor, 10, 20)
            proof = file.commit()
    finally:
        os.close(descriptor)
    content = b"ab" + bytes(range(10, 30))
    assert (tmp_path / "file").read_bytes() == content
    assert (proof.size, proof.crc32c) == (22, google_crc32c.value(content))


def test_what_is_not_committed_leaves_nothing(tmp_path: Path, scratch: Scratch) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with PendingFile(tmp_path / "file", scratch) as file:
        file.append(b"new")
    with pytest.raises(TypeError), PendingFile(tmp_path / "file", scratch) as file:
        file.append("newer")
    file.discard()  # harmless again
    assert (tmp_path / "file").read_bytes() == b"old"
    assert not leftovers(scratch)


def test_discarding_after_the_commit_keeps_the_file(tmp_path: Path, scratch: Scratch) -> None:
    with PendingFile(tmp_path / "file", scratch) as file:
        file.append(b"new")
        file.commit()
    file.discard()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_the_content_is_durable_before_the_name_and_the_name_after(tmp_path: Path, calls: list[str]) -> None:
    scratch = Scratch(tmp_path / "scratch", lambda: calls.append("fence"))
    with PendingFile(tmp_path / "file", scratch) as file:
        file.append(b"new")
        calls.clear()
        file.commit()
    assert calls == ["sync", "fence", "rename", "sync_directory"]


def test_a_closed_fence_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    scratch = Scratch(tmp_path / "scratch", closed_fence)
    with pytest.raises(NotMine):
        write_file(tmp_path / "file", b"new", scratch)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert not leftovers(scratch)


def test_no_link_leads_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    scratch = Scratch(tmp_path / "root" / "scratch", root=tmp_path / "root")
    with pytest.raises(InputRefused, match="a link leads to"):
        write_file(tmp_path / "root" / "link" / "file", b"new", scratch)
    group = PendingGroup(scratch)
    group.add(tmp_path / "root" / "link" / "file", b"new")
    with pytest.raises(InputRefused, match="a link leads to"):
        group.commit()
    group.discard()
    assert not any((tmp_path / "elsewhere").iterdir())
    assert not leftovers(scratch)


def test_a_link_in_a_directory_that_was_used_before_is_found(tmp_path: Path) -> None:
    (tmp_path / "root" / "layer").mkdir(parents=True)
    (tmp_path / "elsewhere" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "layer" / "link").symlink_to(tmp_path / "elsewhere")
    scratch = Scratch(tmp_path / "root" / "scratch", root=tmp_path / "root")
    write_file(tmp_path / "root" / "layer" / "file", b"new", scratch)
    for directory in ("link", "link/inner", "link/new", "../layer/link"):
        with pytest.raises(InputRefused, match="a link leads to"):
            write_file(tmp_path / "root" / "layer" / directory / "file", b"new", scratch)
    assert [path.name for path in (tmp_path / "elsewhere").rglob("*")] == ["inner"]


# -- a group ----------------------------------------------------------------------------------------------------------


def test_a_group_appears_together(tmp_path: Path, scratch: Scratch) -> None:
    files = {tmp_path / "a" / "1": b"one", tmp_path / "a" / "2": b"", tmp_path / "b" / "3": b"three"}
    group = PendingGroup(scratch)
    for path, data in files.items():
        group.add(path, data)
    assert not any(path.exists() for path in files)
    proofs = group.commit()
    group.discard()
    assert {path: path.read_bytes() for path in files} == files
    assert proofs == {
        str(path): FileProof(len(data), google_crc32c.value(data), path.stat().st_mtime_ns, file_digest(data))
        for path, data in files.items()
    }
    assert not leftovers(scratch)


def test_the_digest_of_a_group_s_file_may_be_known(tmp_path: Path, scratch: Scratch) -> None:
    group = PendingGroup(scratch)
    group.add(tmp_path / "known", b"data", bytes(16))
    group.add(tmp_path / "unknown", bytearray(b"data"))
    proofs = group.commit()
    assert proofs[str(tmp_path / "known")].digest == file_digest(b"data", bytes(16))
    assert proofs[str(tmp_path / "unknown")].digest == file_digest(b"data") != proofs[str(tmp_path / "known")].digest


@pytest.mark.parametrize("count", [1, MOST_SYNCED_ALONE, MOST_SYNCED_ALONE + 1])
def test_a_group_is_durable_before_its_names_and_they_after(tmp_path: Path, calls: list[str], count: int) -> None:
    directories = [tmp_path / str(i) for i in range(count)]
    for directory in directories:
        directory.mkdir()
    group = PendingGroup(Scratch(tmp_path / "scratch", lambda: calls.append("fence")))
    for directory in directories:
        group.add(directory / "1", b"one")
        group.add(directory / "2", b"two")
    calls.clear()
    group.commit()
    first = ["sync_closed"] * 2 * count if 2 * count <= MOST_SYNCED_ALONE else ["sync_file_system"]
    last = ["sync_directory"] * count if count <= MOST_SYNCED_ALONE else ["sync_file_system"]
    assert calls == [*first, "fence", *["rename"] * 2 * count, *last]


def test_a_group_can_be_used_again(tmp_path: Path, scratch: Scratch) -> None:
    group = PendingGroup(scratch)
    group.add(tmp_path / "1", b"one")
    group.commit()
    group.add(tmp_path / "2", b"two")
    assert list(group.commit()) == [str(tmp_path / "2")]
    assert (tmp_path / "1").read_bytes() == b"one"


def test_an_empty_group_changes_nothing(tmp_path: Path, scratch: Scratch, calls: list[str]) -> None:
    assert PendingGroup(scratch).commit() == {}
    assert calls == []
    assert not any(tmp_path.iterdir())


def in_fork(call: Callable[[], bytes]) -> bytes:
    """Return what a call in a forked process returns."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, call())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read, "rb") as pipe:
        return pipe.read()


def test_forked_processes_write_files_of_a_group(tmp_path: Path, scratch: Scratch) -> None:
    files = {str(tmp_path / name): data for name, data in (("a/1", b"one"), ("2", b""), ("a/3", b"three"), ("4", b"four"))}
    large = bytes(BLOCK_BYTES + 1)

    def written(*names: str) -> Callable[[], bytes]:
        return lambda: group.write_apart((name, files[name], digest_of(files[name])) for name in names)

    group = PendingGroup(scratch)
    group.begin_apart()
    first, second, third, fourth = files
    receipts = [in_fork(written(first, second)), in_fork(written(third)), in_fork(written(fourth))]
    receipts.append(in_fork(lambda: group.write_apart([(str(tmp_path / "large"), large, digest_of(large))])))
    group.take([(name, len(files[name])) for name in (first, second)], receipts[0])
    group.take([(third, 5)], receipts[1])
    group.take([(str(tmp_path / "large"), len(large))], receipts[3])
    assert not any(Path(name).exists() for name in files)
    proofs = group.commit()
    assert leftovers(scratch), "the fourth file was not taken over"
    group.discard()
    assert not leftovers(scratch)
    wanted = {first: files[first], second: files[second], third: files[third], str(tmp_path / "large"): large}
    assert {name: Path(name).read_bytes() for name in wanted} == wanted
    assert proofs == {
        name: FileProof(len(data), google_crc32c.value(data), Path(name).stat().st_mtime_ns, file_digest(data))
        for name, data in wanted.items()
    }
    assert not Path(fourth).exists()


def test_a_closed_fence_keeps_the_old_files(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", closed_fence)
    (tmp_path / "1").write_bytes(b"old")
    group = PendingGroup(scratch)
    group.add(tmp_path / "1", b"new")
    group.add(tmp_path / "2", b"new")
    with pytest.raises(NotMine):
        group.commit()
    group.discard()
    assert (tmp_path / "1").read_bytes() == b"old"
    assert not (tmp_path / "2").exists()
    assert not leftovers(scratch)


def test_a_group_can_be_discarded_after_a_write_that_failed(tmp_path: Path, scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    group = PendingGroup(scratch)
    group.add(tmp_path / "1", b"new")

    def full(*_: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", full)
        with pytest.raises(OSError, match="no space"):
            group.add(tmp_path / "2", b"new")
    assert len(leftovers(scratch)) == 2
    group.discard()
    assert not leftovers(scratch)


@pytest.mark.parametrize("count", [2, MOST_SYNCED_ALONE + 1])
def test_files_are_replaced(tmp_path: Path, scratch: Scratch, calls: list[str], count: int) -> None:
    files = {tmp_path / str(i): str(i).encode() for i in range(count)}
    for path in files:
        path.write_bytes(b"old")
    replace_files(files, scratch)
    assert {path: path.read_bytes() for path in files} == files
    assert not leftovers(scratch)
    assert calls.count("sync_closed") == (count if count <= MOST_SYNCED_ALONE else 0)


# -- removed directories ----------------------------------------------------------------------------------------------


def test_a_directory_is_removed_with_all_in_it(tmp_path: Path, scratch: Scratch, calls: list[str]) -> None:
    directory = tmp_path / "data" / "mag"
    (directory / "inner").mkdir(parents=True)
    (directory / "inner" / "file").write_bytes(b"1")
    (tmp_path / "data" / "other").write_bytes(b"2")
    scratch.directory.mkdir()
    remove_directory(directory, scratch)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["other"]
    assert not leftovers(scratch)
    assert calls == ["rename", "sync_directory", "remove_tree"]


def test_a_directory_is_gone_before_its_content(tmp_path: Path, scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed while it removes files leaves nothing at the old place; the next run removes the rest."""
    (tmp_path / "data" / "mag").mkdir(parents=True)
    (tmp_path / "data" / "mag" / "file").write_bytes(b"1")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(disk, "remove_tree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_directory(tmp_path / "data" / "mag", scratch)
    assert not any((tmp_path / "data").iterdir())
    (rest,) = leftovers(scratch)
    assert (rest / "file").read_bytes() == b"1"


def test_what_is_no_directory_stays(tmp_path: Path, scratch: Scratch) -> None:
    (tmp_path / "file").write_bytes(b"1")
    remove_directory(tmp_path / "file", scratch)
    remove_directory(tmp_path / "absent", scratch)
    remove_directory(tmp_path / "absent" / "too", scratch)
    assert (tmp_path / "file").read_bytes() == b"1"
    assert not scratch.directory.exists()


@pytest.mark.parametrize("is_dangling", [False, True])
def test_of_a_link_only_the_link_is_removed(tmp_path: Path, scratch: Scratch, is_dangling: bool) -> None:
    target = tmp_path / "target"
    if not is_dangling:
        target.mkdir()
        (target / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to(target)
    remove_directory(tmp_path / "link", scratch)
    assert not (tmp_path / "link").is_symlink()
    assert is_dangling or (target / "file").read_bytes() == b"1"
    assert not leftovers(scratch)


def test_a_directory_behind_a_link_is_not_removed(tmp_path: Path, scratch: Scratch) -> None:
    (tmp_path / "target" / "mag").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(InputRefused, match="a link leads to"):
        remove_directory(tmp_path / "link" / "mag", scratch)
    assert (tmp_path / "target" / "mag").is_dir()


def test_a_directory_on_another_file_system_is_removed(tmp_path: Path, scratch: Scratch, calls: list[str], elsewhere: Path) -> None:
    scratch.directory.mkdir()
    (elsewhere / "mag" / "inner").mkdir(parents=True)
    (elsewhere / "mag" / "inner" / "file").write_bytes(b"1")
    remove_directory(elsewhere / "mag", scratch)
    assert not any(elsewhere.iterdir())
    assert not leftovers(scratch)
    assert calls == ["remove_tree", "sync_file_system"]


# -- abandoned files --------------------------------------------------------------------------------------------------

SIGNATURE = "import sys; from wkpipe.storage.process import signature; print(signature(), flush=True); sys.stdin.read()"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Return a process of wkpipe that waits until its input is closed; its first line is its signature."""
    process = subprocess.Popen([sys.executable, "-c", SIGNATURE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_files_of_dead_processes_are_removed_and_no_others(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert other.stdout is not None
    theirs = tmp_path / f"a.{other.stdout.readline().strip()}.tmp"
    ours = Scratch(tmp_path).new_path()
    names = ["unsigned.tmp", "a.elsewhere-1-1.tmp", "a.txt", f"{theirs.stem}.txt"]
    for path in (theirs, ours, *(tmp_path / name for name in names)):
        path.write_bytes(b"1")
    (tmp_path / f"directory.{theirs.name}").mkdir()
    before = set(tmp_path.iterdir())
    remove_abandoned(tmp_path)
    assert set(tmp_path.iterdir()) == before, "all of them may be in use"
    other.communicate()
    remove_abandoned(tmp_path)
    assert set(tmp_path.iterdir()) == before - {theirs}


def test_old_files_are_removed_whoever_made_them(tmp_path: Path) -> None:
    old, young = time.time() - 3700, time.time() - 3500
    for name, mtime in {"a.tmp": old, "b.elsewhere-1-1.tmp": old, f"c.{signature()}.tmp": old, "d.tmp": young, "e.txt": old}.items():
        (tmp_path / name).write_bytes(b"1")
        os.utime(tmp_path / name, (mtime, mtime))
    (tmp_path / "f.tmp").mkdir()
    os.utime(tmp_path / "f.tmp", (old, old))
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.tmp", "e.txt", "f.tmp"]


def test_of_an_old_link_its_own_age_counts(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"1")
    os.utime(tmp_path / "target", (0, 0))
    (tmp_path / "young.tmp").symlink_to(tmp_path / "target")
    (tmp_path / "old.tmp").symlink_to(tmp_path / "absent")
    os.utime(tmp_path / "old.tmp", (0, 0), follow_symlinks=False)
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "young.tmp"]


def test_a_missing_directory_has_nothing_abandoned(tmp_path: Path) -> None:
    remove_abandoned(tmp_path / "absent")
