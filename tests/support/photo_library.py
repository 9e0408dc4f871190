"""A library of one photo, and a query of it by the command line."""

import subprocess
import sys

import numpy as np

from qvsearch.library.library import Library
from qvsearch.types import Item, Kind, Segment

SCRIPT = """
import sys
from qvsearch.cli.app import main
code = main(sys.argv[1:])
print(code, *sorted({"torch", "transformers", "huggingface_hub"} & set(sys.modules)))
"""


def asked_anew(*arguments):
    """Run qvsearch in a fresh process; returns what it printed, its code and models' libraries."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True
    )
    *lines, last = done.stdout.splitlines()
    return lines, last.split()


def photo_library(folder, made):
    """A library of twenty photos that are not there, of any vectors."""
    library = Library.create(folder, made)
    library.add_root(b"/photos")
    rows = np.random.default_rng(0).standard_normal((20, made.dim)).astype(np.float32)
    library.add(
        [Segment(Item(b"/photos", b"%d" % n, Kind.IMAGE, n, n), str(n)) for n in range(20)],
        rows / np.linalg.norm(rows, axis=1, keepdims=True),
    )
    library.commit()
    return folder
