"""Config: all settings of a run, and how values from outside become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ConfigDict, ValidationError

from wkpipe.errors import UsageError, one_line
from wkpipe.plan.config.arrangement import ArrangementConfig
from wkpipe.plan.config.common import CommonConfig
from wkpipe.plan.config.content import ContentConfig
from wkpipe.plan.config.convert import ConvertConfig
from wkpipe.plan.config.download import DownloadConfig
from wkpipe.plan.config.downsample import DownsampleConfig
from wkpipe.plan.config.grouping import GroupingConfig
from wkpipe.plan.config.upload import UploadConfig


class Config(DownloadConfig, UploadConfig, DownsampleConfig, ArrangementConfig, ContentConfig, GroupingConfig, ConvertConfig, CommonConfig):
    """All settings of a run: what to do with which data.

    With `source`, images are converted into the dataset `target`. Without, the layers of an existing dataset are
    downsampled, unless `downsample` is off. With `webknossos_url`, the dataset is then uploaded. With `download_url`, the
    dataset is downloaded from a server, with the mags that it has there. Shapes and sizes are in the order x, y, z.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> dict[str, Any]:
        """Return the values that differ from the defaults, as JSON."""
        return self.model_dump(mode="json", exclude_defaults=True)


def load_config(values: Any, where: str, spell: Callable[[str], str] = str) -> Config:
    """Return the config that the values of a config file or a command line make.

    `spell` returns the name of a key that the user knows.

    Raises:
        UsageError: a value is missing, unknown or wrong; one line names `where`, the key, and what was found and expected.
    """
    if not isinstance(values, dict):
        raise UsageError(where=where, found=type(values).__name__, expected="keys and values")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = [_explained(problem, where, spell) for problem in error.errors()[:3]]
        raise (problems[0] if len(problems) == 1 else UsageError("; ".join(map(str, problems)))) from None


def _explained(problem: Any, where: str, spell: Callable[[str], str]) -> UsageError:
    key = one_line(problem["loc"][0], 60) if problem["loc"] else "config"
    if problem["type"] == "extra_forbidden":
        return UsageError(f"unknown key {key}", where=where, fix=f"choose one of {', '.join(Config.model_fields)}")
    if problem["type"] == "missing":
        return UsageError(f"{spell(key)} is missing ({Config.model_fields[key].description})", where=where)
    message = problem["msg"].removeprefix("Value error, ")
    found = f"{spell(key)} {one_line(repr(problem['input']), 120)} is not valid"
    return UsageError(f"{found}: {message[0].lower()}{one_line(message[1:], 300)}", where=where)
