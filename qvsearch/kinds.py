"""The kinds of files, their suffixes, and the versions of their decoders."""

from __future__ import annotations

import os
from enum import StrEnum


class Kind(StrEnum):
    """The kind of a file; its decoder is the module of the same name in `qvsearch.media`."""

    IMAGE = "image"
    VIDEO = "video"
    TEXT = "text"
    DOCUMENT = "document"


KIND_CODES = {kind: code for code, kind in enumerate(Kind)}  # as shards store them: never reorder

_SUFFIXES = {
    Kind.IMAGE: "jpg jpeg jpe jfif mpo png apng webp gif bmp dib tif tiff avif avifs heic heif hif "
    "jp2 j2k jpf jpx tga psd ico dds pbm pgm ppm pnm pfm",
    Kind.VIDEO: "mp4 mov mkv webm avi m4v mpg mpeg wmv 3gp 3g2 ts mts m2ts vob m2v flv f4v ogv mxf"
    " mpv asf divx",
    Kind.TEXT: "txt md markdown rst org adoc tex log csv tsv srt vtt ass ssa",
    Kind.DOCUMENT: "pdf",
}
KIND_OF_SUFFIX = {
    f".{suffix}": kind for kind, names in _SUFFIXES.items() for suffix in names.split()
}


def kind_of(name: bytes) -> Kind | None:
    """Return the kind of a file's suffix, in any case; None if the suffix is not supported."""
    return KIND_OF_SUFFIX.get(os.fsdecode(os.path.splitext(name)[1]).lower())


# The version of each kind's decoder, raised if some files get other segments or pixels. Rows of an
# older version are reviewed once (`reads_otherwise` in the decoder's module).
READING = {Kind.IMAGE: 2, Kind.VIDEO: 2, Kind.TEXT: 2, Kind.DOCUMENT: 1}
