"""Texts are plain English: the words that the project has agreed not to use are nowhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

NOT_USED = {
    r"\bcan not\b": "cannot",
    r"\banew\b": "again, rebuilt",
    r"\b(lies|lie|lay) (in|there|on|beside|below|at|with|under|inside|outside|within|where)\b": "is in, is stored in",
    r"\bgoes? on from (there|where)\b": "resumes",
    r"\b(tells|told|tell)\b": "reports, says, is given",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bso (many|much)\b(?! (of|that|as|more|larger))": "this many, up to N",
    r"\bof (ours|another's)\b": "wkpipe's own, another tool's",
    r"\b(Tell|Return) whether\b": "True if",
    r"\b(that which|what is pending)\b": "a noun",
    r"\b(by which|whereby|[Hh]old(s|ing)? (\w+ )*?against|held against)\b": "that, compare with",
    r"\bNone where\b": "None if",
}
"""Patterns with what to write instead."""

ALLOWED = {
    "tests/architecture/test_english.py": "names the patterns",
    "wkpipe/verify/report.py": "a key of the report's JSON",
}

ROOT = Path(__file__).resolve().parents[2]
BINARY = (".zip", ".npz", ".png", ".tif", ".jsonl")


def texts() -> list[str]:
    """Return the paths of all files with texts of the project."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.decode().split("\0")
    return [name for name in listed if name and not name.startswith(("tests/data/", "LICENSE")) and not name.endswith(BINARY)]


def test_the_texts_are_plain_english() -> None:
    names = texts()
    if not names:
        pytest.skip("this is no clone: git lists no files")
    hits = []
    for name in names:
        path = ROOT / name
        if name in ALLOWED or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
            hits += [f"{name}:{number}: {found[0]!r}: {better}" for words, better in NOT_USED.items() if (found := re.search(words, line))]
    assert not hits


@pytest.mark.parametrize(
    "text", ["it can not be", "made anew", "it lies in the tmp", "who tells", "the mend", "so many", "None where there is none"]
)
def test_the_patterns_find_what_they_are_for(text: str) -> None:
    assert any(re.search(words, text) for words in NOT_USED)
