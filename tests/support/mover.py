"""Moves a library to another file system, and dies at every operation.

Run as a program: `mover.py FOLDER TARGET`; it prints a line for each death (see `writer`), and
copies what is above both.
"""

import sys
from pathlib import Path

from qvsearch.library.relocating import move_library
from support.writer import kill_everywhere


def main():
    folder, target = map(Path, sys.argv[1:])

    def steps():
        move_library(folder, target)
        yield "move"

    kill_everywhere(steps(), folder.parent, target.parent)


if __name__ == "__main__":
    main()
