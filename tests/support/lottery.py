"""Indexes notes with the whole command line, over and over, and kills it at random times.

Run as a program: `lottery.py FOLDER KILLS SEED [workers] [words]`. FOLDER has `notes` and a library
`new`, which lacks some. Each life of an indexer is told as a line of JSON; the next one, which goes
on with the same library, begins when a line comes back. A library that is done is followed by a new
one. With `workers` files are decoded in processes of their own, as always outside of tests. With
`words` indexers are killed only while older notes get their words.
"""

import json
import os
import random
import select
import shutil
import signal
import sys
import time
from pathlib import Path

from qvsearch.cli import app as cli
from qvsearch.library import lock
from qvsearch.media.workers import Decoders
from support import cheap_model

SHARDS = 5  # of an older library
PATIENCE = 60.0  # seconds, for an indexer that is not killed


class Telling(cheap_model.CheapModel):
    """Tells how many notes it embeds, before anybody has their vectors."""

    def embed(self, inputs):
        notes = sum(each.instruction is None for each in inputs)  # the others are generic queries
        os.write(1, json.dumps({"state": "embedding", "files": notes}).encode() + b"\n")
        return super().embed(inputs)


def live(folder, decoders):
    """Index, and never return."""
    command = ["index", str(folder / "notes"), "-l", str(folder / "library"), "--json"]
    code = None
    try:
        with cheap_model.instead(Telling(), decoders):
            code = cli.main(command)
    finally:
        os._exit(70 if code is None else code)


def life(folder, decoders, seconds, shards):
    """Start an indexer, kill it some seconds later, and return what it said until then.

    The seconds count from the moment when it begins with the words of so many older shards.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(theirs, 1)
        os.close(theirs)
        os.close(ours)
        live(folder, decoders)
    os.close(theirs)
    begun, said = None, b""
    while True:
        if begun is None and said.count(b'"words"') >= shards:
            begun = time.monotonic()
        left = PATIENCE if begun is None else begun + seconds - time.monotonic()
        if not select.select([ours], [], [], max(0.0, left))[0]:
            break
        if not (data := os.read(ours, 1 << 16)):
            break
        said += data
    lasted = time.monotonic() - (begun or time.monotonic())
    os.kill(child, signal.SIGKILL)  # it may have ended by now, but is not gone
    status = os.waitpid(child, 0)[1]
    while data := os.read(ours, 1 << 16):
        said += data
    os.close(ours)
    events = [json.loads(line) for line in said.splitlines()]
    return {
        "seconds": lasted,
        "exit": os.waitstatus_to_exitcode(status),
        "embedded": sum(each["files"] for each in events if each["state"] == "embedding"),
        "acknowledged": sum(each["files"] for each in events if each["state"] == "committed"),
        "locked": (folder / "library" / lock.HOLDER).exists(),
    }


def main():
    cheap_model.load_all()
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    decoders = Decoders if "workers" in sys.argv[4:] else cheap_model.DecodersHere
    most = SHARDS if "words" in sys.argv[4:] else 0
    dice, killed, longest = random.Random(seed), 0, None  # noqa: S311
    while killed < kills:
        if not (folder / "library").exists():
            shutil.copytree(folder / "new", folder / "library")
        seconds = dice.uniform(0, longest) if longest else PATIENCE
        shards = dice.randint(1, most) if longest and most else min(1, most)
        record = life(folder, decoders, seconds, shards)
        longest = longest or record["seconds"]  # the first one is not killed
        killed += record["exit"] == -signal.SIGKILL
        os.write(1, json.dumps(record).encode() + b"\n")
        sys.stdin.readline()
        if record["exit"] == 0:
            shutil.rmtree(folder / "library")


if __name__ == "__main__":
    main()
