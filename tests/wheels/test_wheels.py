"""The wheels of all platforms are what their tags promise, and their kernels give NumPy's voxels, under emulation where it must be."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from containers.apt import Impossible
from tests.native.test_kernels import DTYPES, FACTORS, blocks
from tests.wheels.emulation import command
from wheels.build import ROOT, build, compiler
from wheels.check import MEMBER, check, check_library
from wheels.platforms import PLATFORMS, Platform
from wkpipe.native import build as native_build
from wkpipe.native.chunks import NUMBER_KINDS
from wkpipe.sampling import reduce_block
from wkpipe.sampling.native_kernels import NUMBERS

pytest.importorskip("ziglang", reason="`make test-wheels` installs the compiler")
pytestmark = pytest.mark.wheels
HERE = Path(__file__).parent
each_platform = pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: f"{platform.machine}-{platform.libc}")


@pytest.fixture(scope="session")
def wheel_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Platform | None], Path]:
    """Return a function that builds the wheel of a platform, once."""
    target = tmp_path_factory.mktemp("wheels")
    built: dict[Platform | None, Path] = {}

    def wheel(platform: Platform | None) -> Path:
        if platform not in built:
            built[platform] = build(platform, target)
        return built[platform]

    return wheel


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Write blocks of all kinds and what NumPy makes of them; return the file and the number of cases."""
    path, count, rng = tmp_path_factory.mktemp("cases") / "cases", 0, np.random.default_rng(3)
    with path.open("wb") as file:
        for dtype in DTYPES:
            for factors in FACTORS:
                size = [int(n) for n in rng.integers(1, 6, 3)]
                channels = int(rng.choice([1, 3]))
                for block in blocks(dtype, (channels, *(n * f for n, f in zip(size, factors, strict=True))), rng).values():
                    for mode, number in NUMBERS.items():
                        made = reduce_block(np.asfortranarray(block), factors, mode)
                        head = np.array([NUMBER_KINDS[dtype[0]], block.itemsize, number, *factors, channels, *size], np.int32)
                        file.write(head.tobytes() + block.tobytes(order="F") + made.tobytes(order="F"))
                        count += 1
    return path, count


def library(command: list[str], directory: Path, *options: str) -> bytes:
    """Compile x.c of a directory to a library, and return that."""
    to_library = ["-shared", "-fPIC", "-fno-builtin", "x.c", *options, "-o", "x.so", "-Wl,-s"]
    subprocess.run([*command, *to_library], check=True, cwd=directory)
    return (directory / "x.so").read_bytes()


def unpacked(wheel: Path, target: Path) -> Path:
    """Unpack a wheel, and return its native engine."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target / MEMBER


@each_platform
def test_wheel_is_what_its_tag_promises(platform: Platform, wheel_of: Callable[[Platform | None], Path]) -> None:
    check(wheel_of(platform), platform)
    others = [other for other in (*PLATFORMS, None) if other != platform]
    renamed = wheel_of(platform)
    for other in others:
        with pytest.raises(ValueError, match="expected the tag"):
            check(renamed, other)


def test_wheel_without_the_engine(wheel_of: Callable[[Platform | None], Path]) -> None:
    wheel = wheel_of(None)
    check(wheel, None)
    with zipfile.ZipFile(wheel) as pure, zipfile.ZipFile(wheel_of(PLATFORMS[0])) as native:
        listed = {name for name in native.namelist() if ".dist-info/" not in name}
        assert listed - {name for name in pure.namelist() if ".dist-info/" not in name} == {MEMBER}


REFUSED = {
    "needs libm.so.6": ("double sin(double); double wkpipe_x(double x) { return sin(x); }", ["-lm"]),
    "shows other, wkpipe_x": ("int wkpipe_x(void) { return 1; } int other(void) { return 2; }", []),
    "shows nothing": ("static int x;", []),
}


@each_platform
@pytest.mark.parametrize("wrong", REFUSED)
def test_refused_library(platform: Platform, wrong: str, tmp_path: Path) -> None:
    source, options = REFUSED[wrong]
    (tmp_path / "x.c").write_text(source)
    content = library(compiler(platform), tmp_path, *options)
    if platform.libc == "musl" and options:  # it has one library for all
        check_library(content, platform)
        return
    with pytest.raises(ValueError, match=wrong):
        check_library(content, platform)


def test_refused_for_another_system(wheel_of: Callable[[Platform | None], Path], tmp_path: Path) -> None:
    """A library for a newer glibc, and those of another processor or C library."""
    (tmp_path / "x.c").write_text("int close_range(unsigned, unsigned, int);\nint wkpipe_x(void) { return close_range(9, 9, 0); }")
    newer = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu.2.36"]  # close_range came with 2.34
    with pytest.raises(ValueError, match=r"needs glibc 2\.34; expected 2\.17 at most"):
        check_library(library(newer, tmp_path), Platform("x86_64", "glibc"))
    content = unpacked(wheel_of(Platform("x86_64", "glibc")), tmp_path).read_bytes()
    with pytest.raises(ValueError, match="is for EM_X86_64, not for aarch64"):
        check_library(content, Platform("aarch64", "glibc"))
    with pytest.raises(ValueError, match=r"needs libc\.so\.6; expected libc\.so alone"):
        check_library(content, Platform("x86_64", "musl"))


def kernels_program(platform: Platform, directory: Path) -> Path:
    """Compile kernels.c for a platform."""
    program = directory / "kernels"
    subprocess.run([*compiler(platform), "-dynamic", "-O1", str(HERE / "kernels.c"), "-ldl", "-o", str(program)], check=True, cwd=directory)
    return program


@each_platform
def test_kernels(platform: Platform, wheel_of: Callable[[Platform | None], Path], cases: tuple[Path, int], tmp_path: Path) -> None:
    """The library of the wheel runs on the C library of its platform, on this processor or an emulated one."""
    program = kernels_program(platform, tmp_path)
    try:
        run = command(platform, program)
    except Impossible as reason:
        pytest.skip(f"the kernels of {platform.machine} with {platform.libc} were not run: {reason}")
    path, count = cases
    done = subprocess.run([*run, str(unpacked(wheel_of(platform), tmp_path)), str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{count} cases, sources {native_build.source_digest(ROOT / 'wkpipe' / 'native')}\n"


def test_kernels_for_processors_without_avx2(cases: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = next(platform for platform in PLATFORMS if platform.machine == os.uname().machine)
    monkeypatch.setenv("CC", shlex.join(compiler(platform)))
    plain = native_build.build(ROOT / "wkpipe" / "native", tmp_path, "-DWKPIPE_PLAIN")
    program = kernels_program(platform, tmp_path)
    done = subprocess.run([str(program), str(plain), str(cases[0])], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, str(cases[1])), done.stderr


def test_wheel_of_this_host_is_used(wheel_of: Callable[[Platform | None], Path], tmp_path: Path) -> None:
    """The package in the wheel, apart from this repository, works with its native engine."""
    if os.uname().machine != "x86_64":
        pytest.skip("no wheel of this test is for this processor")
    unpacked(wheel_of(PLATFORMS[0]), tmp_path)
    environment = {"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"], "WKPIPE_NATIVE": "1"}
    printed = subprocess.check_output([sys.executable, "-P", "-m", "wkpipe", "--version"], env=environment, cwd=tmp_path, text=True)
    assert "native engine: on" in printed
