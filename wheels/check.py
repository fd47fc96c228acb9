"""Check that a wheel runs on every system that its tag promises."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

from wheels.platforms import GLIBC, Platform
from wkpipe.native.build import NAME

MEMBER = f"wkpipe/native/{NAME}"
_MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}


def check(wheel: Path, platform: Platform | None) -> None:
    """Check tag and library of a platform's wheel; None: that the wheel has no library.

    Raises
    ------
    ValueError
        says what is wrong.
    """
    tag = f"py3-none-{platform.tag if platform else 'any'}"
    if not wheel.name.endswith(f"-{tag}.whl"):
        raise ValueError(f"{wheel.name}: expected the tag {tag}")
    with zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if re.search(r"\.so(\.|$)", name)]
        if libraries != ([MEMBER] if platform else []):
            raise ValueError(f"{wheel.name} has the libraries {libraries}")
        if platform:
            check_library(archive.read(MEMBER), platform)


def check_library(content: bytes, platform: Platform) -> None:
    """Check that a library is for a processor, needs only its C library in an old version, and shows only functions of wkpipe.

    Raises
    ------
    ValueError
        says what is wrong.
    """
    file = ELFFile(io.BytesIO(content))
    if file["e_machine"] != _MACHINES[platform.machine]:
        raise ValueError(f"the library is for {file['e_machine']}, not for {platform.machine}")
    needed = {tag.needed for part in file.iter_sections() if isinstance(part, DynamicSection) for tag in part.iter_tags("DT_NEEDED")}
    if not needed <= {platform.needed}:
        raise ValueError(f"the library needs {', '.join(sorted(needed))}; expected {platform.needed} alone")
    newest = max(_glibc_versions(file), default=GLIBC)
    if newest > GLIBC:
        raise ValueError(f"the library needs glibc {'.'.join(map(str, newest))}; expected {GLIBC[0]}.{GLIBC[1]} at most")
    shown = {
        symbol.name
        for part in file.iter_sections()
        if isinstance(part, SymbolTableSection)
        for symbol in part.iter_symbols()
        if symbol["st_info"]["bind"] != "STB_LOCAL" and symbol["st_shndx"] != "SHN_UNDEF"
    }
    if not shown or not all(name.startswith("wkpipe_") for name in shown):
        raise ValueError(f"the library shows {', '.join(sorted(shown)) or 'nothing'}; expected functions wkpipe_…")


def _glibc_versions(file: ELFFile) -> list[tuple[int, ...]]:
    """Return the versions of glibc whose symbols a library needs."""
    names = [
        version.name
        for part in file.iter_sections()
        if isinstance(part, GNUVerNeedSection)
        for _, versions in part.iter_versions()
        for version in versions
    ]
    return [tuple(map(int, name.removeprefix("GLIBC_").split("."))) for name in names if re.fullmatch(r"GLIBC_[\d.]+", name)]
