"""Accounts: what a source has, which of it becomes voxels, and what is left out and why; used + left out = present, always."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wkpipe.errors import one_line

MOST_SHOWN = 3
MOST_STORED = 1000
FILE, PAGE, MEMBER = "file", "page", "member"


@dataclass(frozen=True)
class LeftOut:
    """Things that are left out for one reason, by their names."""

    reason: str
    names: tuple[str, ...]

    @property
    def text(self) -> str:
        """The reason with the number of things and the names of the first.

        >>> LeftOut("not images", ("a.txt", "b.txt", "c.txt", "d.txt")).text
        '4 not images (a.txt, b.txt, c.txt, …)'
        """
        shown = ", ".join([*self.names[:MOST_SHOWN], *(["…"] if len(self.names) > MOST_SHOWN else [])])
        return one_line(f"{len(self.names)} {self.reason} ({shown})", 400)


@dataclass(frozen=True)
class Account:
    """The account of one source, file or archive.

    of: what it is about, for people. unit: what is counted: files, pages (or series) of a file, members of an archive.

    >>> account = Account("scans", FILE, 5, 4, (LeftOut("not an image", ("notes.txt",)),))
    >>> account.text
    'scans: 5 files, 4 used, 1 left out: 1 not an image (notes.txt)'
    """

    of: str
    unit: str
    present: int
    used: int
    left_out: tuple[LeftOut, ...] = ()

    def __post_init__(self) -> None:
        if self.used + self.left_out_count != self.present:
            raise ValueError(f"{self.of}: {self.used} used and {self.left_out_count} left out of {self.present}")

    @classmethod
    def of_names(cls, of: str, unit: str, used: int, reasons: Mapping[str, str]) -> Account:
        """Return the account of the things that are used and of those that are left out, with the reason for each name.

        >>> Account.of_names("s.tif", PAGE, 3, {"page 4": "reduced"}).text
        's.tif: 4 pages, 3 used, 1 left out: 1 reduced (page 4)'
        """
        named: dict[str, list[str]] = {}
        for name, reason in reasons.items():
            named.setdefault(reason, []).append(name)
        return cls(of, unit, used + len(reasons), used, tuple(LeftOut(reason, tuple(names)) for reason, names in named.items()))

    @classmethod
    def joined(cls, of: str, accounts: Iterable[Account]) -> Account:
        """Return the sum of accounts of the same unit; what is left out is named with the account it is from.

        >>> pages = [Account("a.tif", PAGE, 3, 3), Account("b.tif", PAGE, 2, 1, (LeftOut("reduced", ("page 2",)),))]
        >>> Account.joined("scans", pages).text
        'scans: 5 pages, 4 used, 1 left out: 1 reduced (b.tif: page 2)'
        """
        each = list(accounts)
        named: dict[str, list[str]] = {}
        for account in each:
            for left in account.left_out:
                named.setdefault(left.reason, []).extend(name if len(each) == 1 else f"{account.of}: {name}" for name in left.names)
        left_out = tuple(LeftOut(reason, tuple(names)) for reason, names in named.items())
        return cls(of, each[0].unit, sum(one.present for one in each), sum(one.used for one in each), left_out)

    @property
    def left_out_count(self) -> int:
        """The number of things that are left out."""
        return sum(len(left.names) for left in self.left_out)

    @property
    def text(self) -> str:
        """The account as one line."""
        line = f"{self.of}: {self.present} {self.unit}{'' if self.present == 1 else 's'}, {'all' if not self.left_out else self.used} used"
        if not self.left_out:
            return one_line(line)
        return one_line(f"{line}, {self.left_out_count} left out: {', '.join(left.text for left in self.left_out)}")

    def to_json(self) -> dict[str, Any]:
        """Return the account as plain JSON, as a dataset's state keeps it; of very many names, only the first."""
        room = math.floor(MOST_STORED / max(1, len(self.left_out)))
        left_out = [{"reason": left.reason, "count": len(left.names), "names": [*left.names[:room]]} for left in self.left_out]
        return {"of": self.of, "unit": self.unit, "present": self.present, "used": self.used, "left_out": left_out}
