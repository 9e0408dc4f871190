"""Indexes with the whole command line and its processes, and waits before each batch.

Run as a program: `paused.py FOLDER` tells when it has a batch of FOLDER/notes to embed, and does so
when it gets a byte; FOLDER/library is the library.
"""

import os
import sys

from qvsearch.cli import app as cli
from qvsearch.media.workers import Decoders
from support import cheap_model


class Paused(cheap_model.CheapModel):
    """Waits for whoever started it."""

    def embed(self, inputs):
        if inputs[0].instruction is None:  # no generic queries
            os.write(1, b"at work\n")
            os.read(0, 1)
        return super().embed(inputs)


if __name__ == "__main__":
    folder = sys.argv[1]
    with cheap_model.instead(Paused(), Decoders):
        code = cli.main(["index", f"{folder}/notes", "-l", f"{folder}/library", "--quiet"])
    sys.exit(code)
