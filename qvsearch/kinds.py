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

_RAW = "3fr arw cr2 cr3 dng erf iiq kdc mef mrw nef nrw orf pef raf rw2 rwl sr2 srw x3f"
RAW = frozenset(f".{suffix}" for suffix in _RAW.split())  # raw files of cameras
_SUFFIXES = {
    Kind.IMAGE: "jpg jpeg jpe jfif mpo png apng webp gif bmp dib tif tiff avif avifs heic heif hif "
    f"jxl jp2 j2k jpf jpx tga psd ico dds pbm pgm ppm pnm pfm {_RAW}",
    Kind.VIDEO: "mp4 mov mkv webm avi m4v mpg mpeg wmv 3gp 3g2 ts mts m2ts vob m2v flv f4v ogv mxf"
    " mpv asf divx",
    Kind.TEXT: "txt md markdown rst org adoc tex log csv tsv srt vtt ass ssa rtf eml mhtml mht",
    Kind.DOCUMENT: "pdf",
}
_PACKED = frozenset(
    f".{suffix}"
    for suffix in ("docx", "docm", "dotx", "pptx", "pptm", "ppsx", "xlsx", "xlsm", "odt", "ods")
    + ("odp", "epub")
)
# texts of programmers: they are left out where programs put code by the thousand files
_CODE = (
    "html htm xhtml ipynb py pyi js mjs cjs jsx tsx vue svelte rs go c h cc cpp cxx hh hpp java kt"
    " kts scala swift m mm cs fs vb rb php pl pm lua r jl dart ex exs erl hs ml clj lisp el zig nim"
    " f90 asm sh bash zsh fish ps1 bat sql json jsonl json5 yaml yml toml ini cfg conf properties"
    " xml xsd xsl css scss sass less bib sty cls proto graphql cmake gradle dockerfile tf nix"
)
_CODE_SUFFIXES = frozenset(f".{suffix}" for suffix in _CODE.split())
MAY_BE_CODE = frozenset({".ts", ".mts"})  # of films (MPEG transport streams), and of TypeScript
_NAMES = (
    "readme license licence copying notice authors contributors changelog changes news todo install"
    " makefile dockerfile containerfile jenkinsfile vagrantfile gemfile rakefile procfile justfile"
    " brewfile podfile build workspace sconstruct"
)
_CODE_NAMES = frozenset(_NAMES.split())
KIND_OF_SUFFIX = {
    **{f".{suffix}": kind for kind, names in _SUFFIXES.items() for suffix in names.split()},
    **dict.fromkeys(sorted(_PACKED | _CODE_SUFFIXES), Kind.TEXT),
}


def kind_of(name: bytes) -> Kind | None:
    """Return the kind of a file by its suffix, or its whole name, in any case; None for others."""
    suffix = suffix_of(name)
    if not suffix and _base(name) in _CODE_NAMES:
        return Kind.TEXT
    return KIND_OF_SUFFIX.get(suffix)


def is_code(name: bytes) -> bool:
    """Return whether the name of a file is that of code, configuration or a web page."""
    suffix = suffix_of(name)
    return suffix in _CODE_SUFFIXES | MAY_BE_CODE or (not suffix and _base(name) in _CODE_NAMES)


def is_packed(name: bytes) -> bool:
    """Return whether a text by its name is a ZIP file of parts, as Office and e-books are."""
    return suffix_of(name) in _PACKED


def is_file_name(word: bytes) -> bool:
    """Return whether a word can only be a file: `holiday.jpg`, not `node.js` or `license`.

    An address and a domain are none: `ann@museum.org`.
    """
    if b"@" in word or suffix_of(word) == ".org":
        return False
    return kind_of(word) is not None and not (is_code(word) and suffix_of(word) not in MAY_BE_CODE)


def suffix_of(name: bytes) -> str:
    """Return the suffix of a file's name with its dot, in lower case."""
    return os.fsdecode(os.path.splitext(name)[1]).lower()


def _base(name: bytes) -> str:
    return os.fsdecode(os.path.basename(name)).lower()


# The version of each kind's decoder, raised if some files get other segments or pixels. Rows of an
# older version are reviewed once (`reads_otherwise` in the decoder's module).
READING = {Kind.IMAGE: 5, Kind.VIDEO: 3, Kind.TEXT: 5, Kind.DOCUMENT: 2}
