"""Patterns as in .gitignore, matched in time that no pattern makes long."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# How pathspec writes what can match more or less of a path: `*`, and `/**/` in the middle.
_STAR, _FOLDERS = "[^/]*", "(?:/.+)?/"
# One character; a set is none of the above.
_ONE = re.compile(r"\\.|\[\^/\]|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])|[^()|?+*]", re.DOTALL)


def pattern_text(path: bytes) -> str:
    """Return a path, or a pattern, as they are compared: composed (NFC), as `path_text` has it.

    Pathspec's dot stops at a newline.
    """
    text = path.decode("utf-8", "replace").replace("\n", "\r")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def option_spec(option: str, patterns: tuple[str, ...]) -> GitIgnoreSpec | None:
    """Return the patterns of an option, None if there are none.

    Raises QvsearchError for one that cannot be understood.
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
    """Return the patterns of some lines; raises ValueError for one that cannot be understood."""
    from pathspec import GitIgnoreSpec  # which a query need not wait for

    try:
        with warnings.catch_warnings(action="ignore"):  # remarks on odd sets
            found = GitIgnoreSpec.from_lines(lines, backend="simple").patterns
            patterns = [
                type(each)(re.compile(_bounded(each.regex.pattern)), each.include)
                for each in found
                if each.regex is not None  # a comment
            ]
    except re.error as error:
        raise ValueError(f"a pattern is none: {error}") from error
    return GitIgnoreSpec(patterns, backend="simple")


def _bounded(regex: str) -> str:
    """Return an expression of the same meaning that tries no place twice (atomic groups).

    Sets match no slash, as in Git. Between two stars stands text of a fixed length, and between
    two `/**/` a fixed number of names, so that the first place that fits is as good as any other.
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
    """Tell whether all that an expression matches is of one length."""
    return not _ONE.sub("", piece.replace("(?!/)", ""))
