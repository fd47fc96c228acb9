"""Only a backend, its plugin and the table of strategies name a cluster: code for all clusters is written once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "wkpipe"
WORDS = {
    "slurm": re.compile(r"slurm|sbatch|squeue|sacct|scancel|sinfo", re.IGNORECASE),
    "kubernetes": re.compile(r"kubernetes|kubectl|kubelet|\bpods?\b", re.IGNORECASE),
}

ALLOWED = {
    # path below wkpipe: why it names clusters
    "cluster/strategies.py": "the table of strategies",
}


def _names(text: str, cluster: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if WORDS[cluster].search(line)]


@pytest.mark.parametrize("cluster", WORDS)
@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_names_a_cluster(path: Path, cluster: str) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    found = _names(path.read_text(encoding="utf-8"), cluster)
    if name.startswith(f"cluster/{cluster}/"):
        return
    assert bool(found) == (name in ALLOWED), f"{name} names a cluster: move it to wkpipe/cluster/{cluster}. {found}"


@pytest.mark.parametrize("cluster", WORDS)
@pytest.mark.parametrize("directory", ["workflow", "config"])
def test_the_workflow_names_no_cluster(directory: str, cluster: str) -> None:
    for path in (PACKAGE.parent / directory).rglob("*"):
        assert not path.is_file() or "__pycache__" in path.parts or not _names(path.read_text(encoding="utf-8"), cluster), path


def test_the_check_sees_what_it_is_for() -> None:
    assert _names('a = os.environ["SLURM_JOB_ID"]\nb = 1\n"""Slurm does not answer"""\nrun(["sbatch"])\n', "slurm") == [
        'a = os.environ["SLURM_JOB_ID"]', '"""Slurm does not answer"""', 'run(["sbatch"])'
    ]  # fmt: skip
    assert _names('"""The pod is gone."""\na = tripods\nimport kubernetes\n', "kubernetes") == [
        '"""The pod is gone."""',
        "import kubernetes",
    ]


def test_options_are_not_kept_in_modules() -> None:
    """A list, dict or set at the top of a module that functions change would be a hidden way to pass options."""
    for path in sorted((PACKAGE / "cluster").rglob("*.py")):
        found = re.findall(
            r"^_?[a-z]\w*(?:: [^=]+)? = (?:\[\]|\{\}|set\(\)|None)$|^\s+global ", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert not found, f"{path}: {found}"
