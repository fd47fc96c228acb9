"""``wkpipe snakefile``: print the path of the workflow."""

from __future__ import annotations


def snakefile() -> None:
    """Print the path of the workflow, for plain Snakemake: snakemake --snakefile "$(wkpipe snakefile)" …"""
    from wkpipe.run.workflow_files import workflow_root

    print(workflow_root() / "Snakefile")
