"""The command lines: the names and the order of their options; all descriptions of settings come from the config."""

from __future__ import annotations

import re

import pytest
import typer

from wkpipe.cli.app import app, run_app
from wkpipe.plan.config import Config
from wkpipe.plan.config.setting import Setting

WORK = "--jobs --distribution-strategy --job-resources --profile"
FILES = "--family --pattern --missing-slices --concat --spool-dir"
CONTENT = "--series --channels --max-layers --sparse --rgb-labels --rgb --bilevel --dtype --rescale-min-max"
PLACE = "--mag --topleft --bbox --swap-xy --flip-x --flip-y --flip-z --padding"
LAYOUT = "--data-format --chunk-shape --shard-shape --compress/--no-compress --compression-level"
MAGS = "--downsample/--no-downsample --max-mag --interpolation-mode --sampling-mode"
END = "-n,--dry-run --break-lock -q,--quiet"
COMMAND_LINES = {
    "convert": f"SOURCE TARGET --voxel-size --unit --name --layer-name --category {FILES} {CONTENT} {PLACE} {LAYOUT} --batch-size "
    f"--overwrite-existing {MAGS} {WORK} --leave-jobs-running --in-cluster --ignore-disk-space --state-dir {END}",
    "downsample": "TARGET --sampling-mode --layer-name --coarsest-mag --interpolation-mode --compression-level --overwrite-existing "
    f"--repair --trust-empty --missing-shards {WORK} --leave-jobs-running --in-cluster --ignore-disk-space --state-dir {END}",
    "upload": "TARGET --webknossos-url --token --token-file --dataset-name --folder --layer-name,--layer --finest-mag --coarsest-mag "
    "--datastore --transfer-mode --jobs --chunk-size --allow-http --ca-file --proxy --again --status --cancel -n,--dry-run --json "
    "--state-dir -q,--quiet",
    "download": "URL_OR_NAME [TARGET] --url --webknossos-url --token --token-file --bbox --layer,--layer-name --mag --name "
    f"{LAYOUT} --overwrite-existing --allow-http --ca-file --proxy {WORK} --ignore-disk-space --state-dir {END}",
    "remote-convert": "SOURCE --voxel-size --webknossos-url --token --token-file --dataset-name --folder --datastore --again --allow-http "
    f"--ca-file --proxy --unit --layer-name --category {FILES} {CONTENT} {PLACE} {LAYOUT} --batch-size {MAGS} --work-dir "
    f"{WORK} --leave-jobs-running --ignore-disk-space {END}",
    "verify": f"TARGET --layer-name,--layer --mag --sample --seed --part --deep --repair --adopt --forget {WORK} --json --state-dir "
    "--break-lock -q,--quiet",
    "info": "TARGET --json --state-dir",
}
"""The names are those of the reference's commands, and scripts use them: they do not change."""


def parameters(command: str) -> list[typer.core.TyperArgument | typer.core.TyperOption]:
    return list(typer.main.get_command(app).commands[command].params)  # type: ignore[attr-defined]


def spelled(parameter: typer.core.TyperArgument | typer.core.TyperOption) -> str:
    if isinstance(parameter, typer.core.TyperArgument):
        return str(parameter.metavar)
    names = ",".join(sorted(parameter.opts, key=len) if min(map(len, parameter.opts)) == 2 else parameter.opts)
    return "/".join([names, *parameter.secondary_opts])


def settings(command: str) -> list[tuple[Setting, typer.core.TyperOption]]:
    """Return the options of a command that are made from fields of the config; an equal name with another meaning is left out."""
    fields = {name: Setting.of(name) for name in Config.model_fields}
    own = {("download", "webknossos_url"), ("verify", "layer_name"), ("verify", "repair"), ("verify", "mag")}
    return [
        (fields[each.name], each)
        for each in parameters(command)
        if isinstance(each, typer.core.TyperOption) and each.name in fields and (command, each.name) not in own
    ]


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_names_and_order_stay(command: str) -> None:
    assert " ".join(map(spelled, parameters(command))) == COMMAND_LINES[command]


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_options_have_defaults_ranges_and_choices_of_their_fields(command: str) -> None:
    for setting, option in settings(command):
        assert (option.default or None) == (setting.default or None), setting.key
        assert option.help == setting.text(command)
        for limit in (*setting.choices, setting.least, setting.most):
            assert limit is None or str(limit) in option.help, setting.key


def test_every_setting_is_an_option_of_a_command() -> None:
    offered = {setting.key for command in COMMAND_LINES for setting, _ in settings(command)}
    elsewhere = {"source", "target"}, {"download_url"}, {"upload_chunk_mib"}  # arguments; also found by its name; --chunk-size in bytes
    in_files = {"layer_mapping", "layer_files", "file_order", "only_listed"}  # what functions of scripts say; a config may have it too
    assert offered | set().union(*elsewhere, in_files) == Config.model_fields.keys()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("convert images out --voxel-size 1,1,1 --max-mag x", "--max-mag 'x' is not valid"),
        ("downsample out --coarsest-mag x", "--coarsest-mag 'x' is not valid"),
        ("downsample out --sampling-mode odd", "--sampling-mode 'odd' is not valid.*'constant_z'"),
        ("convert images out --voxel-size 1,1,1 --compression-level 23", "--compression-level 23 is not valid.*22"),
        ("convert images out --voxel-size 1,1,1 --batch-size 0", "--batch-size 0 is not valid.*1"),
        ("upload out --finest-mag 3", "--finest-mag '3' is not valid"),
        ("upload out --jobs 65", "--jobs 65 is not valid.*64"),
        ("convert images", "Missing argument 'TARGET'"),
        ("convert images out --rescale-min-max 9,3", "--rescale-min-max '9,3' is not valid: expected two numbers, the smaller one first"),
        ("convert images out --channels ,", "--channels ',' is not valid: expected numbers or names, like 0,3,DAPI"),
        ("convert images out --bilevel 0/2", "--bilevel '0/2' is not valid.*'0/1' or '0/255'"),
        ("convert images out --dtype float64", "--dtype 'float64' is not valid.*'float32'"),
    ],
)
def test_errors_name_the_option_as_the_command_spells_it(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(arguments.split()) == 2
    assert re.search(words, error := capsys.readouterr().err), error
    assert error.count("\n") == 1
