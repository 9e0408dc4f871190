"""Code that programs put beside a user's own: installed packages, build results, lock files.

A user's photos and notes in such folders are indexed; the code there would be thousands of files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate

from qvsearch.kinds import KIND_OF_SUFFIX, MAY_BE_CODE, Kind, is_code, suffix_of
from qvsearch.library.clutter import named_parts

FOLDERS = (
    *("node_modules", "bower_components", "jspm_packages"),  # JavaScript
    *("__pycache__", "site-packages", "dist-packages", "venv", ".venv", ".tox", ".nox"),  # Python
    *("*.egg-info", "*.dist-info", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
    *("vendor", "third_party", "Pods", "Carthage"),  # Go, PHP, Ruby; C++; Swift
    *("dist", "build", "_build", "target", "DerivedData", ".gradle", ".next", ".nuxt"),  # results
    *(".git", ".hg", ".svn", "htmlcov", "coverage"),
)
FILES = (
    *("*.min.js", "*.min.css", "*.min.html", "*.bundle.js", "*.chunk.js", "*_pb2.py", "*.pb.go"),
    *("package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml"),
)

_MEDIA = "|".join(
    suffix[1:] for suffix, kind in KIND_OF_SUFFIX.items() if kind in (Kind.IMAGE, Kind.VIDEO)
)
# IMG.jpg.json, IMG.jpg.supplemental-metadata.json, cut off anywhere and numbered
_TAKEOUT = re.compile(
    rf".*(?:\.(?:{_MEDIA})(?:\.[a-z-]*)?|\.supp[a-z-]*)(?:\(\d+\))?\.json|.{{46}}\.json"
    r"|metadata(?:\(\d+\))?\.json".encode()
)
# of JavaScript; elsewhere such a file may be a film, unless it only declares types
_PACKAGES = frozenset({b"node_modules", b"bower_components", b"jspm_packages"})
_DECLARATIONS = (b".d.ts", b".d.mts")
_FOLDERS = re.compile("|".join(translate(name.lower()) for name in FOLDERS).encode())
_FILES = re.compile("|".join(translate(name.lower()) for name in FILES).encode())


class Vendored:
    """Finds such code below a root, unless a pattern of `include` names its folder or file."""

    def __init__(self, include: Sequence[str]) -> None:
        self._is_named = named_parts(include, _FOLDERS.match, _FILES.match)

    def reason(self, relative: bytes) -> str | None:
        """Return why a file with this path in a root is left out, None if it is not."""
        *folders, name = relative.lower().split(b"/")
        if not is_code(name):
            return None
        if _TAKEOUT.fullmatch(name) and not self._is_named(name):
            return "data of Google Takeout about a picture"
        if _FILES.match(name) and not self._is_named(name):
            return "code that a program wrote"
        folder = next((each for each in folders if _FOLDERS.match(each)), None)
        may_be_film = suffix_of(name) in MAY_BE_CODE and not name.endswith(_DECLARATIONS)
        if may_be_film and _PACKAGES.isdisjoint(folders):
            return None
        if folder is None or any(map(self._is_named, (folder, name))):
            return None
        return f"code in {folder.decode('utf-8', 'replace')}, which is not your own"
