"""The decoders that come inside other packages, and the least versions without known holes.

Only holes are listed that a file which is indexed can reach.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hole:
    """What is wrong with a library before the version `mended`; an update of `package` helps."""

    mended: tuple[int, ...]
    advisory: str
    package: str


# the worst of those mended last: files that write to memory, or use it, where they should not
HOLES = {
    "FFmpeg": Hole((8, 1, 2), "CVE-2026-8461", "av"),
    "pillow": Hole((13, 0, 0), "GHSA-5x8w-8jj5-q52h", "pillow"),
    "libwebp": Hole((1, 3, 2), "CVE-2023-4863", "pillow"),
    "libheif": Hole((1, 23, 4), "CVE-2026-84383", "pillow-heif"),
    "libde265": Hole((1, 1, 2), "GHSA-xp3h-6f5r-8cxp", "pillow-heif"),
}


def known_hole(library: str, version: str | None) -> str | None:
    """Return what is wrong with a version, and the way out; None where nothing is known."""
    hole = HOLES.get(library)
    found = re.search(r"\d+(?:\.\d+)+", version or "")
    if hole is None or found is None:
        return None
    if tuple(map(int, found[0].split("."))) >= hole.mended:
        return None
    return (
        f"a hostile file can use a known hole of {library} before"
        f" {'.'.join(map(str, hole.mended))} ({hole.advisory}): pip install -U {hole.package}"
    )
