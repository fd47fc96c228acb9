"""``--in-cluster``: the same command, run by a main process in the cluster; nothing of this host is needed there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from wkpipe.errors import UsageError
from wkpipe.plan.config.setting import Setting

if TYPE_CHECKING:
    from wkpipe.cli.command import Settings
    from wkpipe.cli.options import WorkOptions

PASSED: Final = ("WKPIPE_DEBUG", "WKPIPE_RANGE_SECONDS")
"""The variables of this host that hold in the cluster, too. Paths in variables become options; a token has no use there."""


def run_in_cluster(settings: Settings, how: WorkOptions) -> None:
    """Run a command in the cluster, and end with its exit code.

    Raises:
        WkpipeError: it cannot run there.
        typer.Exit: with the exit code of the command in the cluster, which has shown its error.
    """
    from wkpipe.cluster.main_process import MainProcess
    from wkpipe.cluster.strategies import cluster_of, strategies_with_main_process
    from wkpipe.run.inside import run_inside
    from wkpipe.run.profiles import profile_path
    from wkpipe.run.strategy import most_jobs, requests_of
    from wkpipe.run.workflow_files import profile_directory
    from wkpipe.stored.locations import STATES_VARIABLE

    cluster = cluster_of(how.distribution_strategy)
    if cluster is None or cluster.inside is None:
        possible = " or ".join(strategies_with_main_process())
        raise UsageError(f"--in-cluster is for --distribution-strategy {possible}", fix="leave it out, or choose that strategy")
    if settings["state_dir"] is None and (states := os.environ.get(STATES_VARIABLE)):
        settings = settings.having(state_dir=states)
    config = settings.config()
    directory = profile_directory(cluster.key) if how.profile is None else profile_path(how.profile)
    asked, values = requests_of(cluster, how.job_resources, directory)
    if lost := [key for key in (f"{cluster.executor}-setup", f"{cluster.executor}-python") if key in values]:
        raise UsageError(f"{lost[0]} has no effect with --in-cluster", where=directory, fix="put what it does into the image")
    jobs = how.jobs or most_jobs(values)
    arguments = (
        *settings.arguments(),
        *("--distribution-strategy", cluster.key, *(["--jobs", str(jobs)] if jobs else [])),
        *("--job-resources", json.dumps({key: value for key, value in asked.items() if key != "context"}, sort_keys=True)),
        *(name for name, is_given in {"--dry-run": how.dry_run, "--break-lock": how.break_lock, "--quiet": how.quiet}.items() if is_given),
    )
    paths = {key: Path(settings[key]) for key in settings.values if Setting.of(key).kind is Path and settings[key] is not None}
    named = {Setting.of(key).names(settings.command)[0]: (key, path) for key, path in paths.items()}
    main = MainProcess(
        arguments,
        Path(config.target),
        read={name: path for name, (key, path) in named.items() if key == "source"},
        written={name: path for name, (key, path) in named.items() if key != "source"},
        variables={name: os.environ[name] for name in PASSED if name in os.environ},
        is_dry=how.dry_run,
    )
    if code := run_inside(cluster.inside(main, cluster.resources(asked)), how.leave_jobs_running, _say):
        raise typer.Exit(code)


def check_version() -> None:
    """Check, in the cluster, that the image has the version of wkpipe that has submitted this process.

    Raises:
        UsageError: it has another one.
    """
    from wkpipe import __version__
    from wkpipe.runs.job_note import VERSION_VARIABLE

    if (other := os.environ.get(VERSION_VARIABLE, __version__)) != __version__:
        raise UsageError(f"the image has wkpipe {__version__}, and wkpipe {other} has submitted this", fix="use the same version")


def _say(note: str) -> None:
    print(f"wkpipe: {note}", file=sys.stderr)
