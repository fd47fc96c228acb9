"""When the native engine is used: WKPIPE_NATIVE, a library that is absent, damaged or of other sources, and its build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from wkpipe.errors import InputRefused
from wkpipe.native import build, library

PACKAGE = Path(library.__file__).parent
CPUINFO = Path("/proc/cpuinfo")
EXPECTED = "on, with AVX2" if CPUINFO.exists() and " avx2 " in CPUINFO.read_text() else "on"
"""The state of the engine, by the features that the kernel lists."""


@pytest.fixture
def elsewhere_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine's sources in a directory where no library is yet."""
    for name in build.SOURCES:
        shutil.copy(PACKAGE / name, tmp_path)
    monkeypatch.setattr(library, "_HERE", tmp_path)
    monkeypatch.setattr(library, "found", library.found.__wrapped__)
    return tmp_path


def test_switched_off(engine: library.Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.VARIABLE, "0")
    assert library.native() is None
    assert library.state() == "off (WKPIPE_NATIVE=0)"
    monkeypatch.setenv(library.VARIABLE, "1")
    assert library.native() is engine
    monkeypatch.delenv(library.VARIABLE)
    assert library.native() is engine
    assert library.state() == EXPECTED


def test_wrong_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.VARIABLE, "yes")
    with pytest.raises(InputRefused, match=r"WKPIPE_NATIVE is 'yes', expected 0 .* or 1"):
        library.native()


def test_absent(elsewhere_found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(library.VARIABLE, raising=False)
    assert library.native() is None
    assert "was not built" in library.state()
    monkeypatch.setenv(library.VARIABLE, "1")
    with pytest.raises(InputRefused, match="WKPIPE_NATIVE is 1, but it was not built"):
        library.native()


def test_other_sources(engine: library.Library, elsewhere_found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(library.VARIABLE, raising=False)
    shutil.copy(PACKAGE / build.NAME, elsewhere_found)
    assert library.native() is not None
    with (elsewhere_found / build.SOURCES[0]).open("a") as file:
        file.write("/* changed */\n")
    assert library.native() is None
    assert "built from other sources" in library.state()


def test_damaged(elsewhere_found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(library.VARIABLE, raising=False)
    (elsewhere_found / build.NAME).write_bytes(b"not a library")
    assert library.native() is None
    assert "cannot be loaded" in library.state()


def test_command_says_which_engine_is_in_use(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wkpipe", "--version"]
    done = subprocess.run(command, env=os.environ | {library.VARIABLE: "0"}, capture_output=True, text=True, check=True)
    assert "native engine: off (WKPIPE_NATIVE=0)" in done.stdout
    done = subprocess.run(command, env=os.environ | {library.VARIABLE: "2"}, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "WKPIPE_NATIVE is '2'" in done.stderr
    assert "Traceback" not in done.stderr


def test_compiler_that_fails(engine: library.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    with pytest.raises(RuntimeError, match="false fails"):
        build.build(PACKAGE, tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(RuntimeError, match="there is no C compiler"):
        build.build(PACKAGE, tmp_path)
    assert not list(tmp_path.iterdir())


def built_wheel(root: Path, target: Path, **environment: str) -> tuple[Path, str]:
    """Build a wheel, and return it with what the build printed."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(root)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel, done.stdout + done.stderr


@pytest.mark.slow
def test_wheel_with_and_without_the_engine(engine: library.Library, root: Path, tmp_path: Path) -> None:
    """One wheel serves every Python of a platform; without a compiler it is pure Python, and the package in use keeps its library."""
    before = (PACKAGE / build.NAME).stat()
    wheel, _ = built_wheel(root, tmp_path / "native")
    assert "-py3-none-linux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert f"wkpipe/native/{build.NAME}" in archive.namelist()
        assert set(build.SOURCES) <= {Path(name).name for name in archive.namelist()}
        archive.extractall(tmp_path / "unpacked")
    question = "from wkpipe.native.library import state; print(state())"
    unpacked = {"PYTHONPATH": str(tmp_path / "unpacked"), "PATH": os.environ["PATH"]}
    assert subprocess.check_output([sys.executable, "-P", "-c", question], env=unpacked, text=True).strip() == EXPECTED

    wheel, printed = built_wheel(root, tmp_path / "pure", CC="no-such-compiler")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "there is no C compiler" in printed
    wheel, _ = built_wheel(root, tmp_path / "off", WKPIPE_BUILD_NATIVE="0")
    assert wheel.name.endswith("-py3-none-any.whl")
    after = (PACKAGE / build.NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "failed"), str(root)]
    environment = os.environ | {"CC": "no-such-compiler", "WKPIPE_BUILD_NATIVE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "there is no C compiler" in done.stdout + done.stderr
