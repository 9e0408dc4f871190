"""Deletes files of a library that no committed state refers to."""

from __future__ import annotations

from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.files import is_temporary, remove_file
from qvsearch.library.manifest import COPY, FILE_NAME, MANIFEST, SEGMENTS, Manifest, read_manifest

_SHARD_SUFFIXES = (".faiss", ".jsonl", ".facts")
_SUFFIXES = {*_SHARD_SUFFIXES, ".bank", ".words"}


def sweep(folder: Path, manifest: Manifest) -> None:
    """Delete replaced shards and what killed commits left behind.

    Files stay if this manifest, the one on disk or its copy refers to them.
    """
    needed = _names(manifest)
    try:
        for name in (MANIFEST, COPY):
            needed |= _names(read_manifest(folder / name))
        entries = [*folder.iterdir(), *(folder / SEGMENTS).iterdir()]
    except (OSError, QvsearchError):
        return  # without all manifests it is not known which files are needed
    for path in entries:
        if is_temporary(path) or (is_shard_file(path) and path.name not in needed):
            remove_file(path)


def is_shard_file(path: Path) -> bool:
    """Return whether a file has the place and name of a shard's or a baseline's file."""
    named = path.suffix in _SUFFIXES and FILE_NAME.fullmatch(path.stem) is not None
    return named and path.parent.name == SEGMENTS


def _names(manifest: Manifest) -> set[str]:
    """Return the names of the files of the shards and the baseline that a state refers to."""
    baseline = set() if manifest.baseline is None else {f"{manifest.baseline.name}.bank"}
    words = {f"{file.words.name}.words" for file in manifest.files if file.words is not None}
    shards = {f"{file.name}{suffix}" for file in manifest.files for suffix in _SHARD_SUFFIXES}
    return baseline | words | shards
