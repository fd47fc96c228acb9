"""Setting: a field of the config, as the command line and the generated files present it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from wkpipe.plan.config.config import Config
from wkpipe.plan.config.option import Option

_PLAIN: tuple[type, ...] = (bool, int, Path)


@dataclass(frozen=True)
class Setting:
    """A setting of the config.

    kind: the type of its value: ``bool``, ``int``, ``Path``, ``list`` of texts, or ``str`` for everything else. default: None if
    there is none. choices: the possible values; () = any. least, most: the limits of a number; None = no limit.
    """

    key: str
    kind: type
    default: Any
    choices: tuple[str, ...]
    least: int | None
    most: int | None
    description: str
    options: tuple[Option, ...]

    @classmethod
    def of(cls, key: str) -> Setting:
        """Return the setting of a key.

        Raises:
            KeyError: there is no such key.
        """
        field: FieldInfo = Config.model_fields[key]
        kind, choices = _kind(field.annotation)
        return cls(
            key=key,
            kind=kind,
            default=None if field.is_required() else field.default,
            choices=choices,
            least=next((part.ge for part in field.metadata if hasattr(part, "ge")), None),
            most=next((part.le for part in field.metadata if hasattr(part, "le")), None),
            description=field.description or "",
            options=tuple(part for part in field.metadata if isinstance(part, Option)),
        )

    @classmethod
    def all(cls) -> tuple[Setting, ...]:
        """Return all settings, in the order of the config file."""
        return tuple(map(cls.of, Config.model_fields))

    def option(self, command: str) -> Option:
        """Return how a command spells the setting."""
        return next((each for each in self.options if command in each.of), None) or next(
            (each for each in self.options if not each.of), Option()
        )

    def names(self, command: str) -> tuple[str, ...]:
        """Return the names of the setting's option, or the name of its argument."""
        option = self.option(command)
        return (option.argument,) if option.argument else option.names or ("--" + self.key.replace("_", "-"),)

    def text(self, command: str | None = None) -> str:
        """Return a command's description of the setting; without a command, the description in the config file."""
        text = self.description if command is None else self.option(command).text or self.description
        if self.choices:
            return f"{text} One of {', '.join(self.choices)}."
        if self.most is not None:
            return f"{text} From {self.least} to {self.most}."
        return text if self.least is None else f"{text} At least {self.least}."


def _kind(annotation: Any) -> tuple[type, tuple[str, ...]]:
    """Return the kind of a setting of this type, and its possible values."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return str, get_args(annotation)
    if get_origin(annotation) is list:
        return list, ()
    if NoneType in (inner := get_args(annotation)):
        return _kind(inner[0])
    return (annotation if annotation in _PLAIN else str), ()
