"""LayerSteps: downsampling a layer to the mags that the caller names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wkpipe.dataset.borrowing import borrowed, source_mag
from wkpipe.dataset.errors import MagExists
from wkpipe.dataset.executors import SubmitsCalls
from wkpipe.dataset.layer_base import LayerBase
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.runs import interpolation_of, run_request, storing_of
from wkpipe.dataset.set_up import set_up_mags
from wkpipe.geometry import Mag, MagLike, Vec3IntLike
from wkpipe.plan.request import DownsampleRequest, Overwrite, Storing
from wkpipe.sampling import InterpolationMode
from wkpipe.stored.swap import load_swap


class LayerSteps(LayerBase):
    """The members of the class Layer that make named coarser mags."""

    @accepts_old_calls("Layer.downsample_mag")
    def downsample_mag(
        self,
        from_mag: MagLike,
        target_mag: MagLike,
        interpolation_mode: InterpolationMode | str = "default",
        compress: bool = True,
        *,
        from_mag_view: MagView | None = None,
        buffer_shape: object = None,  # noqa: ARG002 (accepted, because the voxels do not depend on it)
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        allow_overwrite: bool = False,
        only_setup_mag: bool = False,
        executor: SubmitsCalls | None = None,
    ) -> None:
        """Make one coarser mag from a finer one. It becomes visible when it is complete; a stopped call is resumed by the same call.

        Parameters
        ----------
        from_mag
            the mag to make it from. If wkpipe made it from a finer one that has changed, it is brought up to date first.
        from_mag_view
            the mag of another layer to make it from, see `downsample`; it must be `from_mag`.
        target_mag
            the mag to make; coarser than `from_mag` on some axes, and finer on none.
        allow_overwrite
            True makes a mag that exists again, beside the old one, which it replaces. Coarser mags stay as they
            are until `downsample` or `redownsample` makes them again.
        only_setup_mag
            True makes and registers an empty mag. A later call with `allow_overwrite=True` fills it.
        interpolation_mode, compress, buffer_shape, chunk_shape, shard_shape, executor
            see `downsample`.

        Raises
        ------
        MagNotFound
            the layer lacks `from_mag` (also a KeyError and an AssertionError).
        MagExists
            the layer has `target_mag`, and `allow_overwrite` is False (also a ValueError and an AssertionError).
        WrongGeometry
            the target is not coarser (also a ValueError and an AssertionError).
        IntegrityError, NotWritable, TryAgain
            see `downsample`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 8))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> layer.add_mag(1).write(np.full((64, 64, 8), 7, np.uint8))
        >>> layer.downsample_mag(1, "4-4-2")
        >>> layer.get_mag("4-4-2").read().shape
        (1, 16, 16, 4)
        """
        storing = storing_of(compress, chunk_shape, shard_shape)
        source_mag(from_mag, from_mag_view)
        with borrowed(self._entry, from_mag_view):
            self._make_mags(from_mag, [target_mag], interpolation_mode, storing, allow_overwrite, only_setup_mag, executor)

    @accepts_old_calls("Layer.downsample_mag_list")
    def downsample_mag_list(
        self,
        from_mag: MagLike,
        target_mags: Iterable[MagLike],
        interpolation_mode: InterpolationMode | str = "default",
        compress: bool = True,
        *,
        buffer_shape: object = None,  # noqa: ARG002 (accepted, because the voxels do not depend on it)
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        allow_overwrite: bool = False,
        only_setup_mags: bool = False,
        executor: SubmitsCalls | None = None,
    ) -> None:
        """Make several coarser mags, each from the one before; see `downsample_mag`. They become visible together.

        Parameters
        ----------
        from_mag
            the mag that the finest one is made from.
        target_mags
            the mags to make, in any order, if each is coarser than the next finer one.

        Raises
        ------
        MagNotFound, MagExists, WrongGeometry, IntegrityError, NotWritable, TryAgain
            see `downsample_mag`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 8))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> layer.add_mag(1).write(np.full((64, 64, 8), 7, np.uint8))
        >>> layer.downsample_mag_list(1, [2, "8-8-2"])
        >>> [str(mag) for mag in layer.mags]
        ['1', '2', '8-8-2']
        """
        storing = storing_of(compress, chunk_shape, shard_shape)
        self._make_mags(from_mag, target_mags, interpolation_mode, storing, allow_overwrite, only_setup_mags, executor)

    @accepts_old_calls("Layer.redownsample")
    def redownsample(
        self,
        interpolation_mode: InterpolationMode | str = "default",
        compress: bool = True,
        *,
        buffer_shape: object = None,  # noqa: ARG002 (accepted, because the voxels do not depend on it)
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        executor: SubmitsCalls | None = None,
    ) -> None:
        """Make all coarser mags again from the finest one, beside the old ones, which they replace when all are complete.

        This is for mags of other tools. If wkpipe made the mags, `downsample` makes only what has changed again.

        Raises
        ------
        InputRefused
            a mag is not coarser than the next finer one, or is not in the dataset.
        IntegrityError, NotWritable, TryAgain
            see `downsample`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 8))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> layer.add_mag(1).write(np.full((64, 64, 8), 7, np.uint8))
        >>> layer.add_mag(2).write(np.full((32, 32, 4), 9, np.uint8))  # not what mag 1 gives
        >>> layer.redownsample()
        >>> int(layer.get_mag(2).read().max())
        7
        """
        live = self._entry.live
        live.check_writable()
        mags = sorted((entry.mag for entry in self._properties.mags), key=Mag.to_tuple)
        storing = storing_of(compress, chunk_shape, shard_shape)
        if load_swap(live.locations, self._entry.name) is not None:  # a stopped call has hidden mags, and only has to be ended
            run_request(DownsampleRequest(live.fixed.dataset, layer=self._entry.name), executor)
        elif len(mags) > 1:
            self._make_mags(mags[0], mags[1:], interpolation_mode, storing, True, False, executor)

    def _make_mags(
        self,
        from_mag: MagLike,
        target_mags: Iterable[MagLike],
        interpolation_mode: InterpolationMode | str,
        storing: Storing,
        allow_overwrite: bool,
        only_set_up: bool,
        executor: SubmitsCalls | None,
    ) -> None:
        live = self._entry.live
        live.check_writable()
        self._properties.mag(from_mag)
        targets = [Mag(mag) for mag in target_mags]
        if not targets:
            return
        if not allow_overwrite:
            self._check_free(targets)
        request = DownsampleRequest(
            dataset=live.fixed.dataset,
            layer=self._entry.name,
            from_mag=Mag(from_mag),
            targets=tuple(targets),
            interpolation=interpolation_of(interpolation_mode),
            storing=storing,
            overwrite=Overwrite.WANTED if allow_overwrite else Overwrite.NOTHING,
            repair=allow_overwrite,
        )
        if only_set_up:
            set_up_mags(self._entry, request)
        else:
            run_request(request, executor)

    def _check_free(self, mags: Sequence[Mag]) -> None:
        for entry in self._properties.mags:
            if entry.mag in mags:
                raise MagExists(
                    f"layer {self._entry.name} already has mag {entry.mag}", fix="pass allow_overwrite=True to make it again, or delete it"
                )
