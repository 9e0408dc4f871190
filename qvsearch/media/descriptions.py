"""Reads what people write about a picture or video: title, author, keywords and rating.

XMP comes first, as the Metadata Working Group's guidelines have it, then IPTC. XMP is searched for
the wanted properties and not parsed: hostile XML can make a parser use gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import unescape

from qvsearch.types import Metadata

MAX_PACKET = 2**20  # bytes of XMP; the longest hold masks of edits, behind these properties
MAX_TITLE = 300  # characters of a title, and of an author's name
MAX_KEYWORD = 100  # characters; IPTC allows 64 bytes
MOST_KEYWORDS = 200  # of one file
BEST = 5  # the highest rating

MAX_PROPERTY = 65_536  # characters of a property with all its values
_ITEM = re.compile(r"<rdf:li(\s[^<>]{0,99})?>([^<]{0,999})</rdf:li>")
# the rest of an attribute after its name, and of an element's start tag
_VALUE = r"""\s{0,9}=\s{0,9}(?:"([^"<]{0,999})"|'([^'<]{0,999})')"""
_TAG_END = re.compile(r"(?:\s[^<>]{0,99})?>")
_TREES = {"lr:hierarchicalSubject": "|", "digiKam:TagsList": "/"}
_OWN_TREE = "darktable"  # its notes about its own work, e.g. darktable|exported

# datasets of IPTC (IIM 4.2, chapter 6): title, keyword and author, each with its length
_DATASET = re.compile(rb"\x1c\x02([\x05\x19\x50])([\x00-\x7f].)", re.DOTALL)
_TITLE, _KEYWORD, _AUTHOR = b"\x05", b"\x19", b"\x50"

# percents with which Windows writes one to five stars
_STARS_OF_PERCENT = {1: 1, 25: 2, 50: 3, 75: 4, 99: 5}


def xmp_description(packet: object) -> Metadata:
    """Return title, author, keywords and rating of an XMP packet; the other fields are None."""
    if not isinstance(packet, bytes):
        return Metadata()
    text = packet[:MAX_PACKET].decode("utf-8", "replace")
    rating = _first(text, "xmp:Rating") or _first(text, "xap:Rating")
    keywords = [*_values(text, "dc:subject"), *_levels(text)]
    return Metadata(
        title=line(_first(text, "dc:title")),
        author=line(", ".join(_values(text, "dc:creator"))),
        keywords=distinct(keywords),
        rating=stars(rating) if rating else percent_stars(_first(text, "MicrosoftPhoto:Rating")),
    )


def iptc_description(block: bytes) -> Metadata:
    """Return title, author and keywords of an IPTC block; the other fields are None."""
    found: dict[bytes, list[str]] = {_TITLE: [], _KEYWORD: [], _AUTHOR: []}
    for match in _DATASET.finditer(block):
        value = block[match.end() : match.end() + int.from_bytes(match[2], "big")]
        found[match[1]].append(_decoded(value))
    return Metadata(
        title=line(next(iter(found[_TITLE]), None)),
        author=line(", ".join(found[_AUTHOR])),
        keywords=distinct(found[_KEYWORD]),
    )


def stars(value: object) -> int | None:
    """Return a rating of 0 to 5 from a number or a text; others, e.g. -1 for rejected, are None."""
    try:
        rating = round(float(value))  # type: ignore[arg-type] # the except is for other types
    except (TypeError, ValueError, OverflowError):
        return None
    return rating if 0 <= rating <= BEST else None


def percent_stars(value: str | None) -> int | None:
    """Return the rating of 1 to 5 that Windows writes as a percent."""
    return _STARS_OF_PERCENT.get(int(value)) if value and value.isdecimal() else None


def line(value: str | None, most: int = MAX_TITLE) -> str | None:
    """Return a text as one line of printable characters, at most `most`; None if it is empty."""
    words = " ".join((value or "")[: 4 * most].split())
    return "".join(filter(str.isprintable, words))[:most].strip() or None


def distinct(keywords: Iterable[str]) -> tuple[str, ...] | None:
    """Return keywords as lines, each once whatever its case; None if there are none."""
    kept: dict[str, str] = {}
    for each in keywords:
        if (keyword := line(each, MAX_KEYWORD)) and len(kept) < MOST_KEYWORDS:
            kept.setdefault(keyword.casefold(), keyword)
    return tuple(kept.values()) or None


def _levels(text: str) -> Iterator[str]:
    """Yield each level of the keywords that programs write as trees."""
    for name, separator in _TREES.items():
        for path in _values(text, name):
            levels = path.split(separator)
            if levels[0].strip() != _OWN_TREE:
                yield from levels


def _first(text: str, name: str) -> str | None:
    """Return the value of a property: the default one if it has several languages."""
    return next(iter(_values(text, name)), None)


def _values(text: str, name: str) -> list[str]:
    """Return the values of a property, the one of the default language first."""
    inside = _element(text, name)
    if inside is None:
        attribute = re.search(rf"(?<=\s){name}{_VALUE}", text)
        values = [] if attribute is None else [attribute[1] or attribute[2] or ""]
    elif "<" in inside:
        items = _ITEM.findall(inside)
        items.sort(key=lambda item: "x-default" not in item[0])
        values = [value for _, value in items]
    else:
        values = [inside]
    return [unescaped for each in values if (unescaped := unescape(each).strip())]


def _element(text: str, name: str) -> str | None:
    """Return what the first element of a name contains, searched in linear time."""
    if (start := text.find(f"<{name}")) < 0:
        return None
    tag = _TAG_END.match(text, start + len(name) + 1)
    if tag is None or tag[0].endswith("/>"):
        return None
    end = text.find(f"</{name}>", tag.end(), tag.end() + MAX_PROPERTY)
    return None if end < 0 else text[tag.end() : end]


def _decoded(value: bytes) -> str:
    """Return a text of IPTC: UTF-8, or Latin-1 of older programs."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
