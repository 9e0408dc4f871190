"""Names of files in headers, without effects of hostile characters."""

from __future__ import annotations

import os
from urllib.parse import quote

_UNSAFE = set('"\\/%;:*?<>|')


def disposition(how: str, location: bytes) -> str:
    """Return a Content-Disposition (RFC 6266) with the file's name; `how` is inline or attachment.

    The plain name is ASCII; browsers take the one in UTF-8 (RFC 8187).
    """
    name = download_name(location)
    plain = "".join(c if c.isascii() and c not in _UNSAFE else "_" for c in name)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def download_name(location: bytes) -> str:
    """Return the last part of a path as a name without controls, overrides and wrong bytes."""
    name = os.path.basename(location).decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in name)
    return shown.strip(" .") or "file"
