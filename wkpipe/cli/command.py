"""Command lines made from the fields of the config, which define each setting once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from wkpipe.cli.options import WorkOptions, given_path
from wkpipe.plan.config.setting import Setting

if TYPE_CHECKING:
    from wkpipe.plan.config import Config


@dataclass(frozen=True)
class Settings:
    """The values that a command line gives for keys of the config; None = not given."""

    command: str
    values: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def having(self, **values: Any) -> Settings:
        """Return the same settings with these values added."""
        return replace(self, values={**self.values, **values})

    def arguments(self) -> list[str]:
        """Return the command line, from the name of the command on, that gives these values."""
        found = [self.command]
        for setting in map(Setting.of, self.values):
            value, name = self.values[setting.key], setting.names(self.command)[0]
            if value is None or value == setting.default:
                continue
            if setting.option(self.command).argument:
                found.append(str(value))
            elif setting.kind is bool:
                found.append(name if value else f"--no-{name.removeprefix('--')}")
            else:
                found += [text for part in (value if isinstance(value, list) else [value]) for text in (name, str(part))]
        return found

    def config(self) -> Config:
        """Return the config.

        Raises:
            UsageError: a value is not valid; the error names the option as the command spells it.
        """
        from wkpipe.plan.config import load_config

        given = {key: value for key, value in self.values.items() if value is not None}
        return load_config(given, "command line", lambda key: Setting.of(key).names(self.command)[0])


def command(order: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a function a command line with these arguments and options, in this order.

    Each name is a parameter of the function with Typer's annotation, a field of `WorkOptions`, or a key of the config. The
    values of the latter two are passed in parameters of the same name if the function has them, else in `how` and
    `settings`.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        said = function.__name__.replace("_", "-")
        own = inspect.signature(function, eval_str=True).parameters
        work = get_type_hints(WorkOptions, include_extras=True)
        parameters = [_parameter(name, said, own, work) for name in order.split()]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            arguments = {name: value for name, value in given.items() if name in own}
            rest = {name: value for name, value in given.items() if name not in own}
            if "how" in own:
                arguments["how"] = WorkOptions(**{name: value for name, value in rest.items() if name in work})
            if "settings" in own:
                arguments["settings"] = Settings(said, {name: _plain(value) for name, value in rest.items() if name not in work})
            function(**arguments)

        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _parameter(name: str, said: str, own: Mapping[str, inspect.Parameter], work: Mapping[str, Any]) -> inspect.Parameter:
    """Return the parameter with this name as Typer reads it."""
    if (mine := own.get(name)) is not None and hasattr(mine.annotation, "__metadata__"):
        return mine
    if name in work:
        default = WorkOptions.__dataclass_fields__[name].default
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=work[name], default=default)
    setting = Setting.of(name)
    default, annotation = _option(setting, said)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _option(setting: Setting, said: str) -> tuple[Any, Any]:
    """Return the default and the annotation from which Typer makes the option or argument of a setting.

    Choices and ranges are only in the text: the config checks them, and its errors say what was found.
    """
    option, text = setting.option(said), setting.text(said)
    if option.argument:
        return inspect.Parameter.empty, Annotated[Path, typer.Argument(parser=given_path, metavar=option.argument, help=text)]
    names = setting.names(said)
    if setting.kind is bool and setting.default:
        names = tuple(f"{name}/--no-{name.removeprefix('--')}" for name in names)
    made = typer.Option(*names, help=text, envvar=option.variable)
    kind: Any = list[str] if setting.kind is list else setting.kind
    default = setting.default or None if setting.kind is list else setting.default
    return inspect.Parameter.empty if option.is_required else default, Annotated[kind if default is not None else kind | None, made]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
