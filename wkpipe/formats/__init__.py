"""Storage formats: open, create and lay out arrays with `open_array`, `create_array` and `make_spec`; see `wkpipe.formats.base`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wkpipe.errors import InputRefused
from wkpipe.formats.base import ArraySpec, Compression, DataFormat, StoredArray
from wkpipe.formats.codecs import encoding_as
from wkpipe.formats.creation import default_compression, has_array, make_spec, new_metadata, validate_spec
from wkpipe.formats.file_names import zarr_names
from wkpipe.formats.wkw import AXES as _WKW_AXES
from wkpipe.formats.wkw import WkwArray, read_wkw_header
from wkpipe.formats.zarr2 import Zarr2Array, read_zarr2_layout
from wkpipe.formats.zarr3 import native_zarr3
from wkpipe.formats.zarr3_metadata import read_zarr3_layout
from wkpipe.storage.local import as_place
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch

__all__ = ["create_array", "default_compression", "has_array", "make_spec", "new_metadata", "open_array", "validate_spec"]


def open_array(
    where: Place | Path | str,
    data_format: DataFormat | str,
    axes: Sequence[str] | None = None,
    shape: Sequence[int] | None = None,
    compression: Compression | None = None,
) -> StoredArray:
    """Open a mag's array for reading, and for writing if wkpipe writes its codecs.

    Args:
        where: the mag's place, or its directory.
        data_format: as in datasource-properties.json.
        axes: names in array order, as in the dataset's properties. Without them, the names in the array's metadata count;
            if there are none, c, x, y, z for four axes and x, y, z for three.
        shape: in voxels, in array order; used only for WKW, which has no shape on disk. Without it, the shape covers the
            stored files.
        compression: the set of parameters to write with, which an array does not store; it counts if the level is the array's.

    Raises:
        MetadataError: the array's metadata is missing or broken; names the file and the key.
    """
    place = as_place(Path(where) if isinstance(where, str) else where)
    data_format = DataFormat(data_format)
    if data_format is DataFormat.WKW:
        if axes is not None and tuple(axes) != _WKW_AXES:
            raise InputRefused("wkw has fixed axes", where=place, found=tuple(axes), expected=_WKW_AXES)
        return WkwArray(place, read_wkw_header(place), shape)
    if data_format is DataFormat.ZARR3:
        zarr3 = read_zarr3_layout(place, axes)
        if zarr3.codecs is not None:
            return native_zarr3(place, zarr3, replace(zarr3.codecs, codec=encoding_as(zarr3.codecs.codec, compression)))
        from wkpipe.formats.foreign import foreign_zarr

        return foreign_zarr(place, zarr3.spec, zarr_names(place, len(zarr3.spec.axes), zarr3.key_separator, zarr3.key_prefix))
    if data_format is DataFormat.ZARR:
        zarr2 = read_zarr2_layout(place, axes)
        if zarr2.codec is not None:
            return Zarr2Array(place, zarr2, encoding_as(zarr2.codec, compression))
        from wkpipe.formats.foreign import foreign_zarr

        return foreign_zarr(place, zarr2.spec, zarr_names(place, len(zarr2.spec.axes), zarr2.separator, ""))
    from wkpipe.formats.foreign import open_n5, open_precomputed

    return open_n5(place, axes) if data_format is DataFormat.N5 else open_precomputed(place, axes)


def create_array(where: Place | Path | str, spec: ArraySpec, scratch: Scratch, attributes: Mapping[str, Any] | None = None) -> StoredArray:
    """Make a new array (its directory and metadata files) and open it; see `new_metadata`.

    If an array with exactly the same metadata exists, as after an interruption, it is opened.

    Raises:
        InputRefused: the format cannot hold such an array; nothing was created.
        AlreadyExists: another array exists there.
        NotWritable: the directory cannot be written.
    """
    place = as_place(Path(where) if isinstance(where, str) else where)
    for key, content in new_metadata(place, spec, attributes).items():
        place.writing(scratch).put(key, content)
    return open_array(place, spec.data_format, spec.axes, spec.shape, spec.compression)
