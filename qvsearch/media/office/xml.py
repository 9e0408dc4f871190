"""Reads XML as events, without entities that a document declares, and without its namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from xml.parsers import expat

from qvsearch.errors import MediaError

Attributes = dict[str, str]


def parse(
    data: bytes | Iterable[bytes],
    start: Callable[[str, Attributes], None],
    end: Callable[[str], None] = lambda _: None,
    text: Callable[[str], None] = lambda _: None,
) -> None:
    """Call `start` and `end` with the local name of each element, and `text` with characters.

    Raises MediaError for invalid XML. An entity that the document declares is an error, too: a few
    lines of them expand to gigabytes, or name another file.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = lambda name, attributes: start(_local(name), attributes)
    parser.EndElementHandler = lambda name: end(_local(name))
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = _refuse
    try:
        for chunk in [data] if isinstance(data, bytes) else data:
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # e.g. an unknown encoding
        raise MediaError(f"damaged: invalid XML ({error})"[:200]) from error


def _refuse(*_: object) -> None:
    raise MediaError("its XML declares entities, which may expand without end")


def elements(data: bytes) -> Iterator[tuple[str, Attributes]]:
    """Yield the local name and the attributes of each element; none of no data."""
    found: list[tuple[str, Attributes]] = []
    if data:
        parse(data, lambda name, attributes: found.append((name, attributes)))
    yield from found


def texts(data: bytes) -> dict[str, str]:
    """Return the text directly in the elements of a small file, by local name; the first counts."""
    found: dict[str, str] = {}
    path: list[tuple[str, list[str]]] = []

    def end(name: str) -> None:
        found.setdefault(name, "".join(path.pop()[1]))

    def text(characters: str) -> None:
        path[-1][1].append(characters)

    if data:
        parse(data, lambda name, _: path.append((name, [])), end, text)
    return found


@lru_cache(4096)
def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def attribute(attributes: Attributes, name: str) -> str | None:
    """Return an attribute by its local name, one without a namespace first."""
    if name in attributes:
        return attributes[name]
    ending = f" {name}"
    return next((value for each, value in attributes.items() if each.endswith(ending)), None)


def relation(attributes: Attributes) -> str | None:
    """Return the id by which an element of Office names another part."""
    for name, value in attributes.items():
        if name == "Id" or name.endswith(("/relationships id", "/relationships embed")):
            return value
    return None
