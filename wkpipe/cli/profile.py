"""``wkpipe profile``: Snakemake's profiles of the distribution strategies."""

from __future__ import annotations

from typing import Annotated

import typer

from wkpipe.cluster.strategies import STRATEGIES

profile = typer.Typer()


@profile.callback()
def _group() -> None:
    """Manage Snakemake's profiles of the distribution strategies, for plain `snakemake --profile NAME`."""


@profile.command()
def install(
    strategy: Annotated[str, typer.Argument(metavar="PROFILE", help=f"Profile to install: {', '.join(STRATEGIES)}.")],
    name: Annotated[str | None, typer.Option(help="Name of the copy; default: that of the profile.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist and differ.")] = False,
) -> None:
    """Copy a profile to ~/.config/snakemake, or below XDG_CONFIG_HOME, where Snakemake finds it by its name from any directory."""
    import shlex

    from wkpipe.run.profiles import install_profile
    from wkpipe.run.workflow_files import workflow_root

    new_name = strategy if name is None else name
    print(f"installed {install_profile(strategy, new_name, force)}: adapt it to your site")
    print(f"config of a run: copy {workflow_root() / 'config' / 'config.yaml'}, and set its keys")
    print(f'then, anywhere: snakemake --profile {shlex.quote(new_name)} --snakefile "$(wkpipe snakefile)" --configfile YOUR_COPY')
