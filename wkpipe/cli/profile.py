"""``wkpipe profile``: Snakemake's profiles of the distribution strategies."""

from __future__ import annotations

from typing import Annotated

import typer

profile = typer.Typer()


@profile.callback()
def _group() -> None:
    """Snakemake's profiles of the distribution strategies, for plain `snakemake --profile NAME`."""


@profile.command()
def install(
    strategy: Annotated[str, typer.Argument(metavar="PROFILE", help="Profile to install: multiprocessing, sequential, slurm.")],
    name: Annotated[str | None, typer.Option(help="Name that it gets; default: its own.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there and differs.")] = False,
) -> None:
    """Copy a profile to where Snakemake finds it by its name from any directory: ~/.config/snakemake, or below XDG_CONFIG_HOME."""
    import shlex

    from wkpipe.run.profiles import install_profile
    from wkpipe.run.workflow_files import workflow_root

    new_name = strategy if name is None else name
    print(f"installed {install_profile(strategy, new_name, force)}: fit it to your site")
    print(f"config of a run: copy {workflow_root() / 'config' / 'config.yaml'}, and set its keys")
    print(f'then, anywhere: snakemake --profile {shlex.quote(new_name)} --snakefile "$(wkpipe snakefile)" --configfile YOUR_COPY')
