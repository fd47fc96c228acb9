"""The types of settings; each accepts what people write: texts, numbers and lists."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from wkpipe.geometry import BoundingBox, Mag, Vec3Int
from wkpipe.images.options import LISTED, MISSING

MOST_POSITION = 1 << 40
"""More voxels than any dataset has along an axis, and few enough for all formats."""


def _shape(value: Any) -> tuple[int, int, int] | None:
    """Accept ``32``, ``"32"``, ``"32,32,32"`` and ``[32, 32, 32]``."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            shape = Vec3Int.from_str(value) if "," in value else Vec3Int.full(int(value))
        else:
            shape = Vec3Int.from_vec_or_int(value)
    except (ValueError, TypeError):
        shape = Vec3Int.zeros()
    if not shape.is_positive(strictly_positive=True):
        raise ValueError("expected a positive number like 32, or three like 32,32,32")
    if any(edge & (edge - 1) for edge in shape):
        raise ValueError("every number must be a power of two, like 32 or 32,32,1")
    return shape.to_tuple()


def _voxel_size(value: Any) -> tuple[float, ...] | None:
    """Accept ``"11,11,25"`` and ``[11, 11, 25]``."""
    if value is None:
        return None
    try:
        parts = tuple(float(part) for part in (value.split(",") if isinstance(value, str) else value))
    except (ValueError, TypeError, OverflowError):
        parts = ()
    if len(parts) != 3 or not all(0 < part < math.inf for part in parts):
        raise ValueError("expected three positive numbers like 11,11,25")
    return parts


def _range(value: Any) -> tuple[float, ...] | None:
    """Accept ``"0,4095"`` and ``[0, 4095]``."""
    if value is None:
        return None
    try:
        parts = tuple(float(part) for part in (value.split(",") if isinstance(value, str) else value))
    except (ValueError, TypeError, OverflowError):
        parts = ()
    if len(parts) != 2 or not -math.inf < parts[0] < parts[1] < math.inf:
        raise ValueError("expected two numbers, the smaller one first, like 0,4095")
    return parts


def _names(value: Any) -> tuple[str, ...] | None:
    """Accept ``"0,3,DAPI"``, ``0`` and ``[0, 3, "DAPI"]``."""
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    names = tuple(str(part).strip() for part in parts)
    if not names or not all(names):
        raise ValueError("expected numbers or names, like 0,3,DAPI")
    return names


def _path(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value) or not _is_possible_path(str(value)):
        raise ValueError("expected the path of a file or directory")
    return Path(value)


def _is_possible_path(text: str) -> bool:
    """Return True if Linux can have a file with this path."""
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return len(encoded) < 4096 and max(map(len, encoded.split(b"/"))) < 256


def _mag_text(value: Any) -> Any:
    return None if value is None else str(Mag(value))


def _box(value: Any) -> tuple[int, ...] | None:
    """Accept ``"0,0,0,512,512,128"`` and ``[0, 0, 0, 512, 512, 128]``."""
    if value is None:
        return None
    box = BoundingBox.from_str(value if isinstance(value, str) else ",".join(map(str, value)) if isinstance(value, list | tuple) else "")
    if box.is_empty():
        raise ValueError("expected a box that is not empty, like 0,0,0,512,512,128 (x,y,z,width,height,depth)")
    return (*box.topleft, *box.size)


def _position(value: Any) -> tuple[int, ...] | None:
    """Accept ``"0,0,64"`` and ``[0, 0, 64]``."""
    if value is None:
        return None
    try:
        place = Vec3Int.from_str(value) if isinstance(value, str) else Vec3Int(value)
    except (ValueError, TypeError):
        place = Vec3Int.full(-1)
    if not place.is_positive() or max(place) > MOST_POSITION:
        raise ValueError(f"expected three numbers from 0 to {MOST_POSITION}, like 0,0,64")
    return place.to_tuple() if any(place) else None


def _family(value: Any) -> tuple[str, ...] | None:
    """Accept ``".tif"``, ``"tif,tiff"`` and ``[".tif", ".tiff"]``."""
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) and part.strip(" .") and "/" not in part for part in parts):
        raise ValueError("expected endings of files, like .tif or .tif,.tiff")
    return tuple(dict.fromkeys("." + part.strip().lower().lstrip(".") for part in parts))


def _missing_slices(value: Any) -> Any:
    if value not in MISSING and not (isinstance(value, str) and value.startswith(LISTED) and value != LISTED):
        raise ValueError(f"expected {', '.join(MISSING)}, or {LISTED}FILE")
    return value if value in MISSING else LISTED + os.path.abspath(value.removeprefix(LISTED))  # noqa: PTH100 (links stay)


def _file_list(value: Any) -> tuple[str, ...]:
    """Accept a list of paths below the source."""
    if not isinstance(value, list | tuple) or not all(isinstance(path, str) and _is_below(path) for path in value):
        raise ValueError("expected a list of paths below the source, like [a/1.tif, b/2.tif]")
    return tuple(dict.fromkeys(value))


def _is_below(path: str) -> bool:
    return "\0" not in path and _is_possible_path(path) and not path.startswith("/") and not {"", ".", ".."} & {*path.split("/")}


Shape = Annotated[tuple[int, int, int], BeforeValidator(_shape)]
VoxelSizeFactor = Annotated[tuple[float, float, float], BeforeValidator(_voxel_size)]
Range = Annotated[tuple[float, float], BeforeValidator(_range)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
PathText = Annotated[Path, BeforeValidator(_path)]
MagText = Annotated[str, BeforeValidator(_mag_text)]
BoxText = Annotated[tuple[int, int, int, int, int, int], BeforeValidator(_box)]
PositionText = Annotated[tuple[int, int, int] | None, BeforeValidator(_position)]
Family = Annotated[tuple[str, ...], BeforeValidator(_family)]
FileList = Annotated[tuple[str, ...], BeforeValidator(_file_list)]
MissingSlices = Annotated[str, BeforeValidator(_missing_slices)]
