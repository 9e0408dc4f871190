"""Publishing many rows: python tests/bench/published.py --rows 1000000 --table /tmp/million.lance

The rows are those of `million.py`. They lie in several libraries, one after the other, each of
which is published under a name of its own into the same table and then deleted. So the disk holds
a part of the rows once, and all of them twice while the table is compacted.

Printed are the rows a second of each library, without and with the upkeep of the table (indices,
compaction); the time of a run without changes and of one with a hundred changed files; and the
bytes of the table. With `--words` a quarter of the rows are passages with the words of `words.py`;
otherwise rows have no words but names. `published_million.py` searches the same table, with the
queries beside it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from million import CHUNK, QUERIES, fill, vectors
from words import passages


def publish(library, table, name, cache):
    """Run the command; return its summary, the seconds to the last commit, and all seconds."""
    command = [sys.executable, "-m", "qvsearch", "publish", str(table), "-l", str(library)]
    started = time.perf_counter()
    committed = 0.0
    with subprocess.Popen(
        [*command, "--as", name, "--json"],
        stdout=subprocess.PIPE,
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    ) as process:
        for line in process.stdout:
            record = json.loads(line)
            if record["state"] == "committed":
                committed = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(process.returncode)
    return record, committed, time.perf_counter() - started


def change(library, files):
    """Give the rows of some files other vectors, as a new version of them would have."""
    from qvsearch.library.library import Library

    opened = Library.open(library)
    rows = list(range(0, opened.size, max(1, opened.size // files)))[:files]
    segments, before = [opened.segments[row] for row in rows], opened.vectors(rows)
    opened.remove(rows)
    opened.add(segments, np.roll(before, 1, axis=0))
    opened.commit()


def size_of(folder):
    return sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--libraries", type=int, default=4)
    parser.add_argument("--words", action="store_true", help="passages have words")
    parser.add_argument("--table", type=Path, help="where the table stays; else temporary")
    asked = parser.parse_args()
    each = -(-asked.rows // asked.libraries // CHUNK) * CHUNK
    rows = vectors(each * asked.libraries)
    with tempfile.TemporaryDirectory(dir=asked.table and asked.table.parent) as temporary:
        folder = Path(temporary)
        table = asked.table or folder / "table.lance"
        queries = []
        for number in range(asked.libraries):
            texts = iter(passages(-(-each // 4))[1]) if asked.words else None
            fill(folder, each, True, islice(rows, each // CHUNK), texts=texts)
            queries.append(np.load(folder / "queries.npy"))
            report(
                f"library {number + 1}", *publish(folder / "library", table, f"p{number}", folder)
            )
            print(f"  {size_of(table):,} bytes in the table's folder", flush=True)
            if number + 1 == asked.libraries:
                report("unchanged", *publish(folder / "library", table, f"p{number}", folder))
                change(folder / "library", 100)
                report("100 changed", *publish(folder / "library", table, f"p{number}", folder))
            shutil.rmtree(folder / "library")
        kept = np.concatenate(queries)[:: asked.libraries][:QUERIES]
        np.save(table.with_suffix(".queries.npy"), kept)


def report(what, summary, committed, whole):
    rows = summary["rows"]
    speed = f", {rows / committed:,.0f} rows/s" if committed else ""
    print(f"{what}: {rows:,} rows{speed} to the last commit; {whole:.1f} s in all", flush=True)


if __name__ == "__main__":
    main()
