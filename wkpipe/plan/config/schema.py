"""The config as a JSON schema and as a commented file, both generated so that they always match the code.

``python -m wkpipe.plan.config.schema DIRECTORY`` writes both into a repository with this root.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

from wkpipe.plan.config.config import Config
from wkpipe.plan.config.setting import Setting

SCHEMA_PATH = "workflow/schemas/config.schema.yaml"
CONFIG_PATH = "config/config.yaml"
_WIDTH = 120
_HEAD = """\
# The config of a run: every key with its default. Copy this file, set `target` (and `source` to
# convert images), and run:  snakemake --profile profiles/multiprocessing --configfile YOUR_COPY
"""


def schema_text() -> str:
    """Return the JSON schema of the config, as YAML."""
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["required"] = []  # the file of defaults has no target
    schema["properties"]["target"] = {
        "anyOf": [schema["properties"]["target"], {"type": "null"}],
        "description": Setting.of("target").description,
    }
    schema["properties"]["wkpipe_run"] = {"type": "string", "description": "Set by wkpipe itself: the directory of the run."}
    return yaml.safe_dump(_plain(schema), sort_keys=False, width=120, allow_unicode=True)


def config_text() -> str:
    """Return the file of defaults, with a heading for every part and a comment for every key."""
    lines = [_HEAD]
    headings = {next(iter(part.__annotations__)): part.__doc__ for part in Config.__bases__}
    for setting in Setting.all():
        if heading := headings.get(setting.key):
            lines.append(f"# ---- {heading}\n")
        default = setting.default
        text = "" if default is None else " " + yaml.safe_dump(default, default_flow_style=True).removesuffix("...\n").strip()
        about = textwrap.fill(setting.text(), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        lines.append(f"{about}\n{setting.key}:{text}\n")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    for path, text in ((SCHEMA_PATH, schema_text()), (CONFIG_PATH, config_text())):
        (Path(sys.argv[1]) / path).write_text(text, encoding="utf-8")
