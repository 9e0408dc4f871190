"""The worker of `watch` with the cheap model; run as `python -m support.cheap_worker ORDER`.

While there is a file `full` beside the library, the disk takes no byte of it. While there is a file
`slow`, each batch of documents waits until that is gone.
"""

import errno
import json
import sys
import threading
from pathlib import Path
from unittest.mock import patch

from qvsearch import files
from qvsearch.cli import watch_worker
from support import cheap_model
from support.faulty_disk import FullDisk, failing

beside = Path(json.loads(sys.argv[1])["folder"]).parent


class Model(cheap_model.CheapModel):
    """Waits while there is a file `slow`."""

    def embed(self, inputs):
        while (beside / "slow").exists() and inputs[0].instruction is None:
            (beside / "embedding").touch()
            threading.Event().wait(0.02)
        return super().embed(inputs)


class SometimesFull(FullDisk):
    """Full as long as the file is there."""

    def _count(self, name, arguments):
        if (beside / "full").exists() and name in ("write", "mkdir"):
            self.act()


if __name__ == "__main__":
    disk = SometimesFull(1, failing(errno.ENOSPC))
    with (
        cheap_model.instead(Model(), batch=100, commit_seconds=60.0),
        patch.object(files, "os", disk),
    ):
        sys.exit(watch_worker.main(sys.argv[1]))
