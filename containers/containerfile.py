"""Read a Containerfile of the few instructions that an image from layers needs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Recipe:
    """An image: its layers, in order, and the `config` object of the OCI image specification."""

    layers: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


def read_recipe(text: str, arguments: Mapping[str, str]) -> Recipe:
    """Read a Containerfile; `arguments` are the values of ARG.

    Raises:
        ValueError: an instruction is not one of those that are known here.
    """
    recipe = Recipe()
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        for name, value in arguments.items():
            rest = rest.replace(f"${{{name}}}", value)
        if word == "ADD" and rest.endswith(".tar /"):
            recipe.layers.append(rest.removesuffix(" /"))
        elif word in _SETTINGS:
            key, read = _SETTINGS[word]
            recipe.settings[key] = read(rest)
        elif (word, rest) != ("FROM", "scratch") and (word != "ARG" or rest not in arguments):
            raise ValueError(f"Containerfile: {line!r} is not understood by containers/containerfile.py")
    return recipe


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(text))


_SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "LABEL": ("Labels", _pairs),
    "ENV": ("Env", shlex.split),
    "USER": ("User", str),
    "WORKDIR": ("WorkingDir", str),
    "ENTRYPOINT": ("Entrypoint", json.loads),
    "CMD": ("Cmd", json.loads),
}
"""The field of each instruction, and how its text becomes a value."""
