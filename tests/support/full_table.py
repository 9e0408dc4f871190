"""Publishes to a file system with too little room, and again with enough.

Run as `python -m support.full_table FOLDER LIBRARY` by one who may mount a file system in memory
on FOLDER. Printed are the error, and how many rows the table had then and has at the end.
"""

import subprocess
import sys
from pathlib import Path


def main(folder, library):
    from qvsearch.errors import QvsearchError
    from qvsearch.published import publishing
    from qvsearch.published.address import read_address
    from qvsearch.published.engine import Table

    publishing.ROWS_AT_ONCE = 50
    place = read_address(f"{folder}/shared.lance")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "none", folder], check=True)
    said = "no error"
    try:
        publishing.publish(Path(library), place, "anna")
    except QvsearchError as error:
        said = str(error)
    full = Table(place).count()
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    outcome = publishing.publish(Path(library), place, "anna")
    sys.stdout.write(f"{said}\n{full} {outcome.rows} {Table(place).count()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
