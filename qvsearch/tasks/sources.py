"""Inputs of tasks from a command line, from files of lines, and from Python."""

from __future__ import annotations

import io
import os
import select
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from qvsearch.errors import QvsearchError
from qvsearch.files import MIB
from qvsearch.indexing.batching import Pause
from qvsearch.tasks.inputs import (
    TaskInput,
    file_input,
    parse_argument,
    parse_dictionary,
    read_lines,
)
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from io import BufferedReader

    Source = str | Path | Mapping[str, object] | TaskInput

LONGEST = 16 * MIB  # bytes of a line; more is not a list of inputs
PATIENCE = 0.1  # seconds without input after which the inputs so far are embedded


def read_arguments(
    arguments: Iterable[str], instruction: str | None = None
) -> Iterator[TaskInput | Skipped]:
    """Yield the input of each argument: the path of an existing file, or words."""
    for text in arguments:
        try:
            if _is_folder(text):
                raise QvsearchError(
                    "it is a folder; give its files (find FOLDER -print0 | qvsearch embed -0 -),"
                    " or index it and use: qvsearch export"
                )
            yield parse_argument(text, instruction)
        except QvsearchError as error:
            yield Skipped(os.fsencode(text), str(error))


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:  # words may be too long for the name of a file
        return False


def read_stream(
    stream: BinaryIO, name: str, instruction: str | None = None, *, paths: bool = False
) -> Iterator[TaskInput | Skipped]:
    """Yield the input of each line: words, or JSON as `parse_dictionary` takes it.

    If they are `paths`, each ends in a NUL byte. Relative paths are those of the current folder.
    Raises QvsearchError for a line of more than LONGEST bytes.
    """
    for each in read_live(stream, name, instruction, paths=paths):
        if not isinstance(each, Pause):
            yield each


def read_live(
    stream: BinaryIO, name: str, instruction: str | None = None, *, paths: bool = False
) -> Iterator[TaskInput | Skipped | Pause]:
    """Yield the inputs of `read_stream`, and a Pause if none has come for PATIENCE seconds."""
    folder = os.fsencode(Path.cwd())
    if paths:
        yield from _read_paths(_arriving(stream, name, b"\0"), folder, instruction)
    else:
        yield from read_lines(_arriving(stream, name, b"\n"), name, folder, instruction)


def _read_paths(
    paths: Iterable[bytes | Pause], folder: bytes, instruction: str | None
) -> Iterator[TaskInput | Skipped | Pause]:
    for path in paths:
        if isinstance(path, Pause):
            yield path
        elif name := path.removesuffix(b"\0"):
            location = os.path.abspath(os.path.join(folder, name))
            try:
                yield file_input(location, instruction)
            except QvsearchError as error:
                yield Skipped(location, str(error).removeprefix(os.fsdecode(location)).lstrip())


def pieces(stream: BinaryIO, name: str, end: bytes) -> Iterator[bytes]:
    """Yield what a stream holds up to and with each `end`, as it arrives.

    Raises QvsearchError for a piece of more than LONGEST bytes.
    """
    return (each for each in _arriving(stream, name, end) if not isinstance(each, Pause))


def _arriving(stream: BinaryIO, name: str, end: bytes) -> Iterator[bytes | Pause]:
    rest = b""
    for data in _read(stream):
        if isinstance(data, Pause):
            yield data
            continue
        *whole, rest = (rest + data).split(end)
        if max(map(len, (*whole, rest))) >= LONGEST:
            raise QvsearchError(_too_long(name))
        yield from (piece + end for piece in whole)
    if rest:
        yield rest


def _read(stream: BinaryIO) -> Iterator[bytes | Pause]:
    """Yield the bytes of a stream as they come, and a Pause before each long wait."""
    buffered = cast("BufferedReader", stream)
    try:
        file = [stream.fileno()]
    except io.UnsupportedOperation:  # bytes in memory
        file = []
    while True:
        # `read1` of at least a buffer leaves nothing behind in it that `select` would not see
        if file and not select.select(file, [], [], PATIENCE)[0]:
            yield Pause()
        data = buffered.read1(MIB)
        if not data:
            return
        yield data


def _too_long(name: str) -> str:
    return f"{name} has a line of more than {LONGEST:,} bytes; give one input a line"


def as_inputs(
    sources: Iterable[Source], instruction: str | None = None
) -> Iterator[TaskInput | Skipped]:
    """Yield the inputs of Python values: a str is words, a Path a file, or a dictionary."""
    folder = os.fsencode(Path.cwd())
    for number, source in enumerate(sources):
        name = f"input {number}"
        try:
            if isinstance(source, TaskInput):
                yield source
            elif isinstance(source, Path):
                name = str(source)
                yield file_input(os.path.abspath(os.fsencode(source)), instruction)
            else:
                content = {"text": source} if isinstance(source, str) else source
                each = parse_dictionary(name, content, folder)
                yield each if each.instruction else replace(each, instruction=instruction)
        except QvsearchError as error:
            yield Skipped(os.fsencode(name), str(error).removeprefix(name).lstrip(": "))


def label(each: TaskInput | Skipped) -> bytes:
    """Return how results name an input: its words, or the path of its one file."""
    if isinstance(each, Skipped):
        return each.path
    if each.text is not None and not each.files:
        return os.fsencode(each.text)
    if each.text is None and len(each.files) == 1:
        return each.files[0]
    return each.name
