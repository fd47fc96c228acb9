"""ConfigPart: what the parts of the config have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigPart(BaseModel):
    """A part of the config. Its own validator, which nobody uses, is not built: every process would wait for it."""

    model_config = ConfigDict(defer_build=True)
