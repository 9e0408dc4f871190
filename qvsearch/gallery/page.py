"""Writes cards as one HTML file: pictures inside, without scripts, to look at offline or print."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.display import file_url, other_part_text, part_text, safe_text
from qvsearch.errors import QvsearchError
from qvsearch.files import new_file, open_file
from qvsearch.types import Kind, Skipped
from qvsearch.version import __version__

if TYPE_CHECKING:
    from qvsearch.gallery.cards import Card, Gallery
    from qvsearch.media.thumbnails import Thumbnails
    from qvsearch.types import Segment, Snippet

STYLE = Path(__file__).with_name("gallery.css")
GENERATOR = b'<meta name="generator" content="qvsearch'
HEAD_BYTES = 1024  # of a file, which have GENERATOR if it is a gallery
SHOWN_MOMENTS = 5  # the best of a card's other moments


def check_target(path: Path) -> None:
    """Raise QvsearchError unless a gallery can be created at `path` or replaces an older one."""
    if path.is_dir():
        raise QvsearchError(f"{path} is a folder; give --html a file in it")
    if not path.parent.is_dir():
        raise QvsearchError(f"there is no folder {path.parent} for {path.name}; create it first")
    if not os.path.lexists(path):
        return
    try:
        with open_file(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise QvsearchError(f"cannot replace {path}: {error.strerror}") from error
    if head and GENERATOR not in head:
        raise QvsearchError(f"{path} is another file, not a gallery; name a new one for --html")


def write_gallery(
    path: Path,
    gallery: Gallery,
    thumbnails: Thumbnails,
    done: Callable[[int], None] = lambda _: None,
) -> list[Skipped]:
    """Write a gallery to `path`, atomically; return the files whose picture cannot be shown.

    `done` gets the number of finished cards from time to time. Raises QvsearchError as
    `check_target`, and if the file cannot be written.
    """
    check_target(path)
    failed: list[Skipped] = []
    with new_file(path) as file:
        for part in gallery_parts(gallery, thumbnails, failed.append, done):
            file.write(part.encode())
    return failed


def gallery_parts(
    gallery: Gallery,
    thumbnails: Thumbnails,
    failed: Callable[[Skipped], None] = lambda _: None,
    done: Callable[[int], None] = lambda _: None,
) -> Iterator[str]:
    """Yield the HTML of a gallery, card by card.

    `failed` gets each file without a picture that should have one. `done` gets the number of
    finished cards.
    """
    cards = gallery.cards
    pictures = thumbnails.in_order(
        (card.segment, card.start, card.end) for card in cards if _has_picture(card)
    )
    yield _head(gallery.title, len(cards))
    number = 0
    for section in gallery.sections:
        yield "<section>\n"
        if section.heading:
            yield f"<h2>{_text(section.heading)}</h2>\n"
        if section.note:
            yield f"<p>{_text(section.note)}</p>\n"
        yield "<ol>\n"
        for card in section.cards:
            picture = next(pictures) if _has_picture(card) else None
            if isinstance(picture, Skipped) and not card.gone:
                failed(picture)
            yield _card(card, picture)
            number += 1
            done(number)
        yield "</ol>\n</section>\n"
    yield _foot(gallery.settings)


def _has_picture(card: Card) -> bool:
    return card.segment.item.kind is not Kind.TEXT


def _text(text: str | bytes) -> str:
    """Return text for HTML: escaped, with every harmful character visible."""
    return escape(safe_text(text))


def _head(title: str, files: int) -> str:
    style = STYLE.read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rules = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}';"
        " base-uri 'none'; form-action 'none'"
    )
    count = "1 file" if files == 1 else f"{files:,} files"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR.decode()} {__version__}">
<meta http-equiv="Content-Security-Policy" content="{rules}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{_text(title)}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
<p>{count}</p>
</header>
<main>
"""


def _card(card: Card, picture: bytes | Skipped | None) -> str:
    """Return a list item: the picture or why there is none, facts, name, text, other places."""
    location = card.segment.item.location
    name = _text(os.path.basename(location))
    parts = ["<li>\n", _picture(card, picture)]
    facts = [f"<b>{_text(card.label)}</b>"] if card.label else []
    if card.relevance is not None:
        value = f"{card.relevance:.2f}"
        meter = f'<meter min="0" max="1" value="{value}" aria-label="relevance">{value}</meter>'
        facts.append(f"{meter} {value}")
    facts += [f"<span>{_text(fact)}</span>" for fact in card.facts]
    parts.append(f'<p class="facts">{" ".join(facts)}</p>\n')
    folder = _text(os.path.dirname(location))
    link = _link(card, f"<bdi>{name}</bdi>")
    parts.append(f'<p class="name">{link}<small><bdi>{folder}</bdi></small></p>\n')
    if card.gone and not isinstance(picture, Skipped):
        parts.append('<p class="gone">no longer there</p>\n')
    if card.snippet is not None:
        parts.append(f"<blockquote>{_marked(card.snippet)}</blockquote>\n")
    parts += [_moments(card), _copies(card), "</li>\n"]
    return "".join(parts)


def _marked(snippet: Snippet) -> str:
    """Return a snippet as HTML, with the words of the query marked."""
    parts = ((_text(re.sub(r"\s+", " ", part)), marked) for part, marked in snippet.parts)
    return "".join(f"<mark>{part}</mark>" if marked else part for part, marked in parts).strip()


def _picture(card: Card, picture: bytes | Skipped | None) -> str:
    if picture is None:
        return ""  # a text has its words
    if isinstance(picture, Skipped):
        reason = "no longer there" if card.gone else picture.reason
        return f'<div class="picture">{_text(reason)}</div>\n'
    place = part_text(card.segment, card.start, card.end)
    alt = _text(f"{safe_text(os.path.basename(card.segment.item.location))}, {place}".rstrip(", "))
    data = base64.b64encode(picture).decode()
    image = f'<img src="data:image/webp;base64,{data}" alt="{alt}">'
    return f'<div class="picture">{_link(card, image)}</div>\n'


def _link(card: Card, content: str) -> str:
    """Return a link to a file at its place; of a missing file, only the content."""
    if card.gone:
        return content
    return f'<a href="{_url(card.segment, card.start)}">{content}</a>'


def _url(segment: Segment, start: float | None) -> str:
    """Return the URL of a file, at the second of a video or the page of a document."""
    place = f"#t={math.floor(start)}" if start else ""
    if segment.page is not None:
        place = f"#page={segment.page}"
    return escape(file_url(segment.item.location)) + place


def _moments(card: Card) -> str:
    if not card.moments:
        return ""
    links = [
        f'<a href="{_url(each.segment, each.start)}">{_text(place)}</a>'
        for each in card.moments[:SHOWN_MOMENTS]
        if (place := other_part_text(each))
    ]
    more = len(card.moments) - SHOWN_MOMENTS
    rest = f" and {more:,} more" if more > 0 else ""
    return f'<p class="also">also {", ".join(links)}{rest}</p>\n'


def _copies(card: Card) -> str:
    if not card.copies:
        return ""
    entries = [
        f'<li><a href="{escape(file_url(each))}"><bdi>{_text(each)}</bdi></a></li>'
        for each in card.copies
    ]
    count = "1 more like it" if len(entries) == 1 else f"{len(entries):,} more like it"
    return f"<details><summary>{count}</summary><ul>{''.join(entries)}</ul></details>\n"


def _foot(settings: tuple[tuple[str, str], ...]) -> str:
    rows = [f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>\n" for name, value in settings]
    return f"""</main>
<footer>
<dl>
{"".join(rows)}</dl>
<p>The pictures are in this file; links lead to the files where they were.</p>
</footer>
</body>
</html>
"""
