"""Change: where the content of a unit differs from an earlier one, so that what is made from it need not be made again as a whole.

A record knows its last few earlier contents, each by the name of its token. Only the code that has replaced a part of a proven unit says
where it differs; any other new content of a unit differs everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from wkpipe.storage.proof import Position

MOST_CHANGES: Final = 8
"""A unit that was written more often than this since a coarser mag was made from it counts as changed everywhere."""

MOST_SOURCES: Final = 64
"""Of units that are made from more units than this, it is not recorded what these were."""


_NAME_LENGTH: Final = 16


class Change(NamedTuple):
    """Since the content of the token `since`, a unit has changed only in the chunks from `first` to `end`, counted from its first chunk."""

    since: str
    first: Position
    end: Position


def name_of_token(token: str) -> str:
    """Return a short name of the content that has a token."""
    return hashlib.sha256(token.encode()).hexdigest()[:_NAME_LENGTH]


def names_of_tokens(tokens: Sequence[str]) -> str:
    """Return the names of contents as one text, which is smaller in memory; nothing if they are too many."""
    return "".join(map(name_of_token, tokens)) if len(tokens) <= MOST_SOURCES else ""


def names_in(sources: str) -> list[str]:
    """Return the single names.

    >>> names_in(names_of_tokens(["a", "b"])) == [name_of_token("a"), name_of_token("b")]
    True
    """
    return [sources[at : at + _NAME_LENGTH] for at in range(0, len(sources), _NAME_LENGTH)]


def changes_after(token: str, earlier: Sequence[Change], first: Position, end: Position) -> tuple[Change, ...]:
    """Return the changes of a unit whose chunks from `first` to `end` were replaced, from its earlier token and changes.

    >>> changes_after("b", changes_after("a", (), (0,), (1,)), (3,), (4,))[1][1:]
    ((0,), (4,))
    """
    since = name_of_token(token)
    others = [
        Change(change.since, tuple(map(min, change.first, first)), tuple(map(max, change.end, end)))
        for change in earlier
        if change.since != since
    ]
    return (Change(since, first, end), *others[: MOST_CHANGES - 1])


def changes_of(values: Any) -> tuple[Change, ...]:
    """Return the changes in a line of a ledger.

    Raises:
        ValueError, TypeError: there are none.
    """
    found = tuple(Change(since, tuple(first), tuple(end)) for since, first, end in values)
    if not all(type(each.since) is str and set(map(type, (*each.first, *each.end))) == {int} for each in found):
        raise TypeError("not changes")
    return found
