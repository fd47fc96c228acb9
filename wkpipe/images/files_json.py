"""The files of a stack as plain JSON. Facts that files share are written once, so that 10,000 slices take only a few MB."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wkpipe.images.reader import FilePart, ImageFile
from wkpipe.images.source import AxisSizes


def relative_path(path: Path, source: Path) -> str:
    """Return the path of a file as a stack of this source names it."""
    return os.path.relpath(path, source)


def files_to_json(files: Sequence[ImageFile], source: Path) -> dict[str, Any]:
    """Return the facts of files as plain JSON, by three keys; their paths are those below the source."""
    shared = [_shared(file) for file in files]
    kinds = list({repr(kind): kind for kind in shared}.values())
    number = {repr(kind): i for i, kind in enumerate(kinds)}
    return {
        "kinds": kinds,
        "files": [
            [relative_path(file.path, source), file.size, file.mtime_ns, file.scratch_bytes, number[repr(kind)], dict(file.layout)]
            for file, kind in zip(files, shared, strict=True)
        ],
        "parts": {
            str(i): [[relative_path(part.path, source), part.size, part.mtime_ns] for part in file.parts]
            for i, file in enumerate(files)
            if file.parts
        },
    }


def files_from_json(data: Mapping[str, Any], source: Path) -> tuple[ImageFile, ...]:
    """Return the facts of files that `files_to_json` wrote; the files are not touched."""
    kinds = [dict(kind, sizes=AxisSizes(*kind["sizes"]), block=tuple(kind["block"])) for kind in data["kinds"]]
    parts = {int(i): tuple(FilePart(source / name, size, mtime_ns) for name, size, mtime_ns in found) for i, found in data["parts"].items()}
    return tuple(
        ImageFile(
            path=source / name, size=size, mtime_ns=mtime_ns, scratch_bytes=scratch, layout=layout, parts=parts.get(i, ()), **kinds[kind]
        )
        for i, (name, size, mtime_ns, scratch, kind, layout) in enumerate(data["files"])
    )


def _shared(file: ImageFile) -> dict[str, Any]:
    return {
        "reader": file.reader,
        "sizes": list(file.sizes),
        "dtype": file.dtype,
        "is_rgb": file.is_rgb,
        "block": list(file.block),
        "plane_bytes": file.plane_bytes,
        "meaning": file.meaning,
    }
