"""Plain aligned text for `wkpipe.verify.summary`."""

from __future__ import annotations

from collections.abc import Sequence

_NUMERIC = frozenset({"shards", "size", "proven", "done"})


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Return a table as lines: columns as wide as needed, numbers aligned at the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [_line(header, header, widths, indent), *(_line(row, header, widths, indent) for row in rows)]


def _line(cells: Sequence[str], header: Sequence[str], widths: Sequence[int], indent: str) -> str:
    padded = [cell.rjust(width) if name in _NUMERIC else cell.ljust(width) for cell, name, width in zip(cells, header, widths, strict=True)]
    return (indent + "  ".join(padded)).rstrip()


def bytes_text(size: int) -> str:
    """Return an amount of bytes in decimal units."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):  # noqa: B007  (the last one remains)
        if value < 1000:
            break
        value /= 1000
    else:
        unit = "PB"
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def triple(values: Sequence[int], separator: str = "x") -> str:
    """Return three values as a text without spaces."""
    return separator.join(map(str, values))
