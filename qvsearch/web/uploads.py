"""Pictures that a person gave for a query: a few, small, and for a while."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Self

from qvsearch.records.served import upload_record
from qvsearch.retrieval.query import read_item
from qvsearch.types import Segment, Skipped
from qvsearch.web.problems import Problem

if TYPE_CHECKING:
    from qvsearch.media.thumbnails import Thumbnails

MOST = 16  # uploads; one more drops the one that was not used for longest
KEPT_SECONDS = 3600.0
SIDE = 640  # pixels of the picture that is shown again


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture on the disk, and small as WebP; `used` is by the monotonic clock."""

    path: Path
    webp: bytes
    used: float


class Uploads:
    """The uploads of a server; a context manager, which deletes them at its end."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._folder = tempfile.TemporaryDirectory(prefix="qvsearch-uploads-")
        self.receiving = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def new_path(self) -> Path:
        """Return a path for a file that is being received; its suffix says only "a picture"."""
        return Path(self._folder.name) / f"{secrets.token_hex(8)}.png"

    def keep(self, path: Path) -> dict[str, object]:
        """Decode a received file, in a confined process, and keep it; return its record.

        Raises Problem for one that cannot be decoded.
        """
        item, digest = read_item(bytes(path))
        shown = self._thumbnails.picture(Segment(item, digest), SIDE)
        if isinstance(shown, Skipped):
            raise Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the picture cannot be read: {shown.reason}"
            )
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[token] = Upload(path, shown.webp(), time.monotonic())
            while len(self._kept) > MOST:
                self._drop(next(iter(self._kept)))
        return upload_record(token, shown.width, shown.height)

    def path(self, token: str) -> bytes:
        """Return the path of an upload; raises Problem if it is gone."""
        return bytes(self._get(token).path)

    def webp(self, token: str) -> bytes:
        """Return the small picture of an upload; raises Problem if it is gone."""
        return self._get(token).webp

    def _get(self, token: str) -> Upload:
        now = time.monotonic()
        with self._lock:
            for old in [
                each for each, kept in self._kept.items() if kept.used + KEPT_SECONDS < now
            ]:
                self._drop(old)
            upload = self._kept.get(token)
            if upload is None:
                raise Problem(HTTPStatus.GONE, "the given picture is gone; give it again")
            self._kept[token] = Upload(upload.path, upload.webp, now)
            self._kept.move_to_end(token)
            return upload

    def _drop(self, token: str) -> None:
        self._kept.pop(token).path.unlink(missing_ok=True)
