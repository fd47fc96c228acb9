"""Inspection: the layers that a source makes, and the accounts of what it has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, overload

from wkpipe.errors import InputRefused, UnreadableInput, UsageError
from wkpipe.images.accounting import Account
from wkpipe.images.arranged import Arranged, cropped, turned
from wkpipe.images.discover import Found, find_files, images_of, inspect_series, listed_files
from wkpipe.images.fit import check_fit, padding_text
from wkpipe.images.grouping import INSPECTED
from wkpipe.images.groups import FileGroup, folder_name, group_files, prefixed, trees_note
from wkpipe.images.layers import COLOR, DTYPES, SEGMENTATION, stacks_of
from wkpipe.images.meaning import interpreted
from wkpipe.images.missing import with_missing
from wkpipe.images.names import check_name, check_names, clean_name, unique_names
from wkpipe.images.notes import notes_on
from wkpipe.images.options import DEFAULTS, SourceOptions
from wkpipe.images.pattern import ImagePlace, Pattern
from wkpipe.images.placed import placed_files, placed_layers
from wkpipe.images.reader import ImageFile, ReadOptions
from wkpipe.images.readers.unreadable import UnreadableReader, unreadable
from wkpipe.images.sequence import Order, Slices, slices_of
from wkpipe.images.stack import ImageStack

AccountLine: TypeAlias = Account | Order | Arranged
"""A line on what of a source becomes a dataset, and how."""

INSPECTION_THREADS = 8
MOST_UNREADABLE = 1 / 100


@dataclass(frozen=True)
class Inspection(Sequence[ImageStack]):
    """The layers that a source makes, in order; the accounts of its files and pages, and notes for the user."""

    stacks: tuple[ImageStack, ...]
    accounts: tuple[AccountLine, ...] = ()
    notes: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> ImageStack: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ImageStack, ...]: ...

    def __getitem__(self, index: int | slice) -> ImageStack | tuple[ImageStack, ...]:
        return self.stacks[index]

    def __iter__(self) -> Iterator[ImageStack]:
        return iter(self.stacks)

    def __len__(self) -> int:
        return len(self.stacks)


def inspect_source(
    path: str | Path, layer_name: str | None = None, category: str | None = None, options: SourceOptions = DEFAULTS
) -> Inspection:
    """Inspect the headers of an image file, or of all images in a directory, and return the layers that they make.

    A folder's images are those of its largest family (see `choose_family`). Slices are in the order of the number that runs through
    their names (see `slices_of`). Channels that are not RGB become separate layers. Without `category`, the category of each layer is
    recognised from samples of its data.

    Raises:
        UsageError: `layer_name`, `category` or an option is not valid.
        UnreadableInput: the source is missing, has no image, or a file is truncated or broken.
        InputRefused: it is not certain which files are the stack, or in which order; slices are missing; images do not fit together,
            have a dtype that no layer can have, or make too many layers.
    """
    source = Path(path).absolute()
    if category is not None and category not in DTYPES:
        raise UsageError(f"category {category!r} is not valid", expected=f"{COLOR} or {SEGMENTATION}")
    content = options.content
    listed = [*options.grouping.layer_of] if options.grouping.only_listed else []
    found = listed_files(source, listed) if listed else find_files(source, options.spool)
    places: dict[Path, ImagePlace] = {}
    if options.pattern is None:
        found = images_of(found, options)
    else:
        found, places = placed_files(found, Pattern.of(options.pattern))
    images = inspect_files(found.images, content.reading(category == SEGMENTATION))
    parts = _placed(found, images, places, layer_name, options) if places else _layers(found, images, layer_name, options)
    stacks = [stack for part in parts for stack in part.stacks]
    if len(stacks) > content.most_layers:
        raise InputRefused(
            f"makes more than {content.most_layers} layers (each channel is one)",
            where=source,
            fix="convert fewer files, choose some with --channels, or pass --max-layers",
        )
    stacks = [stack.replace(name=name) for stack, name in zip(stacks, unique_names(stack.name for stack in stacks), strict=True)]
    check_names((stack.name for stack in stacks), source)
    stacks = [turned(interpreted(cropped(stack, options.arrangement), category, content), options.arrangement) for stack in stacks]
    files = [file for series in images.values() for file in series[:1]]
    accounts = (found.account(source.name), *_pages(source, files), *(line for part in parts for line in part.accounts))
    notes = [f"{UnreadableInput(**file.layout)}: units that need it are not made" for file in files if file.reader == UnreadableReader.name]
    return Inspection(tuple(stacks), accounts, (*notes, *(note for part in parts for note in part.notes), *notes_on(stacks, content)))


def inspect_files(paths: Sequence[Path], how: ReadOptions) -> dict[Path, Sequence[ImageFile]]:
    """Return the facts of the series of image files, in the same order, without files that are part of an earlier one's image.

    Few unreadable files among many, up to 1 %, stop only the units that need them: see `wkpipe.images.readers.unreadable`.

    Raises:
        UnreadableInput, InputRefused: see `inspect_series`; the same file is always refused first.
    """
    found: dict[Path, Sequence[ImageFile] | UnreadableInput] = {}
    parts: set[Path] = set()
    rest = list(paths)
    while rest:  # sets of files one after the other: each file of a set would give the whole set again
        found[rest[0]] = _inspected(rest[0], how)
        mine = _parts(found[rest[0]])
        parts |= mine
        rest = [path for path in rest[1:] if path not in mine]
        if not mine:
            break
    # Threads hide the latency of network file systems.
    pool = ThreadPoolExecutor(INSPECTION_THREADS)
    try:
        for path, series in zip(rest, pool.map(lambda path: _inspected(path, how), rest), strict=True):
            if path not in parts:
                found[path] = series
                parts |= _parts(series)
    finally:
        pool.shutdown(cancel_futures=True)
    images = {path: series for path, series in found.items() if not isinstance(series, UnreadableInput)}
    errors = {path: error for path, error in found.items() if isinstance(error, UnreadableInput)}
    beside = {path.parent: series[0] for path, series in images.items()}
    if len(errors) > MOST_UNREADABLE * len(paths) or any(path.parent not in beside for path in errors):
        raise next(iter(errors.values()))
    return {path: images[path] if path in images else [unreadable(path, beside[path.parent], errors[path])] for path in found}


def _inspected(path: Path, how: ReadOptions) -> Sequence[ImageFile] | UnreadableInput:
    try:
        return inspect_series(path, how)
    except UnreadableInput as error:
        return error


def _parts(series: Sequence[ImageFile] | UnreadableInput) -> set[Path]:
    return set() if isinstance(series, UnreadableInput) else {part.path for file in series for part in file.parts}


def _placed(
    found: Found, series: Mapping[Path, Sequence[ImageFile]], places: dict[Path, ImagePlace], layer_name: str | None, options: SourceOptions
) -> list[Inspection]:
    """Return the layers of files that a pattern places."""
    if odd := next((path for path in places if len(series.get(path, ())) != 1), None):
        found_there = f"{len(series[odd])} series" if odd in series else "a file of an OME-TIFF set"
        raise InputRefused(
            where=odd, found=found_there, expected="one image, because a pattern says where it is", fix="leave out --pattern"
        )
    images = {path: each[0] for path, each in series.items()}
    if layer_name is not None:
        check_name(layer_name)
        places = {path: place._replace(name=place.name and f"{layer_name}_{place.name}") for path, place in places.items()}
    layers = placed_layers(found, images, places, layer_name or folder_name(found.root), options)
    return [Inspection(layer.stacks, (layer.order,), layer.notes) for layer in layers]


def _layers(found: Found, series: Mapping[Path, Sequence[ImageFile]], layer_name: str | None, options: SourceOptions) -> list[Inspection]:
    """Return the layers of each group of files; each series of files that have several makes a layer of its own."""
    images = {path: each[0] for path, each in series.items() if len(each) == 1}
    if options.concat or options.grouping.layers:
        if len(images) < len(series):
            raise InputRefused(
                "files with several series cannot follow each other along z", where=found.root, fix="choose one with --series"
            )
        if options.grouping.layers:
            groups = [FileGroup(name, _of(images, found.root, paths)) for name, paths in options.grouping.layers.items()]
        else:
            groups = [FileGroup(prefixed([folder_name(found.root)], layer_name)[0], tuple(images))]
        return [_slices(group, found.root, images, options, len(groups) > 1) for group in groups]
    parts = []
    several = [file for each in series.values() if len(each) > 1 for file in each]
    names = [clean_name(file.about.series) if file.about.series else f"series{i}" for i, file in enumerate(several)]
    for name, file in zip(prefixed(names, layer_name), several, strict=True):
        parts.append(Inspection(tuple(stacks_of(name, [file], found.root, options.content, is_prefix=True))))
    mapping = options.grouping.mapping
    groups = group_files(list(images.values()), found.root, layer_name, options.content.most_layers, mapping) if images else []
    parts += [_slices(group, found.root, images, options, layer_name is not None or len(groups) > 1) for group in groups]
    note = trees_note(groups, found.root) if mapping is INSPECTED else None
    return parts if note is None else [*parts, Inspection((), notes=(note,))]


def _slices(group: FileGroup, root: Path, images: Mapping[Path, ImageFile], options: SourceOptions, is_prefix: bool = False) -> Inspection:
    """Return the layers of files that follow each other along z."""
    joins = bool(options.concat or options.grouping.layers) or len({path.parent for path in group.files}) > 1
    where = root if joins else group.files[0].parent
    check_fit([images[path] for path in group.files], with_planes=not joins, with_pixels=not options.is_padding)
    runs = _runs(group, root, options)
    if joins and len(group.files) > 1 and any(images[path].sizes.t > 1 for path in group.files):
        fix = "leave out --concat" if options.concat else "put them into layers of their own"
        raise InputRefused("files with several points in time cannot follow each other along z", where=where, fix=fix)
    planes = [with_missing([images[path] for path in run.files], run.numbers, run.running, options, where) for run in runs]
    stacks = stacks_of(group.name, [file for each in planes for file in each.files], root, options.content, is_prefix)
    files = [path for run in runs for path in run.files]
    if len(files) == 1:
        return Inspection(tuple(stacks))
    first, last = (str(path.relative_to(where)) for path in (files[0], files[-1]))
    said = [text for text in (*(each.said for each in planes), padding_text([images[path] for path in files])) if text]
    how = "folder after folder" if len(runs) > 1 else replace(runs[0], running=planes[0].running).how
    order = Order(group.name, len(files), first, last, how, "; ".join(said))
    return Inspection(tuple(stacks), (order,), tuple(f"layer {group.name}: {text}" for text in said))


def _runs(group: FileGroup, root: Path, options: SourceOptions) -> list[Slices]:
    """Return the files of a layer in order: the given one, or that of their names, of each folder on its own unless all are joined."""
    grouping = options.grouping
    if grouping.order:
        return [Slices(tuple(sorted(group.files, key=lambda path: grouping.rank(path, root))), is_given=True)]
    if options.concat:
        return [slices_of(group.files, root, root)]
    folders: dict[Path, list[Path]] = {}
    for path in group.files:
        folders.setdefault(path.parent, []).append(path)
    return [slices_of(files, folder) for folder, files in folders.items()]


def _of(images: Mapping[Path, ImageFile], root: Path, paths: Sequence[str]) -> tuple[Path, ...]:
    """Return the images among listed files, in natural order; a file of an OME-TIFF set is part of an earlier one's image."""
    listed = {root / path for path in paths}
    return tuple(path for path in images if path in listed)


def _pages(source: Path, images: Iterable[ImageFile]) -> list[Account]:
    """Return the account of the pages of all files, as the readers report them; nothing if no reader does."""
    accounts = [image.account for image in images if image.account is not None]
    return [Account.joined(source.name, accounts)] if accounts else []
