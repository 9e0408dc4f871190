"""What the endpoints of one server share: libraries, ranked lists, pictures and threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from qvsearch.media.thumbnails import Thumbnails
from qvsearch.web.files import Originals
from qvsearch.web.lanes import Lanes
from qvsearch.web.rankings import Rankings
from qvsearch.web.served import Served
from qvsearch.web.uploads import Uploads

if TYPE_CHECKING:
    from qvsearch.runtime.loading import Choice

MOST_DECODERS = 4  # processes that make thumbnails; each holds 100 MB


class Services:
    """Everything behind the endpoints; a context manager, which ends its processes."""

    def __init__(self, folders: Sequence[Path], choice: Choice) -> None:
        """Open the libraries; raises QvsearchError for one that cannot be."""
        decoders = min(MOST_DECODERS, max(1, (os.cpu_count() or 1) - 1))
        self.served = Served(folders, choice)
        self.lanes = Lanes(decoders)
        self.rankings = Rankings()
        self.originals = Originals()
        self.thumbnails = Thumbnails(decoders)
        self.uploads = Uploads()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thumbnails.__exit__()

    def locate(self, item_id: str) -> bytes:
        """Return the path of an item whose file is unchanged; raises Gone."""
        segment = self.served.find(item_id).segment
        self.originals.check(segment)
        return segment.item.location
