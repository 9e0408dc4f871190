"""The parts of a document that is a ZIP file, within limits that a bomb meets before it unpacks."""

from __future__ import annotations

import posixpath
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.office.xml import attribute, elements, relation

MOST_DIRECTORY = 4 * 2**20  # bytes of the list of parts; 40,000 of them
MOST_UNPACKED = 256 * 2**20  # bytes of all parts that are read; a million rows of a sheet have 100
MOST_DRAWN = 32 * 2**20  # bytes of all charts, diagrams and text boxes that are read

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # what Office before 2007 and its encryption write
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")  # the name of a stream
_END, _END_BYTES, _COMMENT_BYTES = b"PK\5\6", 22, 65_535
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".svg", ".emf")
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error),
    *(NotImplementedError, RuntimeError, KeyError, OverflowError),
)


@dataclass(frozen=True, slots=True)
class Related:
    """A part that another one names by an id: the last word of its type, and its place."""

    type: str
    target: str


class Package:
    """An open document of this sort; raises MediaError if it is encrypted, damaged or too large."""

    def __init__(self, file: BinaryIO) -> None:
        _check(file)
        try:
            self._zip = zipfile.ZipFile(file)
            self.names = self._zip.namelist()
        except _BROKEN as error:
            raise MediaError("damaged: not a ZIP file, which such documents are") from error
        self._known = set(self.names)
        self._left = MOST_UNPACKED
        self._drawn_left = MOST_DRAWN

    @property
    def pictures(self) -> int | None:
        """The number of embedded pictures, None for none; a preview of the document is none."""
        names = (name.lower() for name in self.names)
        return sum(each.endswith(_PICTURES) and "thumbnail" not in each for each in names) or None

    def size(self, name: str) -> int:
        """Return the bytes that a part claims to have, 0 if the document has none of that name."""
        return self._zip.getinfo(name).file_size if name in self._known else 0

    def read(self, name: str) -> bytes:
        """Return a part, empty if the document has none of that name."""
        if name not in self._known:
            return b""
        try:
            part = self._zip.getinfo(name)
            if part.flag_bits & 1:
                raise MediaError("encrypted: it has a password")
            if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise MediaError("damaged: a part is packed in a way that no program uses")
            with self._zip.open(part) as stream:
                data = stream.read(self._left + 1)
        except _BROKEN as error:
            raise MediaError(f"damaged: {name[:80]!a} cannot be unpacked") from error
        self._left -= len(data)
        if self._left < 0:
            raise MediaError(
                f"too large: it unpacks to more than {MOST_UNPACKED / 2**20:.0f} MiB of text"
            )
        return data

    def drawn(self, name: str) -> bytes:
        """Return a part of drawings; raises MediaError if it is damaged, or they are too large.

        The others can be read after that.
        """
        size = self.size(name)
        if size > min(self._drawn_left, self._left):
            raise MediaError(f"too large: {name[:80]!a} unpacks to {size:,} bytes")
        self._drawn_left -= size
        return self.read(name)

    def needed(self, name: str) -> bytes:
        """Return a part without which there is no text; raises MediaError if it is missing."""
        data = self.read(name)
        if not data:
            raise MediaError(f"damaged: {name} is missing")
        return data

    def related(self, name: str) -> dict[str, Related]:
        """Return the parts that a part of Office names, by id; none outside the document."""
        folder, base = posixpath.split(name)
        found = {}
        for tag, attributes in elements(self.read(f"{folder}/_rels/{base}.rels".lstrip("/"))):
            if tag == "Relationship" and attribute(attributes, "TargetMode") != "External":
                type_ = posixpath.basename(attribute(attributes, "Type") or "")
                target = posixpath.join("/", folder, attribute(attributes, "Target") or "")
                found[relation(attributes) or ""] = Related(
                    type_, posixpath.normpath(target).lstrip("/")
                )
        return found


def _check(file: BinaryIO) -> None:
    """Raise MediaError for another sort of file, or a list of parts that is too long."""
    head = file.read(2**20)
    if head.startswith(_OLE):
        file.seek(-min(2**20, file.seek(0, 2)), 2)
        if _ENCRYPTED in head or _ENCRYPTED in file.read():
            raise MediaError("encrypted: it has a password")
        raise MediaError("an Office file of before 2007; save it anew in its program")
    file.seek(-min(_END_BYTES + _COMMENT_BYTES, file.seek(0, 2)), 2)
    tail = file.read()
    place = tail.rfind(_END)
    if place < 0 or len(tail) < place + _END_BYTES:
        raise MediaError("damaged: not a ZIP file, which such documents are")
    (size,) = struct.unpack_from("<I", tail, place + 12)
    if size > MOST_DIRECTORY:
        raise MediaError(f"too large: the list of its parts has {size / 2**20:.0f} MiB")
    file.seek(0)
