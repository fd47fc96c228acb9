"""LayerReferences: mags whose arrays exist already, in the layer's directory or elsewhere."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from wkpipe.dataset.arrival import adopt, link_to, refer_to, take_over
from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.layer_mags import LayerMags
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.referenced import MagSource, path_text, referenced_mag
from wkpipe.errors import InputRefused
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Mag, MagLike


class LayerReferences(LayerMags):
    """The members of the class Layer that add mags from data that exist."""

    def add_mag_from_zarrarray(
        self, mag: MagLike, path: str | PathLike[str], move: bool = False, extend_layer_bounding_box: bool = True
    ) -> MagView:
        """Copy or move a Zarr array into the layer, where it becomes a mag. If anything is wrong, nothing is copied.

        The first mag decides the axes of the layer's arrays. If the array has more channels than the layer, the layer shows the
        first ones, with a warning.

        Parameters
        ----------
        mag
            the mag of the array's voxels.
        path
            the directory of the array, with ``zarr.json`` or ``.zarray``.
        move
            remove the array from its place, at last; on the same disk it takes no space twice.
        extend_layer_bounding_box
            let the layer's box reach to the end of the array, which starts at 0.

        Raises
        ------
        MagExists
            the layer has the mag (also an IndexError and an AssertionError).
        ExistsDifferently
            dtype, channels or axes are not those of the layer (also an AssertionError).
        InputRefused
            the layer or the array is not Zarr, or the array contains links.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> import numpy as np, zarr
        >>> from wkpipe import Dataset
        >>> array = zarr.create_array("cells.zarr", shape=(1, 64, 64, 32), chunks=(1, 32, 32, 32), dtype="uint32")
        >>> array[:] = np.full((1, 64, 64, 32), 63, dtype="uint32")
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("cells", "segmentation", dtype="uint32")
        >>> mag = layer.add_mag_from_zarrarray(1, "cells.zarr")
        >>> mag.bounding_box, int(mag.read().max())
        (BoundingBox((0, 0, 0), (64, 64, 32)), 63)
        """
        source, data_format = Path(path_text("path", path, "the path of a Zarr array")), self._properties.data_format
        if data_format not in (DataFormat.ZARR, DataFormat.ZARR3):
            raise InputRefused(f"layer {self._entry.name} is {data_format}, not Zarr", fix="add the array to a layer of data_format zarr3")
        take_over(self._entry, Mag(mag), source, move, extend_layer_bounding_box)
        return _with_all_channels(self.get_mag(mag))

    def add_mag_for_existing_files(self, mag: MagLike, *, extend_layer_bounding_box: bool = False) -> MagView:
        """Make a mag of an array that is in the layer's directory already, in a directory with the short or long name of the mag.

        Parameters
        ----------
        mag
            the mag of the array's voxels.
        extend_layer_bounding_box
            let the layer's box reach to the end of the array, which starts at 0.

        Raises
        ------
        MagExists
            the layer has the mag (also an IndexError and an AssertionError).
        ExistsDifferently
            dtype, channels or axes are not those of the layer (also an AssertionError).
        InputRefused
            there is no array in the layer's format, or a run that was making it has stopped.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> import shutil
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> _ = shutil.copytree(layer.add_mag(1).path, layer.path / "2")
        >>> layer.add_mag_for_existing_files(2).bounding_box
        BoundingBox((0, 0, 0), (64, 64, 16))
        """
        adopt(self._entry, Mag(mag), extend_layer_bounding_box)
        return _with_all_channels(self.get_mag(mag))

    def add_mag_as_ref(
        self, foreign_mag_view_or_path: MagSource, *, mag: MagLike | None = None, extend_layer_bounding_box: bool = True
    ) -> MagView:
        """Add a mag that stays where it is: only its path is noted. It can be read, but not written or deleted from here.

        A URL is not opened: it is noted for programs that can read it, and is taken for an array that fits the layer.

        Parameters
        ----------
        foreign_mag_view_or_path
            a mag of any dataset, or its path (``DATASET/LAYER/MAG``).
        mag
            show the same voxels as another mag; default: the mag that it is.
        extend_layer_bounding_box
            let the layer's box contain that of the other layer.

        Raises
        ------
        MagExists
            the layer has the mag (also an IndexError and an AssertionError).
        ExistsDifferently
            format, dtype, channels or axes are not those of the layer (also an AssertionError).
        InputRefused
            there is no such mag, or its array cannot be read.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> raw = Dataset("raw", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> raw.write(np.full((64, 64, 16), 7, np.uint8))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> mag = layer.add_mag_as_ref(raw)
        >>> mag.path == raw.path, mag.read_only, int(mag.read().min()), layer.bounding_box
        (True, True, 7, BoundingBox((0, 0, 0), (64, 64, 16)))
        """
        arriving = referenced_mag(foreign_mag_view_or_path, self._properties, None if mag is None else Mag(mag))
        refer_to(self._entry, arriving, extend_layer_bounding_box)
        return self.get_mag(arriving.entry.mag)

    @accepts_old_calls("Layer.add_symlink_mag")
    def add_symlink_mag(
        self, foreign_mag_view_or_path: MagSource, make_relative: bool = False, extend_layer_bounding_box: bool = True
    ) -> MagView:
        """Add a mag that stays where it is, and a symbolic link to it in the layer's directory; see `add_mag_as_ref`.

        Parameters
        ----------
        foreign_mag_view_or_path
            a mag of any dataset, or its path (``DATASET/LAYER/MAG``). Old name, which warns:
            `foreign_mag_path`.
        make_relative
            both datasets can be moved together.
        extend_layer_bounding_box
            let the layer's box contain that of the other layer.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> raw = Dataset("raw", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> layer.add_symlink_mag(raw, make_relative=True).read_only
        True
        >>> str((layer.path / "1").readlink())
        '../../raw/em/1'

        Raises: as `add_mag_as_ref`; InputRefused: a URL.
        """
        arriving = referenced_mag(foreign_mag_view_or_path, self._properties)
        link_to(self._entry, arriving, extend_layer_bounding_box, make_relative)
        return self.get_mag(arriving.entry.mag)

    def add_remote_mag(self, foreign_mag_view_or_path: MagSource, extend_layer_bounding_box: bool = True) -> MagView:
        """The old name of `add_mag_as_ref`, which warns."""
        warn_caller("add_remote_mag is deprecated, use add_mag_as_ref", DeprecationWarning)
        return self.add_mag_as_ref(foreign_mag_view_or_path, extend_layer_bounding_box=extend_layer_bounding_box)

    def add_existing_remote_mag_view(self, mag_view_maybe: MagLike | MagView) -> MagView:
        """The old name of `add_mag_as_ref` for a view, and of `add_mag_for_existing_files` for a mag; it warns."""
        if isinstance(mag_view_maybe, MagView):
            warn_caller("add_existing_remote_mag_view is deprecated, use add_mag_as_ref", DeprecationWarning)
            return self.add_mag_as_ref(mag_view_maybe)
        warn_caller("add_existing_remote_mag_view is deprecated, use add_mag_for_existing_files", DeprecationWarning)
        return self.add_mag_for_existing_files(mag_view_maybe)

    def get_best_mag(self) -> MagView:
        """The old name of `get_finest_mag`, which warns."""
        warn_caller("get_best_mag is deprecated, use get_finest_mag", DeprecationWarning)
        return self.get_finest_mag()


def _with_all_channels(mag: MagView) -> MagView:
    """Return a mag; warn if its array has more channels than the layer shows."""
    spec = mag._array.open().spec
    shape = spec.chunk_shape if spec.data_format is DataFormat.WKW else spec.shape
    found = dict(zip(spec.axes, shape, strict=True)).get("c", 1)
    if found > mag.num_channels:
        shown = "only the first one" if mag.num_channels == 1 else f"the first {mag.num_channels}"
        warn_caller(f"the array of {mag} has {found} channels, and the layer shows {shown}")
    return mag
