"""Clutter: names of what systems and programs keep beside a user's files, and why to skip it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase, translate
from functools import cache

# By reason: names of folders and files, in any case; `*` is any run of characters.
CLUTTER: dict[str, tuple[str, ...]] = {
    "thumbnails and indexes of a NAS": (
        *("@eaDir", "@SynoEAStream", "@SynoResource"),  # Synology
        *(".@__thumb", "@__thumb", ".@__comp", ".@__qini"),  # QNAP
        ".wdmc",  # Western Digital
    ),
    "thumbnails of a system": (
        *(".thumbnails", ".thumblocal"),  # Linux, Android
        *("Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db"),  # Windows
    ),
    "previews of Lightroom": ("*.lrdata",),
    "previews of Nextcloud": ("appdata_oc*",),
    "a trash": (
        *("#recycle", "@Recycle", "@recycle_bin"),  # Synology, QNAP
        *(
            "$RECYCLE.BIN",
            ".recycle",
            ".Recycle.Bin",
            "trashbox",
        ),  # Windows, Samba, Unraid, Buffalo
        *(".Trash", ".Trash-*", ".Trashes", "Network Trash Folder"),  # Linux, macOS
        *(".trashed-*", ".dtrash", "files_trashbin"),  # Android, digiKam, Nextcloud
    ),
    "snapshots or old versions of files": (
        *("@Recently-Snapshot", "#snapshot", "@Snapshot", "@GMT-*"),  # QNAP, Synology, Samba
        *(".snapshot", ".snapshots", "~snapshot", ".zfs"),  # NetApp, Btrfs, ZFS
        *("files_versions", ".stversions"),  # Nextcloud, Syncthing
    ),
    "a system's own files": (
        *("System Volume Information", "desktop.ini", "Config.Msi"),  # Windows
        *(".Spotlight-V100", ".fseventsd", ".DocumentRevisions-V100", ".MobileBackups"),  # macOS
        *(".TemporaryItems", "Temporary Items", ".AppleDouble", "__MACOSX", "._*"),
        *("lost+found", "@tmp"),  # ext4, Synology
    ),
    "marks of documents that are open": ("~$*", ".~lock.*#"),  # Microsoft Office, LibreOffice
}
# Libraries of Apple's photo programs are folders; these folders in them hold the user's photos.
PACKAGES = (b".photoslibrary", b".photolibrary", b".migratedphotolibrary", b".aplibrary")
ORIGINALS = frozenset({b"originals", b"masters"})
IN_PACKAGE = "previews and other files of a photo library"


@cache
def _regex() -> re.Pattern[bytes]:
    """Return an expression that lower-case names of the table match; built when first needed."""
    names = [name for each in CLUTTER.values() for name in each]
    return re.compile("|".join(translate(name.lower()) for name in names).encode())


def named_parts(
    include: Sequence[str], *tests: Callable[[bytes], object]
) -> Callable[[bytes], bool]:
    """Return a test whether a part of a pattern names a name in lower case.

    A part with a `*` does so only if one of the `tests` is true for it.
    """
    parts = {
        os.fsencode(part.replace("\\", "").lower())
        for pattern in include
        for part in pattern.split("/")
    }
    named = [part for part in parts if b"*" not in part or any(test(part) for test in tests)]
    return lambda name: any(fnmatchcase(name, part) for part in named)


class Clutter:
    """Finds clutter below an absolute root, unless a pattern of `include` names it.

    A part of a pattern names the folders and files that it matches if it has no `*`, or if it
    looks like clutter. So `2024/@eaDir/` includes that folder; `*.jpg` and `**` include nothing.
    """

    def __init__(self, root: bytes, include: Sequence[str]) -> None:
        self._root = root
        self._is_clutter = _regex().match
        self._is_named = named_parts(include, self._is_clutter)

    def reason(self, folder: bytes, name: bytes) -> str | None:
        """Return why an entry of a folder with that name is skipped, None if it is not."""
        lower = name.lower()
        in_package = folder.lower().endswith(PACKAGES) and lower not in ORIGINALS
        if not (self._is_clutter(lower) or in_package):
            return None
        if self._is_named(lower):
            return None
        text = os.fsdecode(lower)
        reasons = (
            reason
            for reason, names in CLUTTER.items()
            if any(fnmatchcase(text, each.lower()) for each in names)
        )
        return next(reasons, IN_PACKAGE)

    def within(self, relative: bytes) -> tuple[bytes, str] | None:
        """Return the first part of a relative path that is skipped, and why; None if none is."""
        folder = os.path.basename(self._root)
        for name in relative.rstrip(b"/").split(b"/"):
            if (reason := self.reason(folder, name)) is not None:
                return name, reason
            folder = name
        return None
