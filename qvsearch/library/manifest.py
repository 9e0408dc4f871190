"""The manifest: the one file that defines a library, with its fingerprint, roots and shards.

Replacing the manifest is the commit. It holds a checksum of itself, and there is a copy beside it
in case it is damaged.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from qvsearch.errors import QvsearchError
from qvsearch.files import Seal, open_file, write_file
from qvsearch.formats import path_fields, read_path
from qvsearch.library.names import MANIFEST as MANIFEST
from qvsearch.library.names import SEGMENTS as SEGMENTS
from qvsearch.library.names import absence, check_local, exists, option
from qvsearch.library.rules import Rules, read_rules, rules_records
from qvsearch.types import Detail, Fingerprint, Kind, Precision, Stored, VideoMode

FORMAT = 4  # with words, documents and more columns, which older versions would drop or refuse
OLD_FORMATS = {Stored.FLOAT16: 1, Stored.INT8: 2}
RULES_FORMAT = 3  # of an older library with rules
COPY = "manifest.json.bak"
LARGEST_DIM = 1 << 16
LARGEST = 24 * 1024 * 1024  # bytes of a manifest; ten thousand shards take a few
MOST_VALUES = 2_000_000  # numbers, texts and lists; a million removed rows take as many
LARGEST_COUNT = 10**17  # of rows, files and commits
LEAST_LINE, LARGEST_LINE = 64, 1 << 20  # bytes of a row in a sidecar
T = TypeVar("T")
FILE_NAME = re.compile(r"[0-9]{6,18}")


class Damaged(QvsearchError):
    """A file of a library is not that which was written; the text names the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        folder = path.parent.parent if path.parent.name == SEGMENTS else path.parent
        super().__init__(
            f"{path} is damaged: {reason};"
            f" `qvsearch check --repair{option(folder)}` keeps what is sound"
        )
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class WordsFile:
    """The file of a shard's words: its own name, since it may be written again for a shard."""

    name: str
    seal: Seal


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """The files of a shard: vectors, sidecar and columns; `dead` are removed rows as ranges [a, b).

    The fields have the names of the disk: `bank` is the sha256 of the baseline that the backgrounds
    are of, and `facts` are the columns. A library of an older version may lack these and `words`.
    """

    name: str
    rows: int
    faiss: Seal
    sidecar: Seal
    dead: tuple[tuple[int, int], ...] = ()
    bank: str | None = None
    facts: Seal | None = None
    words: WordsFile | None = None


@dataclass(frozen=True, slots=True)
class BaselineFile:
    """The file of the generic queries that each row is compared with; `rows` is their number."""

    name: str
    rows: int
    seal: Seal


@dataclass(frozen=True, slots=True)
class Manifest:
    """A committed state. A removed root leaves None, so that the numbers of the others stay.

    `next` is the number of the next shard, baseline or file of words; names are never used twice.
    `store` is the storage type of all vectors. `rules` has the roots that have any.
    """

    fingerprint: Fingerprint
    roots: tuple[bytes | None, ...] = ()
    files: tuple[ShardFiles, ...] = ()
    next: int = 1
    generation: int = 0
    baseline: BaselineFile | None = None
    store: Stored = Stored.FLOAT16
    rules: dict[bytes, Rules] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        record = {
            "format": FORMAT,
            "generation": self.generation,
            "fingerprint": self.fingerprint,
            "roots": [None if root is None else path_fields("path", root) for root in self.roots],
            "segments": self.files,
            "next": self.next,
            "bank": self.baseline,
            "store": self.store,
        }
        if self.rules:
            record["rules"] = rules_records(self.rules)
        # Through JSON and back, because the checksum is of the record that a reader gets.
        plain = orjson.loads(orjson.dumps(record))
        return orjson.dumps(plain | {"sha256": _checksum(plain)}, option=orjson.OPT_APPEND_NEWLINE)


def faiss_path(folder: Path, name: str) -> Path:
    """Return the path of a shard's vectors."""
    return folder / SEGMENTS / f"{name}.faiss"


def sidecar_path(folder: Path, name: str) -> Path:
    """Return the path of a shard's lines."""
    return folder / SEGMENTS / f"{name}.jsonl"


def columns_path(folder: Path, name: str) -> Path:
    """Return the path of a shard's columns."""
    return folder / SEGMENTS / f"{name}.facts"


def baseline_path(folder: Path, name: str) -> Path:
    """Return the path of a baseline's vectors."""
    return folder / SEGMENTS / f"{name}.bank"


def words_path(folder: Path, name: str) -> Path:
    """Return the path of a file of words."""
    return folder / SEGMENTS / f"{name}.words"


def check_size(path: Path, seal: Seal, size: int) -> None:
    """Raise Damaged unless a file has the size that was written."""
    if size != seal.size:
        raise Damaged(path, f"it has {size:,} bytes, but {seal.size:,} were written")


def check_sum(path: Path, seal: Seal, data: bytes | memoryview) -> None:
    """Raise Damaged unless a file has the content that was written."""
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != seal.sha256:
        raise Damaged(path, f"its sha256 is {sha256[:12]}…, but {seal.sha256[:12]}… was written")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Commit a state; raises QvsearchError if it cannot be written.

    The copy is written first, so that nothing can fail once the manifest is in place.
    """
    data = manifest.to_bytes()
    if objection := _too_large(data, len(data)):
        raise QvsearchError(
            f"the manifest of {folder} cannot be written: {objection};"
            " index some of its folders into a library of their own, with --library"
        )
    write_file(folder / COPY, data)
    write_file(folder / MANIFEST, data)


def read_manifest(path: Path) -> Manifest:
    """Return the state that a manifest file holds; OSErrors pass through.

    Raises Damaged, or QvsearchError for a newer format.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(LARGEST + 1)
    if objection := _too_large(data, max(size, len(data))):
        raise Damaged(path, objection)
    try:
        record = orjson.loads(data)
    except ValueError as error:
        raise Damaged(path, "it is not JSON") from error
    match record:
        case {"format": int(number)} if number > FORMAT:
            raise QvsearchError(
                f"{path} has format {number}, but this qvsearch reads up to {FORMAT};"
                " upgrade with: pip install -U qvsearch"
            )
        case {"sha256": str(checksum)}:
            del record["sha256"]
        case _:
            raise Damaged(path, "it is not a manifest")
    try:
        if checksum != _checksum(record):
            raise Damaged(path, "its checksum does not match")
        return _parse(record)
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(path, f"it is not what qvsearch writes ({error})") from error


def check_way(folder: Path) -> None:
    """Raise QvsearchError if a file, or a broken link, is in the way of a library's folder."""
    check_local(folder)
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not nearest.is_dir():
        what = "not a folder" if nearest.exists() else "a broken link"
        raise QvsearchError(
            f"no library can be at {folder}: {nearest} is {what}; name another one with --library"
        )


def read_committed(folder: Path) -> Manifest:
    """Return the committed state of a library; raises QvsearchError if it cannot be read."""
    try:
        return read_manifest(folder / MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        if exists(folder):
            raise Damaged(folder / MANIFEST, "it is missing") from error
        check_way(folder)
        raise QvsearchError(absence(folder)) from error
    except OSError as error:
        raise unreadable(folder, error) from error


def is_committed(folder: Path, manifest: Manifest) -> bool:
    """Return whether a library has this state on disk."""
    try:
        return read_committed(folder) == manifest
    except QvsearchError:
        return False


def unreadable(folder: Path, error: OSError) -> QvsearchError:
    """Return the error to raise if a file of a library cannot be read."""
    if not error.filename:
        return QvsearchError(f"cannot read the library {folder}: {error.strerror}")
    path = Path(os.fsdecode(error.filename))
    if isinstance(error, FileNotFoundError):
        return Damaged(path, "it is missing")
    if error.errno in (errno.EINVAL, errno.EISDIR):  # as `open_file` raises them
        return Damaged(path, "it is not a plain file")
    return QvsearchError(f"cannot read {path} of the library: {error.strerror}")


def highest_name(files: Iterable[ShardFiles], baseline: BaselineFile | None) -> int:
    """Return the highest number that names a file of a state, or 0."""
    names = [] if baseline is None else [baseline.name]
    for file in files:
        names += [file.name] if file.words is None else [file.name, file.words.name]
    return max(map(int, names), default=0)


def _too_large(data: bytes, size: int) -> str | None:
    """Return why a manifest is too large: reading it takes many times its size in memory."""
    if size > LARGEST:
        return f"it has {size:,} bytes; at most {LARGEST:,} can be read"
    if (values := data.count(b",")) > MOST_VALUES:
        return f"it has {values:,} values; at most {MOST_VALUES:,} can be read"
    return None


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(record, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _parse(record: dict[str, Any]) -> Manifest:
    """Raise KeyError, TypeError or ValueError for anything that `to_bytes` does not write."""
    store = Stored(record.get("store", Stored.FLOAT16))
    fingerprint = read_fingerprint(_need(record, "fingerprint", dict))
    files = tuple(_parse_file(file, fingerprint.dim) for file in _need(record, "segments", list))
    following = _need_count(record, "next")
    baseline = None if record.get("bank") is None else _parse_baseline(_need(record, "bank", dict))
    names = [int(file.name) for file in files] + ([] if baseline is None else [int(baseline.name)])
    words = [int(file.words.name) for file in files if file.words is not None]
    is_used_twice = len(set(names)) < len(names) or len(set(words)) < len(words)
    if is_used_twice or highest_name(files, baseline) >= following:
        raise ValueError("the name of a shard is used twice or too high")
    roots = [None if root is None else read_path(root) for root in _need(record, "roots", list)]
    rules = {} if record.get("rules") is None else read_rules(_need(record, "rules", list))
    # The first version with rules wrote them without format 3.
    formats = {FORMAT, OLD_FORMATS[store], *([RULES_FORMAT] if rules else [])}
    if _need(record, "format", int) not in formats:
        raise ValueError(f"format is {record['format']}")
    if not rules.keys() <= set(roots):
        raise ValueError("there are rules for a root that is missing")
    return Manifest(
        fingerprint,
        tuple(roots),
        files,
        following,
        _need_count(record, "generation"),
        baseline,
        store,
        rules,
    )


def read_fingerprint(record: dict[str, Any]) -> Fingerprint:
    """Return the fingerprint of a record; raises KeyError, TypeError or ValueError otherwise."""
    dim = _need(record, "dim", int)
    if not 0 < dim <= LARGEST_DIM:
        raise ValueError(f"dim is {dim}")
    return Fingerprint(
        model=_need(record, "model", str),
        revision=_need(record, "revision", str),
        dim=dim,
        detail=Detail(record["detail"]),
        instruction=_need(record, "instruction", str),
        prompt_layout=_need(record, "prompt_layout", int),
        preprocessing=_need(record, "preprocessing", int),
        video_mode=VideoMode(record.get("video_mode", VideoMode.FRAMES)),
        precision=Precision(record.get("precision", Precision.FLOAT)),
        adapter=None if record.get("adapter") is None else _need(record, "adapter", str),
        mmproj=None if record.get("mmproj") is None else _need(record, "mmproj", str),
        kinds=tuple(Kind(kind) for kind in record.get("kinds", [])),
        document_detail=None
        if record.get("document_detail") is None
        else Detail(record["document_detail"]),
    )


def _parse_file(record: dict[str, Any], dim: int) -> ShardFiles:
    name = _parse_name(record)
    rows = _need_count(record, "rows")
    dead = tuple((int(start), int(end)) for start, end in _need(record, "dead", list))
    edges = [0, *(edge for pair in dead for edge in pair), rows]
    if edges != sorted(edges):
        raise ValueError(f"removed rows of {name} are not within its {rows} rows")
    faiss, sidecar = _parse_seal(record["faiss"]), _parse_seal(record["sidecar"])
    # Readers trust these numbers for the memory they allocate.
    if not (rows * dim <= faiss.size and rows * LEAST_LINE <= sidecar.size <= rows * LARGEST_LINE):
        raise ValueError(f"the sizes of the files of {name} do not fit {rows} rows")
    baseline = None if record.get("bank") is None else _need(record, "bank", str)
    columns = None if record.get("facts") is None else _parse_seal(_need(record, "facts", dict))
    words = None if record.get("words") is None else _parse_words(_need(record, "words", dict))
    return ShardFiles(name, rows, faiss, sidecar, dead, baseline, columns, words)


def _parse_words(record: dict[str, Any]) -> WordsFile:
    return WordsFile(_parse_name(record), _parse_seal(_need(record, "seal", dict)))


def _parse_baseline(record: dict[str, Any]) -> BaselineFile:
    seal = _parse_seal(_need(record, "seal", dict))
    return BaselineFile(_parse_name(record), _need_count(record, "rows"), seal)


def _parse_name(record: dict[str, Any]) -> str:
    name = _need(record, "name", str)
    # The name becomes part of a path.
    if not FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a shard")
    return name


def _parse_seal(record: dict[str, Any]) -> Seal:
    return Seal(_need(record, "size", int), _need(record, "sha256", str))


def _need_count(record: dict[str, Any], key: str) -> int:
    value = _need(record, key, int)
    if not 0 <= value < LARGEST_COUNT:
        raise ValueError(f"{key} is {value}")
    return value


def _need(record: dict[str, Any], key: str, kind: type[T]) -> T:
    value = record[key]
    if type(value) is not kind:
        raise TypeError(f"{key} is {value!r}")
    return value
