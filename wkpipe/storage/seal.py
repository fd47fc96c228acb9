"""Seal: a run's files are believed only by the processes of that run.

The process that starts a run draws a random name and a random secret. Both exist only in its memory and in the environment
of what it starts (`VARIABLE`), never in the dataset or on a command line. Every line of the plan and of what else the run
hands over ends in a keyed hash (BLAKE2b) over the run's name, the file's name and the line. Whoever does not have the
secret, whatever user id owns the files, cannot make a line that a job of the run believes; and a job of one run does not
believe the lines of another.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Final

from wkpipe.errors import UsageError

VARIABLE: Final = "WKPIPE_RUN"
"""Holds ``<name of the run>:<secret>``, for the jobs of a run."""

_CONTENT = re.compile(r"([0-9a-f]{12}):([0-9a-f]{64})")
_HASH_BYTES = 16


class Seal:
    """Name and secret of a run.

    >>> seal = Seal.new()
    >>> seal.opened("plan.json", seal.sealed("plan.json", b"{}\\n"))
    b'{}'
    """

    def __init__(self, run: str, key: bytes) -> None:
        self.run = run
        self._key = key

    @classmethod
    def new(cls) -> Seal:
        """Draw a name and a secret."""
        return cls(secrets.token_hex(6), secrets.token_bytes(32))

    @classmethod
    def of_environment(cls, run: Path | None = None) -> Seal:
        """Return the seal of the run that this process belongs to; `run` is the directory that it was told to work on.

        Raises:
            UsageError: it belongs to none, or to another one.
        """
        match = _CONTENT.fullmatch(os.environ.get(VARIABLE, ""))
        if match is None:
            what = "a run" if run is None else f"the run in {run}"
            raise UsageError(f"this process was not started by {what}: {VARIABLE} is not set; start wkpipe or snakemake again")
        if run is not None and run.name != match[1]:
            raise UsageError(f"this process belongs to run {match[1]}, not to the one in {run}; start wkpipe or snakemake again")
        return cls(match[1], bytes.fromhex(match[2]))

    @property
    def variable(self) -> str:
        """The content of `VARIABLE` for the processes of the run."""
        return f"{self.run}:{self._key.hex()}"

    def __repr__(self) -> str:
        return f"Seal({self.run!r})"

    def sealed(self, file: str, content: bytes) -> bytes:
        """Return the content of a file of the run with a hash at the end of each line."""
        return b"".join(b"%s\t%s\n" % (line, self._hash(file, line)) for line in content.splitlines())

    def opened(self, file: str, line: bytes) -> bytes:
        """Return a line of a file without its hash.

        Raises:
            UsageError: the line was not written by this run.
        """
        text, _, found = line.rstrip(b"\n").rpartition(b"\t")
        if not hmac.compare_digest(found, self._hash(file, text)):
            raise UsageError(
                f"{file} of run {self.run} was not written by the process that started the run; start wkpipe or snakemake again"
            )
        return text

    def _hash(self, file: str, line: bytes) -> bytes:
        about = f"{self.run}\0{file}\0".encode()
        return hashlib.blake2b(about + line, key=self._key, digest_size=_HASH_BYTES).hexdigest().encode()
