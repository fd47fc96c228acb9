"""The pages of the API are complete and say what is so."""

from __future__ import annotations

import wkpipe
from tests.api_coverage import MISSING, TABLE, rows, table
from tests.api_reference import CHAPTERS, PAGE, page


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.api_reference"


def test_the_reference_has_all_public_classes() -> None:
    listed = {getattr(wkpipe, name) for names in CHAPTERS.values() for name in names}
    public = {getattr(wkpipe, name) for name in wkpipe.__all__ if isinstance(getattr(wkpipe, name), type)}
    assert {kind for kind in public - listed if not issubclass(kind, Exception)} == set()


def test_the_table_is_up_to_date() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(), "run: python -m tests.api_coverage"


def test_everything_that_is_missing_has_a_reason() -> None:
    assert not [f"{row.name}: {what}" for row in rows() for what, why in zip(row.lacks, row.reasons, strict=True) if why == "no reason"]


def test_no_reason_is_left_for_what_is_there() -> None:
    lacking = {f"{row.name}({what})" if what != "all" else row.name for row in rows() for what in row.lacks}
    used = {name.partition(".")[2] or name for name in lacking} | lacking
    used |= {name.replace("()", "") for name in used}
    assert not {key for key in MISSING if key not in used}
