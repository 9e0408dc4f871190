"""Moves copies of a library to another file system, and dies at every operation.

Run as a program: `mover.py FOLDER PLACE`; it prints a line for each try (see `writer`).
"""

import sys
from pathlib import Path

from qvsearch.library.relocating import move_library
from support.writer import kill_everywhere


def main():
    folder, place = map(Path, sys.argv[1:])

    def task(copy):
        move_library(copy, place / copy.name)
        yield "move"

    kill_everywhere(folder, task)


if __name__ == "__main__":
    main()
