"""Find the workflow's files: beside the package in a clone or editable install, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

from wkpipe.errors import UsageError


def workflow_root() -> Path:
    """Return the directory with Snakefile, workflow/, config/ and profiles/.

    Raises:
        UsageError: the installation is not complete.
    """
    package = Path(__file__).resolve().parents[1]
    for root in (package / "_workflow", package.parent):
        if (root / "Snakefile").is_file() and (root / "workflow" / "rules").is_dir():
            return root
    raise UsageError(f"the workflow's files are missing beside {package}", fix="install wkpipe again")


def profile_directory(strategy: str) -> Path:
    """Return the Snakemake profile of a distribution strategy."""
    return workflow_root() / "profiles" / strategy
