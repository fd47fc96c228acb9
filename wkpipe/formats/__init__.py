"""Storage formats: `open_array`, `create_array`, and `make_spec` for the layout of new arrays; see `wkpipe.formats.base`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wkpipe.errors import InputRefused
from wkpipe.formats.base import ArraySpec, DataFormat, StoredArray
from wkpipe.formats.creation import default_compression, has_array, make_spec, new_metadata, validate_spec
from wkpipe.formats.file_names import zarr_names
from wkpipe.formats.wkw import AXES as _WKW_AXES
from wkpipe.formats.wkw import WkwArray, read_wkw_header
from wkpipe.formats.zarr2 import Zarr2Array, read_zarr2_layout
from wkpipe.formats.zarr3 import native_zarr3
from wkpipe.formats.zarr3_metadata import read_zarr3_layout
from wkpipe.storage.commit import Scratch, replace_files

__all__ = ["create_array", "default_compression", "has_array", "make_spec", "new_metadata", "open_array", "validate_spec"]


def open_array(
    path: Path | str, data_format: DataFormat | str, axes: Sequence[str] | None = None, shape: Sequence[int] | None = None
) -> StoredArray:
    """Open a mag's array for reading (and writing, where its codecs are native).

    Args:
        path: the directory of the mag.
        data_format: as in datasource-properties.json.
        axes: names in array order, as the dataset's properties give them; else those in the array's metadata, else
            c, x, y, z for four axes and x, y, z for three.
        shape: in voxels, in array order; only for WKW, which has no shape on disk: without it, the shape covers the
            files that are there.

    Raises:
        MetadataError: the array's metadata are missing or broken; one line that names the file and the key.
    """
    path = Path(path)
    data_format = DataFormat(data_format)
    if data_format is DataFormat.WKW:
        if axes is not None and tuple(axes) != _WKW_AXES:
            raise InputRefused(f"{path}: wkw holds the axes {_WKW_AXES}, not {tuple(axes)}")
        return WkwArray(path, read_wkw_header(path), shape)
    if data_format is DataFormat.ZARR3:
        zarr3 = read_zarr3_layout(path, axes)
        if zarr3.codecs is not None:
            return native_zarr3(path, zarr3, zarr3.codecs)
        from wkpipe.formats.foreign import foreign_zarr

        return foreign_zarr(path, zarr3.spec, zarr_names(path, len(zarr3.spec.axes), zarr3.key_separator, zarr3.key_prefix))
    if data_format is DataFormat.ZARR:
        zarr2 = read_zarr2_layout(path, axes)
        if zarr2.codec is not None:
            return Zarr2Array(path, zarr2, zarr2.codec)
        from wkpipe.formats.foreign import foreign_zarr

        return foreign_zarr(path, zarr2.spec, zarr_names(path, len(zarr2.spec.axes), zarr2.separator, ""))
    from wkpipe.formats.foreign import open_n5, open_precomputed

    return open_n5(path, axes) if data_format is DataFormat.N5 else open_precomputed(path, axes)


def create_array(path: Path | str, spec: ArraySpec, scratch: Scratch, attributes: Mapping[str, Any] | None = None) -> StoredArray:
    """Make a new array (its directory and metadata files) and open it; see `new_metadata`.

    An array with exactly the same metadata may be there already, as after an interruption: it is opened.

    Raises:
        InputRefused: the format can not hold such an array; nothing was made.
        AlreadyExists: another array is there.
        NotWritable: the place is not writable.
    """
    path = Path(path)
    replace_files(new_metadata(path, spec, attributes), scratch)
    return open_array(path, spec.data_format, spec.axes, spec.shape)
