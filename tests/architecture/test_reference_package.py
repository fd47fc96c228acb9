"""The installed reference package has the version that the comparing tests were written for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest


@pytest.mark.reference
def test_reference_package_has_the_version_that_the_makefile_pins(root: Path, reference_python: Path) -> None:
    pin = re.search(r"^REFERENCE_VERSION := (\S+)$", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert pin is not None
    code = "import importlib.metadata, webknossos; print(importlib.metadata.version('webknossos'))"
    result = subprocess.run([reference_python, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split()[-1] == pin[1]
