"""The platforms of the wheels, and what their C libraries promise."""

from __future__ import annotations

from dataclasses import dataclass

GLIBC = (2, 17)
"""The oldest glibc that the wheels run on: that of manylinux2014."""


@dataclass(frozen=True)
class Platform:
    """A processor and a C library; `libc` is "glibc" or "musl"."""

    machine: str
    libc: str

    @property
    def tag(self) -> str:
        """The platform part of a wheel's tag, see PEP 600 and PEP 656."""
        if self.libc == "musl":
            return f"musllinux_1_1_{self.machine}"
        return f"manylinux_{GLIBC[0]}_{GLIBC[1]}_{self.machine}.manylinux2014_{self.machine}"

    @property
    def target(self) -> str:
        """The platform as Zig's C compiler names it."""
        return f"{self.machine}-linux-musl" if self.libc == "musl" else f"{self.machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"

    @property
    def needed(self) -> str:
        """The only library that the native engine may need: the C library."""
        return "libc.so" if self.libc == "musl" else "libc.so.6"


PLATFORMS = tuple(Platform(machine, libc) for libc in ("glibc", "musl") for machine in ("x86_64", "aarch64"))
