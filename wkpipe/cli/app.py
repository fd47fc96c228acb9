"""The commands, and how they report errors: one line and the exit code of the error's class, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from wkpipe.cli.convert import convert
from wkpipe.cli.download import download
from wkpipe.cli.downsample import downsample
from wkpipe.cli.info import info
from wkpipe.cli.profile import profile
from wkpipe.cli.remote_convert import remote_convert
from wkpipe.cli.snakefile import snakefile
from wkpipe.cli.streams import lost_output
from wkpipe.cli.upload import upload
from wkpipe.cli.verify import verify
from wkpipe.errors import InputRefused, Interrupted, UsageError, WkpipeError, one_line
from wkpipe.storage.process import limit_reached

app = typer.Typer(
    name="wkpipe",
    help="Convert image stacks to WEBKNOSSOS datasets: fast, in bounded memory, resumable after any crash.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        from wkpipe.native.library import native, state

        native()  # refuses a wrong switch
        print(f"wkpipe {version('wkpipe')} (native engine: {state()})")
        raise typer.Exit


@app.callback()
def _options(
    _: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit."),
    debug: bool = typer.Option(False, "--debug", envvar="WKPIPE_DEBUG", help="Show tracebacks."),
) -> None:
    if debug:
        os.environ["WKPIPE_DEBUG"] = "1"


for command in (convert, downsample, remote_convert, upload, download, verify, info, snakefile):
    app.command()(command)
app.add_typer(profile, name="profile")


def run_app(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        result = app(list(arguments) or ["--help"], prog_name="wkpipe", standalone_mode=False)
        if result == Interrupted.exit_code:  # Typer's result of Ctrl-C, without a message
            return _explain("stopped", result)
        return _after_output(arguments, result if isinstance(result, int) else 0)
    except WkpipeError as error:
        return _explain(str(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _explain("stopped", Interrupted.exit_code)
    except (OSError, RuntimeError, MemoryError) as error:
        if (reason := limit_reached(error)) is not None:
            return _explain(reason, WkpipeError.exit_code)
        if not isinstance(error, OSError):
            return _defect(error)
        where = error.filename or "the system"
        return _explain(f"{where}: {error.strerror or error}; check that path and its permissions", InputRefused.exit_code)
    except Exception as error:
        # Typer's usage errors have no public base class, but they all have this method.
        if (explain := getattr(error, "format_message", None)) is not None:
            return _explain(f"{explain()} (see --help)", UsageError.exit_code)
        return _defect(error)


def _defect(error: Exception) -> int:
    return _explain(
        f"a defect of wkpipe: {type(error).__name__}: {error}; run again with WKPIPE_DEBUG=1 and report it", WkpipeError.exit_code
    )


def _after_output(arguments: Sequence[str], code: int) -> int:
    """Report lost output; return its exit code if printing is all that the command does, else `code`."""
    if not (reason := lost_output()):
        return code
    is_all = bool({"info", "snakefile"} & {*arguments[:2]})
    return _explain(f"the output could not be written: {reason}", InputRefused.exit_code if is_all and code == 0 else code)


def _explain(message: str, exit_code: int) -> int:
    if os.environ.get("WKPIPE_DEBUG") and sys.exc_info()[1] is not None:
        traceback.print_exc()
    print(f"wkpipe: {one_line(message)}", file=sys.stderr)
    return exit_code
