"""As whom a library is published, and under which names: `publication.json` beside the manifest."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from qvsearch.errors import QvsearchError
from qvsearch.files import open_file, read_start, write_file
from qvsearch.formats import text_field
from qvsearch.library.names import PUBLICATION

LARGEST = 1_000_000  # bytes
_UNNAMED = "files"  # the name of a root without one, as /


@dataclass(frozen=True, slots=True)
class Publication:
    """A library as a publisher.

    `owner` is a random text by which tables tell libraries apart. `roots` are the published names
    of roots by their numbers, which stay if a root gets another path. `names` are the names of the
    publisher by the addresses of tables.
    """

    owner: str
    roots: Mapping[int, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def with_roots(self, roots: Sequence[bytes | None]) -> Publication:
        """Return it with a name for each of a library's roots; None are removed ones.

        A name is the last part of the path, with a number if another root has it.
        """
        kept = {n: name for n, name in self.roots.items() if n < len(roots) and roots[n]}
        for number, root in enumerate(roots):
            if root is not None and number not in kept:
                last = os.path.basename(root.rstrip(b"/")).decode("utf-8", "replace")
                name = first = text_field(last) or _UNNAMED
                count = 1
                while name in kept.values():
                    count += 1
                    name = f"{first}-{count}"
                kept[number] = name
        return replace(self, roots=kept)


def read_publication(folder: Path) -> Publication:
    """Return the publisher that a library is; a new one if it was never published.

    Raises QvsearchError if it cannot be read.
    """
    path = folder / PUBLICATION
    try:
        record = orjson.loads(read_start(path, LARGEST))
        roots = {int(number): str(name) for number, name in record["roots"].items()}
        names = {str(place): str(name) for place, name in record["names"].items()}
        return Publication(str(record["owner"]), roots, names)
    except FileNotFoundError:
        return Publication(secrets.token_hex(8))
    except OSError as error:
        raise QvsearchError(f"cannot read {path}: {error.strerror}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise QvsearchError(
            f"{path} is damaged; delete it, and publish again with another name: --as NAME"
        ) from error


def write_publication(folder: Path, publication: Publication) -> None:
    """Replace what a library stores of its publishing, if it differs."""
    record = {
        "owner": publication.owner,
        "roots": {str(number): name for number, name in sorted(publication.roots.items())},
        "names": dict(sorted(publication.names.items())),
    }
    data = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    if _read(folder / PUBLICATION) != data:
        write_file(folder / PUBLICATION, data)


def _read(path: Path) -> bytes | None:
    try:
        with open_file(path) as file:
            data: bytes = file.readall()
            return data
    except OSError:
        return None
