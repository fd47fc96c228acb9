"""Run fuzz cases in a process of their own, which can be limited and may die.

    python tests/torture/fuzz.py KIND FIRST COUNT SCRATCH

runs the cases FIRST to FIRST + COUNT - 1 of a kind (see fuzz_cases.py); a case is the same every time. Each failure is a
line of JSON on stdout, and so is the summary at the end. SCRATCH is a directory for this process, created if missing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    # A dependency has a package of the same name, which Python prefers to a directory without __init__.py.
    package = ModuleType("tests")
    package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["tests"] = package

    from tests.torture.fuzz_worker import run_cases

    kind, first, count, scratch = sys.argv[1:]
    sys.exit(1 if run_cases(kind, int(first), int(count), Path(scratch)) else 0)
