"""Web pages: text under headings, without navigation, scripts and styles; nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.dates import date
from qvsearch.media.encoding import as_named, to_text
from qvsearch.media.office.contents import (
    Contents,
    Line,
    field,
    keywords,
    section_of,
    table_lines,
)
from qvsearch.media.office.ooxml import WRITTEN
from qvsearch.types import NO_METADATA, Metadata

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

MOST_PAGE = 64 * 2**20  # bytes, with pictures as data URIs, which are left out first
MOST_TEXT = 10 * 2**20  # bytes of the rest, as of other texts

_DATA_URI = re.compile(rb"data:[a-z]+/[^,\s]{1,100},[^\s\"')>]{200,}", re.IGNORECASE)
_CHARSET = re.compile(rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)=[\"']?([\w-]+)", re.I)
_UNREAD_NAMES = (
    "script style nav noscript template svg math iframe object head button select textarea"
    " -comment -doctype"
)
_BLOCK_NAMES = (
    "address article aside blockquote body br caption dd details div dl dt fieldset figcaption"
    " figure footer form h1 h2 h3 h4 h5 h6 header hr html li main ol option p pre section summary"
    " table tbody td tfoot th thead tr ul"
)
_UNREAD, _BLOCKS = frozenset(_UNREAD_NAMES.split()), frozenset(_BLOCK_NAMES.split())
MOST_DEPTH = 3000  # of blocks within blocks: a parser takes quadratic time; browsers show 512
_DEEP = re.compile(
    r"<(/?)(?:div|ul|ol|dl|section|article|main|aside|blockquote|center|details|dir|fieldset|menu"
    r"|figure|footer|header|address|form|pre|summary)\b",
    re.IGNORECASE,
)
_HEADINGS = frozenset(f"h{level}" for level in range(1, 7))
_SPACE = re.compile(r"[ \t\r\n\f]+")
_PERMALINK = "¶"  # behind a heading, in what Sphinx and MkDocs write


def read(file: BinaryIO) -> Contents:
    """Read a web page; raises MediaError."""
    data = file.read(MOST_PAGE + 1)
    if len(data) > MOST_PAGE:
        raise MediaError(f"too large: a page of more than {MOST_PAGE / 2**20:.0f} MiB")
    return read_page(data)


def read_page(data: bytes, encoding: str | None = None) -> Contents:
    """Read the bytes of a web page, in the encoding that it names if none is given."""
    from selectolax.lexbor import LexborHTMLParser

    text = _decoded(_DATA_URI.sub(b"", data), encoding)
    if len(text) > MOST_TEXT:
        raise MediaError(
            f"too large: {len(text) / 2**20:.0f} MiB of HTML without pictures,"
            f" the limit is {MOST_TEXT / 2**20:.0f}"
        )
    steps = (-1 if tag[1] else 1 for tag in _DEEP.finditer(text))
    depths = accumulate(steps, lambda depth, step: max(0, depth + step))
    if any(depth > MOST_DEPTH for depth in depths):
        raise MediaError(f"damaged: its elements are nested more than {MOST_DEPTH:,} deep")
    tree = LexborHTMLParser(text)
    metadata = _metadata(tree)
    if tree.body is None:
        return Contents([], metadata)
    walk = _Walk()
    walk.over(tree.body)
    return Contents([walk.lines], metadata)


def _decoded(data: bytes, encoding: str | None) -> str:
    """Return the characters of a page; a name of an encoding counts unless it is wrong."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return to_text(data)
    named = _CHARSET.search(data[:4096])
    for name in (encoding, named[1].decode("ascii", "replace") if named else None):
        if name is not None and (text := as_named(data, name)) is not None:
            return text
    return to_text(data)


def _metadata(tree: LexborHTMLParser) -> Metadata:
    title = tree.css_first("title")
    values: dict[str, str] = {}
    for node in tree.css("meta[content]"):
        name = node.attributes.get("name") or node.attributes.get("property") or ""
        values.setdefault(name.lower(), node.attributes.get("content") or "")
    published = values.get("article:published_time") or values.get("date")
    return replace(
        NO_METADATA,
        title=field(title.text() if title is not None else None),
        author=field(values.get("author")),
        taken=date(published, WRITTEN),
        keywords=keywords(values.get("keywords")),
    )


class _Walk:
    """One walk over a tree, without recursion, so that depth has no limit."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._line: list[str] = []
        self._section: str | None = None
        self._verbatim = 0

    def over(self, root: LexborNode) -> None:
        """Gather the lines of an element."""
        node, depth = root, 0
        while True:
            child = node.child if self._enter(node) else None
            if child is not None:
                node, depth = child, depth + 1
                continue
            while True:
                self._leave(node)
                if depth == 0:
                    self._end_line()
                    return
                if (following := node.next) is not None:
                    node = following
                    break
                parent = node.parent
                if parent is None:
                    return
                node, depth = parent, depth - 1

    def _enter(self, node: LexborNode) -> bool:
        """Begin an element; return whether its children are to be walked."""
        tag = node.tag or ""
        if tag == "-text":
            text = node.text_content or ""
            self._line.append(text if self._verbatim else _SPACE.sub(" ", text))
            return False
        if tag in _UNREAD or (tag == "a" and node.text() == _PERMALINK):
            return False
        if tag in ("td", "th") and self._line:
            self._line.append(" | ")
        elif tag in _BLOCKS:
            self._end_line()
        if tag == "table" and _has_heads(node):
            rows = [[cell.text() for cell in row.css("td,th")] for row in node.css("tr")]
            self.lines += [(self._section, line) for line in table_lines(rows)]
            return False
        if tag in _HEADINGS:
            heading = node.text().strip().removesuffix(_PERMALINK)
            self._section = section_of(heading) or self._section
            self.lines.append((self._section, ""))
        self._verbatim += tag == "pre"
        return True

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag in _BLOCKS and tag not in ("td", "th"):
            self._end_line()
        self._verbatim -= tag == "pre"
        if tag == "p":
            self.lines.append((self._section, ""))

    def _end_line(self) -> None:
        text = "".join(self._line)
        self._line.clear()
        self.lines += [(self._section, line.rstrip()) for line in _lines(text, self._verbatim > 0)]


def _lines(text: str, verbatim: bool) -> Iterator[str]:
    if verbatim:
        yield from text.split("\n")
    elif text := text.strip(" |"):
        yield text


def _has_heads(table: LexborNode) -> bool:
    """Return whether a table names its columns; others may only arrange the page."""
    first = table.css_first("tr")
    return first is not None and bool(first.css("th")) and table.css_first("table table") is None
