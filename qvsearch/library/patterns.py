"""Patterns for paths, as in .gitignore and as `--glob` has them; no pattern takes long to match."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# The parts of pathspec's expressions that match any length: `*`, and `/**/` in the middle.
_STAR, _FOLDERS = "[^/]*", "(?:/.+)?/"
# One character; a set is neither of the above.
_ONE = re.compile(r"\\.|\[\^/\]|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])|[^()|?+*]", re.DOTALL)
_GLOB_TOKEN = re.compile(r"\*+|\?|\[(?P<not>!)?(?P<set>\]?[^\]]*)\]|.", re.DOTALL)
_GLOB_RANGE = re.compile("(.)-(.)|.", re.DOTALL)


def path_text(path: bytes) -> str:
    """Return a path as `--glob` compares it: composed (NFC), since systems write é in either form.

    A byte that is not UTF-8 is one character.
    """
    return _composed(path.decode("utf-8", "surrogateescape"))


def composed(path: bytes) -> bytes:
    """Return a path with its characters composed (NFC), so that both forms of a name are equal."""
    return path if path.isascii() else path_text(path).encode("utf-8", "surrogateescape")


def pattern_text(path: bytes) -> str:
    """Return a path, or a pattern, as .gitignore patterns are compared: composed (NFC).

    Newlines are replaced, because the dot of pathspec's expressions does not match them.
    """
    return _composed(path.decode("utf-8", "replace").replace("\n", "\r"))


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


# ------------------------------------------------------------------ patterns as in .gitignore


def option_spec(option: str, patterns: tuple[str, ...]) -> GitIgnoreSpec | None:
    """Return the patterns of an option, None if there are none.

    Raises QvsearchError for an invalid pattern.
    """
    if not all(map(str.strip, patterns)):
        raise QvsearchError(f"{option} is empty; write a pattern such as '*.jpg' or 'drafts/'")
    texts = [pattern_text(os.fsencode(each)) for each in patterns]
    try:
        # a pattern on a command line is no comment, and a folder of that name is common (#recycle)
        lines = [f"\\{each}" if each.startswith("#") else each for each in texts]
        return spec_of(lines) if lines else None
    except ValueError as error:
        raise QvsearchError(f"{option}: {error}; patterns are written as in .gitignore") from error


def spec_of(lines: Iterable[str]) -> GitIgnoreSpec:
    """Return the patterns of some lines; raises ValueError for an invalid one."""
    from pathspec import GitIgnoreSpec  # not needed by a query

    try:
        with warnings.catch_warnings(action="ignore"):  # about unusual sets
            parsed = GitIgnoreSpec.from_lines(lines, backend="simple").patterns
            patterns = [
                type(each)(re.compile(_bounded(each.regex.pattern)), each.include)
                for each in parsed
                if each.regex is not None  # a comment
            ]
    except re.error as error:
        raise ValueError(f"a pattern is invalid: {error}") from error
    return GitIgnoreSpec(patterns, backend="simple")


def _bounded(regex: str) -> str:
    """Return an equivalent expression that tries no place twice (atomic groups).

    Sets match no slash, as in Git. The text between two stars has a fixed length, and between two
    `/**/` stands a fixed number of names. So the first place that matches is as good as any other.
    """
    guarded = _ONE.sub(lambda one: f"(?!/){one[0]}" if one["set"] else one[0], regex)
    first, *others = [_bounded_names(block) for block in guarded.split(_FOLDERS)]
    if not others:
        return first
    middle = "".join(f"(?>(?:/.+?)??/{block}(?=/))" for block in others[:-1])
    return f"{first}{middle}{_FOLDERS}{others[-1]}"


def _bounded_names(regex: str) -> str:
    first, *others = regex.split(_STAR)
    if not others:
        return first
    middle = "".join(
        f"(?>[^/]*?{piece})" if _is_fixed(piece) else _STAR + piece
        for piece in others[:-1]
        if piece
    )
    return f"{first}{middle}{_STAR}{others[-1]}"


def _is_fixed(piece: str) -> bool:
    """Return whether all texts that an expression matches have one length."""
    return not _ONE.sub("", piece.replace("(?!/)", ""))


# ------------------------------------------------------------------ patterns of --glob


@lru_cache(maxsize=64)
def glob_regex(globs: tuple[str, ...]) -> re.Pattern[str]:
    """Return an expression that fully matches the `path_text` of files that fit any pattern.

    The path is relative to its root; a pattern without a slash is for the name, in any folder. `*`
    is any run of characters but slashes, `?` one of them, `[a-z]` one of these, `[!a-z]` one that
    is not; `**` between slashes is any number of folders, also none; `2023/**` is all below. Case
    counts, a leading dot is like any character, a bracket itself is `[[]`. Raises QvsearchError for
    an invalid pattern.
    """
    return re.compile("|".join(f"(?:{_glob(each)})" for each in globs), re.DOTALL)


def _glob(glob: str) -> str:
    """Return the expression of one pattern.

    The text between two stars has a fixed length, so its first place is as good as any other. No
    place is tried twice (atomic groups), and no pattern is slow.
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
            f"--glob {glob!r} is invalid ({error}); write *.jpg, or a path below the"
            " indexed folder, e.g. **/2023/*.jpg"
        ) from error
    first, *others = ["/".join(block) for block in blocks]
    if not others:
        return first
    middle = "".join(f"(?>(?>[^/]+/)*?{block}/)" for block in others[:-1] if block)
    last = f"(?>[^/]+/)*{others[-1]}" if others[-1] else ".+"
    return f"{first}/{middle}{last}" if first else f"{middle}{last}"


def _glob_name(glob: str) -> str:
    """Return the expression of a name; raises ValueError for an invalid set."""
    pieces = [""]
    for token in _GLOB_TOKEN.finditer(glob):
        match token[0][0]:
            case "*":
                pieces.append("")
            case "?":
                pieces[-1] += "[^/]"
            case "[" if token["set"]:
                inside = _GLOB_RANGE.sub(_glob_range, token["set"])
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
