"""Copies four files to a file system with room for two, whose free space is not checked.

Run as a program: `full_copies.py FOLDER`, by one who may mount a file system in memory on FOLDER.
It prints what became of the copies, and again after the file system was made larger.
"""

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from qvsearch.files import content_hash
from qvsearch.tasks.taking import folder as folders
from qvsearch.types import Hit, Item, Kind, Segment

SIZE = 1 << 20


def hit(path):
    status = path.stat()
    item = Item(os.fsencode(path), b"", Kind.VIDEO, status.st_size, status.st_mtime_ns)
    return Hit(1, 0.9, 0.5, Segment(item, content_hash(item.location, item.size)))


def tell(out, sources, haul, **more):
    names = sorted(os.listdir(out))
    whole = [name for name in names if filecmp.cmp(out / name, out.with_name(name), shallow=False)]
    record = {"whole": whole, "names": names, "problem": haul.problem}
    sys.stdout.write(json.dumps(record | more) + "\n")


def main():
    small = Path(sys.argv[1])
    sources = [small.with_name(f"{number}.bin") for number in range(4)]
    for source in sources:
        source.write_bytes(os.urandom(SIZE))
    hits = [hit(source) for source in sources]
    mount = ["mount", "-t", "tmpfs", "-o", f"size={5 * SIZE // 2}", "none", small]
    subprocess.run(mount, check=True)
    usage = shutil.disk_usage(small)._replace(free=1 << 40)
    folders.shutil.disk_usage = lambda _: usage  # another program takes the space meanwhile
    tell(small, sources, folders.HitFolder(small).take(hits))
    subprocess.run(["mount", "-o", "remount,size=16m", small], check=True)
    haul = folders.HitFolder(small).take(hits)
    tell(small, sources, haul, new=[each.is_new for each in haul.taken])


if __name__ == "__main__":
    main()
