"""Turns words, arrays, Pillow pictures and paths of files into inputs of a model."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, cast

import numpy as np

from qvsearch.errors import MediaError, QvsearchError, system_reason
from qvsearch.models.prompt import QUERY_INSTRUCTION, TOKEN_SIDE
from qvsearch.types import DecodeOptions, Detail, EmbedInput, Frames, Item, Kind, Skipped, kind_of

if TYPE_CHECKING:
    from PIL import Image

    from qvsearch.types import Embedder, Pixels, Vectors

    Picture = Pixels | Image.Image | str | Path
    Document = EmbedInput | Pixels | Image.Image | str | Path


class QueriesAndDocuments:
    """The convenience methods of every embedder: queries and documents, each with its prompt.

    `decode_options` prepare pictures that are not arrays.
    """

    decode_options = DecodeOptions(Detail.MEDIUM.max_pixels)

    def embed_query(
        self: Embedder,
        words: str | None = None,
        images: Sequence[Picture] = (),
        instruction: str = QUERY_INSTRUCTION,
    ) -> Vectors:
        """Return the unit vector (dim,) of a query: words, pictures, or both as one.

        An image is an array as in `EmbedInput`, a Pillow picture or the path of a file. Raises
        QvsearchError as `embed` does, and for an empty query.
        """
        source = EmbedInput(words, _several(images), instruction=instruction)
        if not words and not source.images:
            raise QvsearchError("the query is empty; give words or images")
        vector: Vectors = self.embed([source])[0]
        return vector

    def embed_documents(self: Embedder, documents: Iterable[Document]) -> Vectors:
        """Return unit rows (n, dim) of documents: a str is a text, a Path the file of a picture.

        Pictures may also be arrays or Pillow pictures. An EmbedInput is a text with pictures, or a
        video, as one document. Raises QvsearchError as `embed` does.
        """
        if isinstance(documents, (str, Path, EmbedInput)):
            raise QvsearchError("embed_documents takes a list; write embed_documents([document])")
        return self.embed([_document(each) for each in documents])


def options_of(detail: Detail | str) -> DecodeOptions:
    """Return how a new library of this detail decodes files; raises QvsearchError for no detail."""
    if detail not in list(Detail):
        raise QvsearchError(f"the detail {detail!r} is unknown; give {', '.join(Detail)}")
    return DecodeOptions(Detail(detail).max_pixels)


def prepare_picture(picture: Picture, detail: Detail | str = Detail.MEDIUM) -> Pixels:
    """Return the pixels (h, w, 3) uint8 RGB of a Pillow picture or a file, for an `EmbedInput`.

    They are upright, on white, in sRGB, and resized to multiples of 32 within the detail, as
    `index` does for a new library. A file is decoded in another process, so scripts need the
    `if __name__ == "__main__":` of Python's multiprocessing. An array is checked and returned.
    Raises QvsearchError for an unknown detail or a picture that cannot be read.
    """
    options = options_of(detail)
    if isinstance(picture, (str, Path)):
        return _decoded([Path(picture)], options)[Path(picture)]
    return _array("the picture", picture, options.max_pixels)


def ready(
    inputs: Iterable[EmbedInput],
    options: DecodeOptions = QueriesAndDocuments.decode_options,
) -> list[EmbedInput]:
    """Return inputs whose pictures are all arrays that the model accepts.

    Pillow pictures and files are prepared as `index` prepares a file with these options: upright,
    on white, in sRGB, resized. Files are decoded in other processes, so scripts need the
    `if __name__ == "__main__":` of Python's multiprocessing. Raises QvsearchError, which names the
    input, for anything else.
    """
    if isinstance(inputs, EmbedInput):
        raise QvsearchError("the inputs are one EmbedInput; give a list: [input]")
    checked = [_checked(number, each) for number, each in enumerate(inputs)]
    paths = {Path(each) for source in checked for each in source.images if _is_path(each)}
    decoded = _decoded(paths, options) if paths else {}

    def pixels(name: str, picture: Picture) -> Pixels:
        if isinstance(picture, (str, Path)):
            return decoded[Path(picture)]
        return _array(name, picture, options.max_pixels)

    return [
        _with_images(
            source,
            tuple(
                pixels(f"image {place} of input {number}", image)
                for place, image in enumerate(source.images)
            ),
        )
        for number, source in enumerate(checked)
    ]


def _with_images(source: EmbedInput, images: tuple[Pixels, ...]) -> EmbedInput:
    """Return an input with these images: the same object if it has them, as caches compare ids."""
    own = isinstance(source.images, tuple) and len(images) == len(source.images)
    if own and all(one is other for one, other in zip(images, source.images, strict=True)):
        return source
    return replace(source, images=images)


def _is_path(picture: object) -> TypeGuard[str | Path]:
    return isinstance(picture, (str, Path))


def _several(images: object) -> tuple[Pixels, ...]:
    """Return one image or several as a tuple; pictures and paths are not changed."""
    return tuple(images) if isinstance(images, (tuple, list)) else cast("tuple[Pixels]", (images,))


def _document(document: Document) -> EmbedInput:
    if isinstance(document, EmbedInput):
        return document
    if isinstance(document, str):
        return EmbedInput(document)
    return EmbedInput(images=(cast("Pixels", document),))


def _checked(number: int, source: EmbedInput) -> EmbedInput:
    """Return an input with a tuple of images; raises QvsearchError for invalid texts or video."""
    if not isinstance(source, EmbedInput):
        raise QvsearchError(
            f"input {number} is of type {type(source).__name__}; give EmbedInput(text) or"
            " EmbedInput(images=(picture,)), or use embed_query or embed_documents"
        )
    for part, text in (("text", source.text), ("instruction", source.instruction)):
        if text is None:
            continue
        if not isinstance(text, str):
            raise QvsearchError(
                f"the {part} of input {number} is of type {type(text).__name__}; give a str"
            )
    if source.video is not None:
        _check_frames(f"the video of input {number}", source.video)
    return _with_images(source, _several(source.images))


def _check_frames(name: str, video: Frames) -> None:
    if not isinstance(video, Frames):
        raise QvsearchError(f"{name} is of type {type(video).__name__}; give Frames(pixels, times)")
    _check_array(name, video.pixels, "time, height, width, 3")
    if len(video.times) != len(video.pixels) or not np.isfinite(video.times).all():
        raise QvsearchError(
            f"{name} has {len(video.pixels)} frames and {len(video.times)} times;"
            " give each frame its time in seconds"
        )


def _array(name: str, picture: Pixels | Image.Image, max_pixels: int) -> Pixels:
    """Return the array of a picture; raises QvsearchError for anything else."""
    if not isinstance(picture, np.ndarray):
        from PIL import Image  # not needed by words and arrays

        if isinstance(picture, Image.Image):
            return _fitted(name, picture, max_pixels)
    _check_array(name, picture, "height, width, 3")
    return picture


def _check_array(name: str, array: Pixels, sides: str) -> None:
    """Raise QvsearchError unless an array is uint8 RGB with these sides, multiples of 32."""
    if not isinstance(array, np.ndarray):
        raise QvsearchError(
            f"{name} is of type {type(array).__name__}; give an array, a Pillow picture or a path"
        )
    if array.ndim != sides.count(",") + 1 or array.shape[-1] != 3:
        channels_first = array.ndim > 2 and array.shape[-3] == 3
        remedy = "; np.moveaxis(array, -3, -1) puts the colours last" if channels_first else ""
        raise QvsearchError(f"{name} has the shape {array.shape}, not ({sides}){remedy}")
    if array.dtype != np.uint8:
        raise QvsearchError(f"{name} is an array of {array.dtype}; give uint8 values from 0 to 255")
    if array.ndim == 4 and not len(array):
        raise QvsearchError(f"{name} has no frames; give one at least")
    height, width = array.shape[-3:-1]
    if not height or not width or height % TOKEN_SIDE or width % TOKEN_SIDE:
        raise QvsearchError(
            f"{name} is {width}x{height} pixels; its sides must be multiples of {TOKEN_SIDE}."
            " Give Image.fromarray(array), which is resized"
        )


def _fitted(name: str, picture: Image.Image, max_pixels: int) -> Pixels:
    """Return the pixels of a Pillow picture, prepared like those of a file."""
    from qvsearch.media.colour import read_colours
    from qvsearch.media.pixels import check_size, fit

    try:
        check_size(*picture.size)
        return fit(picture, max_pixels, colours=read_colours(picture, io.BytesIO()))
    except (OSError, ValueError, SyntaxError, MediaError) as error:
        raise QvsearchError(f"{name} cannot be used: {error}") from error


def _decoded(paths: Iterable[Path], options: DecodeOptions) -> dict[Path, Pixels]:
    """Return the pixels of picture files."""
    from qvsearch.media.workers import Decoders

    jobs = {path: (_item(path), "") for path in paths}
    pixels: dict[Path, Pixels] = {}
    with Decoders() as decoders:
        outcomes = decoders.decode(jobs.values(), replace(options, films=False))
        for path, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Skipped):
                raise QvsearchError(f"{path} cannot be used: {outcome.reason}")
            pixels[path] = outcome.segments[0][1].images[0]
    return pixels


def _item(path: Path) -> Item:
    location = os.path.abspath(os.fsencode(path))
    if kind_of(location) is not Kind.IMAGE:
        raise QvsearchError(f"{path} has no suffix of a picture; give a text as a str")
    try:
        status = path.stat()
    except OSError as error:
        raise QvsearchError(f"{path}: {system_reason(error)}") from error
    return Item(location, b"", Kind.IMAGE, status.st_size, status.st_mtime_ns)
