"""Options of several commands that are not settings of the config: how the work is done, and the token."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wkpipe.cluster.strategies import STRATEGIES, is_cluster


def given_path(text: str) -> Path:
    """Return a path argument; refuse an empty one, as from an unset shell variable, which is not the current directory."""
    if not text:
        raise typer.BadParameter("expected a path, found nothing")
    return Path(text)


@dataclass(frozen=True)
class WorkOptions:
    """How the work is done, apart from what it is; commands have some of these options."""

    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, max=4096, help="Cores to use, default: all that this process may use; on a cluster, jobs at once, default: 100."
        ),
    ] = None
    distribution_strategy: Annotated[str, typer.Option(help=f"Where jobs run: {', '.join(STRATEGIES)}.")] = "multiprocessing"
    job_resources: Annotated[
        str | None,
        typer.Option(
            help='Resources of each cluster job, by the cluster\'s names, as JSON like \'{"mem": "10M"}\' or as mem=4G,KEY=VALUE.'
        ),
    ] = None
    profile: Annotated[
        str | None, typer.Option(help="Snakemake profile to use, by its directory or name, instead of the strategy's own.")
    ] = None
    leave_jobs_running: Annotated[
        bool,
        typer.Option("--leave-jobs-running", help="Leave cluster jobs running on Ctrl-C; wait for those that an earlier run has left."),
    ] = False
    in_cluster: Annotated[
        bool,
        typer.Option(
            "--in-cluster",
            help="Run the main process in the cluster, too, and follow it from here; all paths are those of the cluster's volumes.",
        ),
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the plan and exit; nothing is written.")] = False
    break_lock: Annotated[bool, typer.Option("--break-lock", help="Take over a dataset from a run that is gone but looks alive.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress lines.")] = False

    @property
    def is_on_other_hosts(self) -> bool:
        """True if jobs run on other hosts than this one."""
        return is_cluster(self.distribution_strategy)


AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Token = Annotated[
    str | None, typer.Option(help="Token of the server. The process list shows it: better set WK_TOKEN, or give --token-file.")
]


def warn_of_token(token: str | None) -> None:
    """Warn of a token on the command line."""
    if token is not None:
        print("wkpipe: --token shows the token in the process list; better set WK_TOKEN, or give --token-file", file=sys.stderr)
