"""Old ways to call the API: a table of them, and the decorator that turns such a call into a present one.

A parameter that got another name, or that is better written in another way, has a row in `OLD_CALLS`. So has a call that
gave by position a value that now has a name. The signatures themselves have only the present parameters.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from wkpipe.dataset.caller import warn_caller
from wkpipe.errors import InputRefused
from wkpipe.metadata.element_class import dtype_per_channel

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class OldName:
    """The present name of an old parameter.

    now: the parameter that takes its value; it may be the same one, if only its use is discouraged. advice: the parameter to
    recommend, if it is not `now`. warns: False for a second name that stays. convert: makes the present value of the old one
    and of all values that the call names.
    """

    now: str
    advice: str = ""
    warns: bool = True
    convert: Callable[[Any, Mapping[str, Any]], Any] = lambda value, _: value


@dataclass(frozen=True)
class OldCall:
    """How a function was called: old names of parameters, and parameters that were given by position but no longer may be.

    unused: parameters that `webknossos` accepts and does not use, with the function that uses them.
    """

    names: Mapping[str, OldName] = field(default_factory=dict)
    positions: tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)


def _of_one_channel(dtype_per_layer: DTypeLike, given: Mapping[str, Any]) -> np.dtype[Any]:
    """Return the dtype of one channel, from that of all channels together, such as ``uint24``."""
    name = dtype_per_layer if isinstance(dtype_per_layer, str) else np.dtype(dtype_per_layer).name
    box = given.get("bounding_box")
    return dtype_per_channel(name, given.get("num_channels") or (1 if box is None else box.size_of("c")))


def _aligned(value: Any, _: Mapping[str, Any]) -> Any:
    """Return what to align with; in the oldest calls, a number in this position was the edge of a buffer."""
    return True if isinstance(value, int) and not isinstance(value, bool) else value


_DTYPE: Final = OldCall(
    {
        "dtype_per_channel": OldName("dtype", warns=False),
        "dtype_per_layer": OldName("dtype", convert=_of_one_channel),
    },
    positions=("dtype_per_layer", "dtype_per_channel", "num_channels", "data_format"),
    unused=dict.fromkeys(("chunk_shape", "shard_shape", "chunks_per_shard", "compress"), "add_mag"),
)
_SHAPES: Final = OldCall(
    {
        "chunk_size": OldName("chunk_shape"),
        "block_len": OldName("chunk_shape"),
        "file_len": OldName("chunks_per_shard", advice="shard_shape"),
        "chunks_per_shard": OldName("chunks_per_shard", advice="shard_shape"),
    },
    positions=("chunk_shape", "chunks_per_shard", "compress"),
)

_PER_SHARD: Final = {"chunks_per_shard": OldName("chunks_per_shard", advice="shard_shape")}

_BUFFERS: Final = {
    "buffer_edge_len": OldName("buffer_shape"),
    "args": OldName("executor", convert=lambda _args, _: None),  # which strategy it names does not change the result
}

OLD_CALLS: Final[Mapping[str, OldCall]] = {
    "Dataset.__init__": OldCall({"scale": OldName("voxel_size")}),
    "Dataset.from_images": OldCall({"max_mag": OldName("coarsest_mag", warns=False), **_PER_SHARD}),
    "Dataset.add_layer_from_images": OldCall(_PER_SHARD),
    "Dataset.add_layer": _DTYPE,
    "Dataset.add_layer_for_existing_files": OldCall(_DTYPE.names),
    "Dataset.get_or_add_layer": _DTYPE,
    "Layer.add_mag": _SHAPES,
    "Layer.get_or_add_mag": _SHAPES,
    "Layer.add_symlink_mag": OldCall({"foreign_mag_path": OldName("foreign_mag_view_or_path")}),
    "Layer.add_mag_as_copy": OldCall(_PER_SHARD),
    "Layer.add_copy_mag": OldCall(
        {"foreign_mag_path": OldName("foreign_mag_view_or_path"), **_PER_SHARD},
        positions=("extend_layer_bounding_box", "chunk_shape", "chunks_per_shard", "compress", "executor"),
    ),
    "Dataset.add_layer_as_copy": OldCall(_PER_SHARD),
    "Dataset.add_copy_layer": OldCall(_PER_SHARD),
    "Dataset.copy_dataset": OldCall(_PER_SHARD),
    "Layer.downsample": OldCall(
        {
            "max_mag": OldName("coarsest_mag"),
            "align_with_other_layers": OldName("align_with_other_layers", warns=False, convert=_aligned),
            **_BUFFERS,
        },
        positions=(
            "align_with_other_layers",
            "buffer_shape",
            "force_sampling_scheme",
            "args",
            "allow_overwrite",
            "only_setup_mags",
            "executor",
        ),
    ),
    "Layer.downsample_mag": OldCall(_BUFFERS, positions=("buffer_shape", "args", "allow_overwrite", "only_setup_mag", "executor")),
    "Layer.downsample_mag_list": OldCall(_BUFFERS, positions=("buffer_shape", "args", "allow_overwrite", "only_setup_mags", "executor")),
    "Layer.redownsample": OldCall(_BUFFERS, positions=("buffer_shape", "args", "executor")),
    "Layer.upsample": OldCall({"min_mag": OldName("finest_mag")}),
}
"""All accepted old calls, by the name of the public function."""


def accepts_old_calls(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function accept its row of `OLD_CALLS`; old names warn with the caller's line."""
    return functools.partial(translating, name, OLD_CALLS[name])


def translating(name: str, old: OldCall, function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` with old calls translated.

    Raises:
        InputRefused: a call gives a parameter by two of its names.
    """
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    limit = kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)

    @functools.wraps(function)
    def translated(*args: P.args, **kwargs: P.kwargs) -> R:
        by_position: tuple[Any, ...] = args
        by_name = _renamed(old.names, _without_unused(name, old, kwargs))
        if old.positions and len(args) > limit:
            by_position, by_name = args[:limit], _named(name, old, args[limit:], by_name)
        return function(*by_position, **by_name)

    return translated


def _without_unused(name: str, old: OldCall, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values without those that the function does not use, and warn of these."""
    for unused in sorted(old.unused.keys() & given.keys()):
        warn_caller(f"{name} does not use {unused}={given[unused]}; give it to {old.unused[unused]}")
    return {key: value for key, value in given.items() if key not in old.unused}


def _named(name: str, old: OldCall, extra: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a call gave by position but must name now; None counts as not given.

    Raises:
        TypeError: there are more values than the function ever took, or one is also given by name.
    """
    if len(extra) > len(old.positions):
        raise TypeError(f"{name}() takes at most {len(old.positions)} more positional arguments, but {len(extra)} were given")
    rows = [old.names.get(position, OldName(position)) for position in old.positions[: len(extra)]]
    named = {**dict(zip(old.positions, extra, strict=False)), **given}
    values = {row.now: row.convert(value, named) for row, value in zip(rows, extra, strict=True) if value is not None}
    if twice := values.keys() & given.keys():
        raise TypeError(f"{name}() got multiple values for argument {min(twice)!r}")
    now = ", ".join(f"{row.advice or row.now}=" for row in rows)
    warn_caller(f"{name}: these values by position are deprecated, give them by name: {now}", DeprecationWarning)
    return {**values, **given}


def _renamed(names: Mapping[str, OldName], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by their present names; an old name with the value None counts as not given."""
    values = {key: value for key, value in given.items() if key not in names or names[key].now == key}
    for old, row in names.items():
        value = given.get(old)
        if value is None:
            continue
        if row.warns:
            warn_caller(f"{old} is deprecated, use {row.advice or row.now}", DeprecationWarning)
        if values.get(row.now) is not None and row.now != old:
            raise InputRefused(f"{row.now}={values[row.now]} and {old}={value} are two names of one parameter", fix=f"give only {row.now}")
        values[row.now] = row.convert(value, given)
    return values
