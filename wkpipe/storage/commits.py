"""Commits: units and their records, which become durable together.

A wait for the disk takes longer than making a small unit. So the files of units, which are complete but have no name yet, wait
for each other, and so do their records. They are committed as two stages (`wkpipe.storage.stages`): no record is in the ledger before
the names of the files that it proves are durable. A crash loses what waits, so that must not be much: a large unit does not wait, and
a few megabytes, some dozens of units or one second are the most. What is read again must be committed before (`flush`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Final

from wkpipe.errors import WkpipeError
from wkpipe.storage.commit import PendingFile
from wkpipe.storage.held_signals import signals_held_back
from wkpipe.storage.ledger import LedgerWriter
from wkpipe.storage.pending import Pending
from wkpipe.storage.place import Place
from wkpipe.storage.record import Record
from wkpipe.storage.stages import Committed, commit_in_order

MOST_BYTES: Final = 16 << 20
MOST_UNITS: Final = 64
LONGEST_SECONDS: Final = 1.0
"""A wait takes some hundredths of it at most, so waiting for more units would save next to nothing."""


class Commits:
    """The commits of a task that wait for each other, as a context manager; after an error or Ctrl-C, what is complete is committed too.

    `keep` gets files from writers whose scratch is `Scratch.postponing`; `note` gets the records of a `LedgerWriter`.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, most_units: int = MOST_UNITS) -> None:
        self._most_bytes, self._most_units = most_bytes, most_units
        self._files: list[PendingFile] = []
        self._noted: dict[LedgerWriter, list[Record]] = {}
        self._by_ledger: dict[Place, list[Record]] = {}
        self._bytes = self._units = 0
        self._since = 0.0

    def keep(self, file: PendingFile) -> None:
        """Keep a complete file; its record follows."""
        self._files.append(file)

    def note(self, writer: LedgerWriter, records: Sequence[Record]) -> None:
        """Note the records of units whose files were kept, or are durable already; commit if enough has come together.

        Raises:
            as `flush`.
        """
        if not self._noted:
            self._since = time.monotonic()
        self._noted.setdefault(writer, []).extend(records)
        self._by_ledger.setdefault(writer.place, []).extend(records)
        self._bytes += sum(record.proof.size for record in records)
        self._units += len(records)
        if self._bytes >= self._most_bytes or self._units >= self._most_units or time.monotonic() - self._since >= LONGEST_SECONDS:
            self.flush()

    def noted(self, ledger: Place) -> list[Record]:
        """Return the records for a ledger that still wait."""
        return list(self._by_ledger.get(ledger, ()))

    def flush(self) -> None:
        """Commit all that waits. Ctrl-C and SIGTERM take effect afterwards.

        Raises:
            NotWritable: the disk refuses a file; names it. Nothing of all this is recorded.
            TryAgain: the run has lost the dataset.
        """
        files, noted = self._files, self._noted
        self._files, self._noted, self._by_ledger, self._bytes, self._units = [], {}, {}, 0, 0
        segments: dict[LedgerWriter, tuple[str, Pending]] = {}

        def stages() -> Iterator[list[Committed]]:
            yield [*files]
            for writer, records in noted.items():
                segments[writer] = writer.segment(records)
            yield [segment for _, segment in segments.values()]

        with signals_held_back():
            try:
                commit_in_order(stages())
            finally:
                for file in files:
                    file.withdraw()
                for _, segment in segments.values():
                    segment.discard()
            for writer, (key, _) in segments.items():
                writer.added(key)

    def __enter__(self) -> Commits:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.flush()
        else:  # also after Ctrl-C and SIGTERM
            with contextlib.suppress(WkpipeError):  # the first error counts
                self.flush()
        for file in self._files:
            file.withdraw()
