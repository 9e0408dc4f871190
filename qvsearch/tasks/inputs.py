"""Inputs of a task: words, files, and dictionaries like the published class's, to unit vectors."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from qvsearch.errors import QvsearchError
from qvsearch.indexing.batching import Pause, embed_files
from qvsearch.media import whole
from qvsearch.media.kind_at import kind_at
from qvsearch.media.workers import Decoders
from qvsearch.retrieval.query import EXAMPLES, is_path, read_item
from qvsearch.runtime.inputs import QueriesAndDocuments
from qvsearch.types import Decoded, EmbedInput, Item, Kind, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Embedder, Vectors

JSON_LINES = (".jsonl", ".ndjson")  # no line of such a file is plain words
KEYS = {"text", "image", "video", "instruction"}  # of a dictionary
P = TypeVar("P", bound=Pause)  # among inputs that come bit by bit; no other ones have it
AT_ONCE = 256  # inputs whose files are decoded side by side


@dataclass(frozen=True, slots=True)
class TaskInput:
    """One input: words, files, or both together.

    `name` is what reports call it. Paths are absolute bytes; `video` is one file. A file among
    `texts` is read as words. `instruction` None is the default of documents.
    """

    name: bytes
    text: str | None = None
    images: tuple[bytes, ...] = ()
    video: bytes | None = None
    texts: tuple[bytes, ...] = ()
    instruction: str | None = None

    @property
    def files(self) -> tuple[bytes, ...]:
        """The paths of all files of it."""
        return (*self.images, *(() if self.video is None else (self.video,)), *self.texts)


def parse_argument(text: str, instruction: str | None = None) -> TaskInput:
    """Return the input that a person typed: the path of an existing file, or words.

    Raises QvsearchError for a folder, an unsupported file and empty words, as for a query.
    """
    if is_path(text, os.fsencode(text)):
        return file_input(os.path.abspath(os.fsencode(text)), instruction)
    if not text.strip():
        raise QvsearchError("an input is empty; give words or the path of a file")
    return TaskInput(os.fsencode(text), _checked_words("the input", text), instruction=instruction)


def file_input(path: bytes, instruction: str | None = None) -> TaskInput:
    """Return the input of one file by its absolute path; raises QvsearchError for other kinds."""
    kind = kind_at(path)
    name = TaskInput(path, instruction=instruction)
    match kind:
        case Kind.IMAGE | Kind.DOCUMENT:
            return replace(name, images=(path,))
        case Kind.VIDEO:
            return replace(name, video=path)
        case Kind.TEXT:
            return replace(name, texts=(path,))
    raise QvsearchError(f"{os.fsdecode(path)} has an unsupported suffix; give a file {EXAMPLES}")


def parse_dictionary(name: str, source: object, folder: bytes) -> TaskInput:
    """Return the input of a dictionary in the published class's form.

    Its keys are `text` (one or a list), `image` (a path or a list), `video` (a path) and
    `instruction`; paths are relative to `folder`. Raises QvsearchError, which begins with `name`,
    for another type, an unknown key, a URL, or no content.
    """
    if not isinstance(source, Mapping):
        raise QvsearchError(f"{name} is of type {type(source).__name__}; give a dictionary")
    if unknown := [str(key) for key in source if key not in KEYS]:
        raise QvsearchError(
            f"{name} has the unknown key {unknown[0]!r}; give {', '.join(sorted(KEYS))}"
        )
    words = [_checked_words(name, each) for each in _listed(name, source, "text")]
    images = [_path(name, each, folder) for each in _listed(name, source, "image")]
    videos = [_path(name, each, folder) for each in _listed(name, source, "video")]
    instructions = _listed(name, source, "instruction")
    if len(videos) > 1 or len(instructions) > 1:
        key = "video" if len(videos) > 1 else "instruction"
        raise QvsearchError(f"{name} has a list of several under {key!r}; give one")
    text = "".join(words)
    if not (text.strip() or images or videos):
        raise QvsearchError(f"{name} has no content; give text, image or video")
    return TaskInput(
        os.fsencode(name),
        text or None,
        tuple(images),
        videos[0] if videos else None,
        instruction=instructions[0] if instructions else None,
    )


def read_lines(
    lines: Iterable[bytes | P], source: str, folder: bytes, instruction: str | None = None
) -> Iterator[TaskInput | Skipped | P]:
    """Yield the input of each line that is not blank: a JSON dictionary or string, else words.

    `source` is the name of the file for reports; if it ends in JSON_LINES, words are wrong. A wrong
    line is a Skipped with its number.
    """
    number = 0
    for line in lines:
        if isinstance(line, Pause):
            yield line
            continue
        number += 1
        name = f"line {number} of {source}"
        try:
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if content := line.strip():
                each = _parse_line(name, content, folder)
                yield each if each.instruction else replace(each, instruction=instruction)
        except QvsearchError as error:
            yield Skipped(os.fsencode(name), str(error).removeprefix(name).lstrip(": "))


def _parse_line(name: str, line: bytes, folder: bytes) -> TaskInput:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise QvsearchError(f"{name}: it is no UTF-8 text") from error
    if text[0] not in '{["' and not name.endswith(JSON_LINES):
        return TaskInput(os.fsencode(name), text)
    try:
        source = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QvsearchError(f"{name}: it is no JSON: {error}") from error
    return parse_dictionary(name, {"text": source} if isinstance(source, str) else source, folder)


def _listed(name: str, source: Mapping[str, Any], key: str) -> list[str]:
    """Return the strings under a key: one, several or none."""
    value = source.get(key)
    values = [] if value is None else value if isinstance(value, list) else [value]
    for each in values:
        if not isinstance(each, str):
            raise QvsearchError(f"{name}: {key!r} is of type {type(each).__name__}; give a string")
    return values


def _checked_words(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a byte that is no letter, or half a surrogate pair
        raise QvsearchError(f"{name} is no UTF-8 text; type it again") from error
    return text


def _path(name: str, text: str, folder: bytes) -> bytes:
    """Return an absolute path; raises QvsearchError for a URL, which is never fetched."""
    text = text.removeprefix("file://")
    if "://" in text or text.startswith("data:"):
        raise QvsearchError(f"{name}: URLs are not fetched; save {text[:80]} as a file")
    if "\0" in text or not text:
        raise QvsearchError(f"{name}: {text!r} is not a path")
    try:
        return os.path.abspath(os.path.join(folder, os.fsencode(text)))
    except UnicodeEncodeError as error:  # half a surrogate pair
        raise QvsearchError(f"{name}: {text!r} is not a path") from error


def first_reason(skipped: Sequence[Skipped]) -> str:
    """Return the first input that cannot be used with its reason, to end an error; "" if none."""
    if not skipped:
        return ""
    path = os.fsdecode(skipped[0].path)
    return f": {path}: {skipped[0].reason.removeprefix(f'{path}: ')}"


def read_inputs(
    inputs: Iterable[TaskInput | Skipped | P], options: DecodeOptions
) -> Iterator[EmbedInput | Skipped | P]:
    """Yield the model's input for each input, in order, or why there is none.

    Files are decoded in confined processes, so scripts need the `if __name__ == "__main__":` of
    Python's multiprocessing. A picture has the pixels that `index` gives it with these options.
    A video is one input of frames, a document of pages (`media.whole`), a text file is whole.
    """
    with Decoders(decode=whole.decode) as decoders:
        for some in _groups(inputs):
            jobs = [_jobs(each) if isinstance(each, TaskInput) else [] for each in some]
            good = [job for each in jobs if not isinstance(each, Skipped) for job in each]
            decoded = decoders.decode(good, options)
            for each, files in zip(some, jobs, strict=True):
                if not isinstance(each, TaskInput):
                    yield each
                elif isinstance(files, Skipped):
                    yield files
                else:
                    yield _joined(each, [next(decoded) for _ in files])


def _groups(inputs: Iterable[TaskInput | Skipped | P]) -> Iterator[list[TaskInput | Skipped | P]]:
    """Yield inputs whose files are decoded side by side: up to a pause, and AT_ONCE at most."""
    some: list[TaskInput | Skipped | P] = []
    for each in inputs:
        some.append(each)
        if len(some) == AT_ONCE or isinstance(each, Pause):
            yield some
            some = []
    if some:
        yield some


def _jobs(each: TaskInput) -> list[tuple[Item, str]] | Skipped:
    """Return the files of an input to decode, or why one of them cannot be."""
    try:
        return [read_item(path) for path in each.files]
    except QvsearchError as error:
        return Skipped(each.name, str(error))


def _joined(each: TaskInput, files: Sequence[Decoded | Skipped]) -> EmbedInput | Skipped:
    """Return one input of the words and the decoded files of an input."""
    parts = []
    for path, outcome in zip(each.files, files, strict=True):
        if isinstance(outcome, Skipped):
            reason = outcome.reason
            shown = "" if path == each.name else f"{os.fsdecode(path)}: "
            return Skipped(each.name, f"{shown}{reason}")
        parts.append(outcome.segments[0][1])
    texts = [part.text for part in parts if part.text]
    return EmbedInput(
        "\n".join([*texts, *([each.text] if each.text else [])]) or None,
        tuple(image for part in parts for image in part.images),
        next((part.video for part in parts if part.video is not None), None),
        each.instruction,
    )


def embed_inputs(
    inputs: Iterable[TaskInput | Skipped | Pause],
    load: Callable[[], Embedder],
    options: DecodeOptions,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Vectors | Skipped]:
    """Yield the unit vector (dim,) of each input in order, or why there is none.

    The model is loaded for the first input that can be read. Batches take a few seconds each, and
    `stop` is called before each; when it returns True, nothing more is yielded. An input that the
    model refuses costs no other. A Pause has no outcome. Raises QvsearchError if the model, and not
    an input, fails.
    """
    names: dict[int, bytes] = {}  # of the inputs on their way

    def named() -> Iterator[TaskInput | Skipped | Pause]:
        places = count()
        for each in inputs:
            if not isinstance(each, Pause):
                names[next(places)] = each.path if isinstance(each, Skipped) else each.name
            yield each

    def numbered() -> Iterator[Decoded | Skipped | Pause]:
        # a number in the place of a path, since batches with refused inputs end out of order
        places = count()
        for source in read_inputs(named(), options):
            if isinstance(source, Pause):
                yield source
                continue
            number = next(places)
            item = Item(b"%d" % number, b"", Kind.TEXT, 0, 0)
            if isinstance(source, Skipped):
                yield Skipped(item.location, source.reason)
            else:
                yield Decoded(item, ((Segment(item, ""), source),))

    waiting: dict[int, Vectors | Skipped] = {}
    following = 0
    for outcome in embed_files(numbered(), load, stop):
        number = int(outcome.path if isinstance(outcome, Skipped) else outcome.item.root)
        name = names.pop(number)
        waiting[number] = (
            Skipped(name, outcome.reason) if isinstance(outcome, Skipped) else outcome.vectors[0]
        )
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def decode_options_of(embedder: Embedder) -> DecodeOptions:
    """Return how files are decoded for an embedder."""
    own: DecodeOptions = getattr(embedder, "decode_options", QueriesAndDocuments.decode_options)
    return own
