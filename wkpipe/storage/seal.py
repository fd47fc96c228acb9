"""Seal: the jobs of a run accept only files that their own run wrote.

The process that starts a run draws a random name and a random secret. Both exist only in its memory and in the environment
of the processes that it starts (`VARIABLE`), never in the dataset or on a command line. Every line of the plan, and of all
other files for the jobs, ends in a keyed hash (BLAKE2b) over the run's name, the file's name and the line. Without the secret,
nobody can write a line that a job of the run accepts, whoever owns the files; and a job of one run does not accept the lines
of another run.
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
"""The environment variable with ``<name of the run>:<secret>`` for the jobs of a run; several runs are separated by commas."""

_CONTENT = re.compile(r"([0-9a-f]{12}):([0-9a-f]{64})")
_HASH_BYTES = 16


class Seal:
    """The name and the secret of a run.

    >>> seal = Seal.new()
    >>> seal.opened("plan.json", seal.sealed("plan.json", b"{}\\n"))
    b'{}'
    """

    def __init__(self, run: str, key: bytes) -> None:
        self.run = run
        self._key = key

    @classmethod
    def new(cls) -> Seal:
        """Return a seal with a random name and secret."""
        return cls(secrets.token_hex(6), secrets.token_bytes(32))

    @classmethod
    def of_environment(cls, run: Path) -> Seal:
        """Return the seal of the run in a directory; this process must belong to that run.

        Raises:
            UsageError: the process belongs to no run, or to another one.
        """
        seals = cls.all_of_environment()
        if not seals:
            raise UsageError(
                f"this process was not started by the run in {run}: {VARIABLE} is not set", fix="start wkpipe or snakemake again"
            )
        for seal in seals:
            if seal.run == run.name:
                return seal
        names = ", ".join(seal.run for seal in seals)
        raise UsageError(f"this process belongs to run {names}, not to the one in {run}", fix="start wkpipe or snakemake again")

    @classmethod
    def all_of_environment(cls) -> list[Seal]:
        """Return the seals of all runs that this process belongs to: a workflow may have several, each on its own dataset."""
        matches = [_CONTENT.fullmatch(text) for text in os.environ.get(VARIABLE, "").split(",")]
        return [cls(match[1], bytes.fromhex(match[2])) for match in matches if match is not None]

    @property
    def variable(self) -> str:
        """The content of `VARIABLE` for the processes of this run alone."""
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
                f"{file} of run {self.run} was not written by the process that started the run", fix="start wkpipe or snakemake again"
            )
        return text

    def _hash(self, file: str, line: bytes) -> bytes:
        about = f"{self.run}\0{file}\0".encode()
        return hashlib.blake2b(about + line, key=self._key, digest_size=_HASH_BYTES).hexdigest().encode()
