"""The telling lines of code: what comes after licences, imports and closing brackets."""

from __future__ import annotations

import re

MOST_LINES = 200  # of a head

_HEAD = re.compile(
    r"""
    \s*(?:
        $ | \#(?!\#) | // | /\* | \*+(?:\s|/|$) | -- | ;; | % | <!-- | <\?xml | <!DOCTYPE
        | import\b | from\s+\S+\s+import\b | \#include\b | use\s | using\s | package\s | require\b
        | (?:const|var|let)\s.*\brequire\( | ["']use\sstrict | [)\]}>;,\s]*$
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def telling_code(text: str) -> str:
    """Return code from its first line that is no comment, import or bracket; empty if none is."""
    lines = text.split("\n")
    for number, line in enumerate(lines[:MOST_LINES]):
        if not _HEAD.match(line):
            return "\n".join(lines[number:])
    return ""
