"""LayerRuns: downsampling a layer by the rules of ladders."""

from __future__ import annotations

from wkpipe.dataset.borrowing import borrowed, source_mag
from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.dataset_base import DatasetBase, all_mags
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.executors import SubmitsCalls
from wkpipe.dataset.layer_base import LayerBase
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.runs import interpolation_of, run_request, storing_of
from wkpipe.dataset.set_up import set_up_mags
from wkpipe.geometry import Mag, MagLike, Vec3IntLike
from wkpipe.plan.request import DownsampleRequest, Overwrite
from wkpipe.sampling import InterpolationMode, SamplingMode


class LayerRuns(LayerBase):
    """The members of the class Layer that make a ladder of mags."""

    @accepts_old_calls("Layer.downsample")
    def downsample(
        self,
        from_mag: MagLike | None = None,
        coarsest_mag: MagLike | None = None,
        interpolation_mode: InterpolationMode | str = "default",
        compress: bool = True,
        sampling_mode: SamplingMode | str = SamplingMode.ANISOTROPIC,
        *,
        from_mag_view: MagView | None = None,
        align_with_other_layers: bool | DatasetBase = True,
        buffer_shape: object = None,  # noqa: ARG002 (accepted, because the voxels do not depend on it)
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        force_sampling_scheme: bool = False,
        allow_overwrite: bool = False,
        only_setup_mags: bool = False,
        executor: SubmitsCalls | None = None,
    ) -> None:
        """Make coarser mags: mags that wkpipe made before are brought up to date, then the ladder is extended.

        A repeated call makes only units that are missing or whose source changed. The mags become visible when all are complete.

        Parameters
        ----------
        from_mag
            where the ladder starts; default: the coarsest mag. From a finer one, mags of the ladder that are missing
            are made; mags that exist must have been made from it by wkpipe, unless `allow_overwrite` is True.
        coarsest_mag
            where the ladder ends; default: the larger of width and height then has at most 100 voxels. Old
            name, which warns: `max_mag`.
        interpolation_mode
            default (median for color, mode for segmentation), median, mode, nearest, bilinear,
            bicubic, max or min.
        compress
            True compresses the new mags.
        sampling_mode
            anisotropic, isotropic or constant_z.
        from_mag_view
            a mag of another layer, of the same format, dtype and channels, to start from. During the call this layer
            shows it by reference; if the call is killed, the reference stays until the mag is deleted. Later calls without it do
            not bring the new mags up to date.
        align_with_other_layers
            True takes the mags that other layers have at a level of the ladder; a dataset takes those of
            its layers instead; False takes none.
        buffer_shape
            has no effect; the work is cut so that it fits the memory, and the voxels do not depend on that. The same
            is true of its old name `buffer_edge_len`.
        chunk_shape, shard_shape
            of the new mags, x, y, z in voxels; see `add_mag`.
        force_sampling_scheme
            True only warns of several mags with the same largest component.
        allow_overwrite
            True makes mags of the ladder that exist already again, beside the old ones, which they replace; and
            mags that have lost their data or were only set up. Others stay as they are.
        only_setup_mags
            True makes and registers empty mags. A later call with `allow_overwrite=True` fills them.
        executor
            does the tasks, with its `submit`, as in concurrent.futures or cluster_tools; default: all cores of this
            process. The old `args` has no effect.

        Raises
        ------
        MagNotFound
            the layer has no mag, or lacks `from_mag`.
        InputRefused
            the ladder cannot be made.
        IntegrityError
            a storage shard is damaged or gone.
        NotWritable, TryAgain
            the dataset is read-only, or another run works on it.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (256, 256, 8))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> layer.add_mag(1).write(np.full((256, 256, 8), 7, np.uint8))
        >>> layer.downsample(coarsest_mag=4)
        >>> [str(mag) for mag in layer.mags]
        ['1', '2-2-1', '4-4-1']
        """
        live = self._entry.live
        live.check_writable()
        mode = SamplingMode.parse(sampling_mode)
        if mode is SamplingMode.ISOTROPIC and self._properties.box.size.z == 1:
            warn_caller(f"layer {self._entry.name} is one voxel deep, so z stays as it is, as with sampling_mode='constant_z'")
        start = source_mag(from_mag, from_mag_view)
        if start is not None and from_mag_view is None:
            self._properties.mag(start)
        request = DownsampleRequest(
            dataset=live.fixed.dataset,
            layer=self._entry.name,
            from_mag=start,
            coarsest=None if coarsest_mag is None else Mag(coarsest_mag),
            sampling=mode,
            is_forced=force_sampling_scheme,
            alignment=_alignment(align_with_other_layers),
            interpolation=interpolation_of(interpolation_mode),
            storing=storing_of(compress, chunk_shape, shard_shape),
            overwrite=Overwrite.WANTED if allow_overwrite else Overwrite.NOTHING,
            repair=allow_overwrite,
        )
        with borrowed(self._entry, from_mag_view):
            if only_setup_mags:
                set_up_mags(self._entry, request)
            else:
                run_request(request, executor)


def _alignment(align_with: bool | DatasetBase) -> bool | tuple[Mag, ...]:
    """Return what a ladder is aligned with.

    Raises:
        WrongType: it is neither True nor False nor a dataset.
    """
    if isinstance(align_with, bool):
        return align_with
    if isinstance(align_with, DatasetBase):
        return all_mags(align_with)
    raise WrongType(f"align_with_other_layers={align_with!r} is not possible", expected="True, False or a dataset")
