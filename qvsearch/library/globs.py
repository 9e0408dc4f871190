"""Patterns for paths as `**/2023/*.jpg`; knows nothing of what they select."""

from __future__ import annotations

import os
import re
import unicodedata
from functools import lru_cache

from qvsearch.errors import QvsearchError

_TOKEN = re.compile(r"\*+|\?|\[(?P<not>!)?(?P<set>\]?[^\]]*)\]|.", re.DOTALL)
_RANGE = re.compile("(.)-(.)|.", re.DOTALL)


def path_text(path: bytes) -> str:
    """Return a path as patterns see it: composed (NFC), since systems write é in either form.

    A byte that is not UTF-8 is a character of its own.
    """
    text = path.decode("utf-8", "surrogateescape")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def composed(path: bytes) -> bytes:
    """Return a path with its characters composed (NFC), so that both forms of a name are equal."""
    return path if path.isascii() else path_text(path).encode("utf-8", "surrogateescape")


@lru_cache(maxsize=64)
def glob_regex(globs: tuple[str, ...]) -> re.Pattern[str]:
    """Return what a file's `path_text` matches in full where any of the patterns fits it.

    The path is relative to its root; a pattern without a slash is for the name, in any folder. `*`
    is any run of characters but slashes, `?` one of them, `[a-z]` one of these, `[!a-z]` one that
    is not; `**` between slashes is any number of folders, also none; `2023/**` is all below. Case
    counts, a leading dot is like any character, a bracket itself is `[[]`. Raises QvsearchError for
    a pattern that fits nothing.
    """
    return re.compile("|".join(f"(?:{_glob(each)})" for each in globs), re.DOTALL)


def _glob(glob: str) -> str:
    """Return the expression of one pattern.

    What stands between two stars has a fixed length, so that its first place is as good as any
    other and no place is tried twice (atomic groups): no pattern is slow.
    """
    try:
        text = path_text(os.fsencode(glob))
        parts = text.split("/")
        if not {"", ".", ".."}.isdisjoint(parts):
            raise ValueError("a part of it is empty, . or ..")
        blocks: list[list[str]] = [[]]
        for part in parts if len(parts) > 1 else ["**", text]:
            if part == "**":
                blocks.append([])
            else:
                blocks[-1].append(_glob_name(part))
    except ValueError as error:
        raise QvsearchError(
            f"--glob {glob!r} cannot be understood ({error}); write *.jpg, or a path below the"
            " indexed folder as **/2023/*.jpg"
        ) from error
    first, *others = ["/".join(block) for block in blocks]
    if not others:
        return first
    middle = "".join(f"(?>(?>[^/]+/)*?{block}/)" for block in others[:-1] if block)
    last = f"(?>[^/]+/)*{others[-1]}" if others[-1] else ".+"
    return f"{first}/{middle}{last}" if first else f"{middle}{last}"


def _glob_name(glob: str) -> str:
    """Return the expression of a name; raises ValueError for a set that says nothing."""
    pieces = [""]
    for token in _TOKEN.finditer(glob):
        match token[0][0]:
            case "*":
                pieces.append("")
            case "?":
                pieces[-1] += "[^/]"
            case "[" if token["set"]:
                inside = _RANGE.sub(_glob_range, token["set"])
                pieces[-1] += f"(?!/)[{'^' if token['not'] else ''}{inside}]"
            case "[":
                raise ValueError("a [ is not closed")
            case other:
                pieces[-1] += re.escape(other)
    first, *others = pieces
    if not others:
        return first
    middle = "".join(f"(?>[^/]*?{piece})" for piece in others[:-1] if piece)
    return f"{first}{middle}[^/]*{others[-1]}"


def _glob_range(match: re.Match[str]) -> str:
    if match[1] is None:
        return re.escape(match[0])
    if match[1] > match[2]:
        raise ValueError(f"the range {match[0]} is empty")
    return f"{re.escape(match[1])}-{re.escape(match[2])}"
