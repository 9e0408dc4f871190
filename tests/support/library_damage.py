"""Damage done to libraries, and a process that says of each what a user would meet.

Run as a program: `library_damage.py FOLDER FORM SEED FLIPS CUTS`; it makes a library in FOLDER,
breaks it in so many ways, one at a time, and prints a JSON object a line. What it is compared with
is what the library said when it was sound.
"""

import json
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qvsearch import files as durable
from qvsearch.errors import QvsearchError
from qvsearch.library import shards as segments
from qvsearch.library.failures import Failure, read_failures
from qvsearch.library.filtering import passing_rows
from qvsearch.library.filters import parse_filters
from qvsearch.library.library import Library
from qvsearch.library.repair import check
from qvsearch.types import Detail, Fingerprint, Item, Kind, Metadata, Segment, Stored
from support.readers import best_rows, make_older

DIM = 64
ROOTS = (b"/photos", b"/disk \xff")
FINGERPRINT = Fingerprint("some/model", "abc123", DIM, Detail.LOW, "Represent.", 1, 1)
FACTS_FROM = 30  # rows of a shard: of the five below two have facts, as in an older library
FILES = (12, 40, 9, 60, 25)  # rows
DEAD = (3, 20, 21, 22, 61, 100, 145)
ROWS = sum(FILES)
PAGE = 4096
FILTERS = (
    {},
    {"kinds": [Kind.VIDEO]},
    {"after": "2001-05", "camera": "eos"},
    {"globs": ["*1*"], "min_size": "800x600"},
    {"near": "10,20,5000"},
)


def unit(rows, seed, dim=DIM):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


QUERIES = unit(3, 1000)


def row(number):
    """A photo, a second of a film, or a passage of a text; every third is of the other root."""
    metadata = Metadata(
        taken=(None, "no date", f"2001-0{number % 9 + 1}-15T12:00:00")[number % 3],
        camera=(None, "Canon EOS 5D", "Straße")[number % 3],
        latitude=float(number % 90) if number % 5 else None,
        longitude=20.0,
    )
    root = ROOTS[number // 4 % 3 == 0]
    if number % 4 == 1 or number % 4 == 2:
        item = Item(root, b"film \xfe%d.mp4" % (number // 4), Kind.VIDEO, 5, 10**18)
        return Segment(item, f"f{number // 4}", float(number % 4), number % 4 + 1.0)
    if number % 4 == 3:
        item = Item(root, b"notes/%d.txt" % number, Kind.TEXT, 9, 10**18)
        return Segment(item, f"t{number}", lines=(1, 9), snippet=f"note {number}\u2028 \0")
    item = Item(root, b"%d.jpg" % number, Kind.IMAGE, number, number * 10**16)
    return Segment(item, f"h{number}", width=40 * number, height=800, metadata=metadata)


def make(folder, stored):
    """A library of five files, with a bank, failures, two roots, dead rows and facts of two files.

    Returns the folder of a copy of the commit before the last.
    """
    library = Library.create(folder, FINGERPRINT, stored)
    for root in ROOTS:
        library.add_root(root)
    library.set_baseline(unit(9, 5))
    vectors, start = unit(ROWS, 1), 0
    before = folder.with_name(f"{folder.name} before")
    for rows in FILES:
        library.add([row(n) for n in range(start, start + rows)], vectors[start : start + rows])
        library.commit()
        start += rows
    library.save_failures(
        [Failure(b"/photos/\xff.jpg", 5, 2**65, "cut off", 2), Failure(b"/photos/b", 0, 1, "no", 1)]
    )
    make_older(folder, FACTS_FROM)
    shutil.copytree(folder, before)
    library = Library.open(folder)
    library.remove(DEAD)
    library.commit()
    make_older(folder, FACTS_FROM)
    return before


def said(library):
    """Everything that a user can be told of a library, found as it is found for a user."""
    found = []
    masks = [passing_rows(library.columns, parse_filters(**asked)) for asked in FILTERS]
    found += [mask.tolist() for mask in masks]
    for query in QUERIES:
        scores = library.scores(query)
        for mask in masks:
            hits = best_rows(scores, 8, mask)
            found.append([(library.segments[number], score) for number, score in hits])
        found += [scores.tolist(), library.guesses(query).tolist()]
    found += [repr(library.backgrounds.tolist()), library.kinds.tolist(), library.roots]
    return found, list(library.segments.items())


def content(library):
    """The stored vector of each live segment."""
    numbers = list(library.segments)
    codes = library.pick(np.array(numbers, np.int64)).codes
    return {library.segments[n]: code.tobytes() for n, code in zip(numbers, codes, strict=True)}


@dataclass(frozen=True)
class Damage:
    """What is done to which files: their new contents by name, None for a file that is gone."""

    what: str
    files: dict[str, bytes | None]


def names(folder):
    """The files of a library that say anything, by their path in it."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def flips(folder, rng, count):
    """Single bits: each file gets its share, and every place of it the same chance."""
    data = {name: (folder / name).read_bytes() for name in names(folder)}
    for number in range(count):
        name = list(data)[number % len(data)]
        broken = bytearray(data[name])
        place = int(rng.integers(len(broken)))
        broken[place] ^= 1 << int(rng.integers(8))
        yield Damage(f"flip {place}", {name: bytes(broken)})


def cuts(folder, rng, count):
    """Truncations: to a random length, by a few bytes, to a few bytes, at a page's edge."""
    data = {name: (folder / name).read_bytes() for name in names(folder)}
    for number in range(count):
        name = list(data)[number % len(data)]
        size = len(data[name])
        few = int(rng.integers(1, 64))
        lengths = [int(rng.integers(size)), size - few, few, size - size % PAGE]
        length = min(max(0, lengths[number // len(data) % 4]), size - 1)
        yield Damage(f"cut to {length}", {name: data[name][:length]})


def others(folder, before, stranger):
    """Each file zeroed by pages, deleted, empty, doubled, and in another's place."""
    for name in names(folder):
        data = (folder / name).read_bytes()
        for start in range(0, len(data), PAGE):
            page = data[start : start + PAGE]
            yield Damage(
                f"zeroed page at {start}",
                {name: data[:start] + bytes(len(page)) + data[start + PAGE :]},
            )
        yield Damage("deleted", {name: None})
        yield Damage("empty", {name: b""})
        yield Damage("doubled", {name: data + data})
        other = stranger / name
        if other.exists():
            yield Damage("of another library", {name: other.read_bytes()})
    pairs = names(folder / "segments")
    for first in pairs:
        for second in pairs:
            if first < second and Path(first).suffix == Path(second).suffix:
                swapped = {
                    f"segments/{first}": (folder / "segments" / second).read_bytes(),
                    f"segments/{second}": (folder / "segments" / first).read_bytes(),
                }
                yield Damage(f"swapped with {second}", swapped)
    for name in names(folder):
        if (before / name).exists() and (before / name).read_bytes() != (
            folder / name
        ).read_bytes():
            yield Damage("of the commit before", {name: (before / name).read_bytes()})
    for start in range(0, len(pairs), 3):
        some = {f"segments/{name}": None for name in pairs[start : start + 3]}
        yield Damage("deleted together", some)


def every(folder, rng, before, stranger, bits, lengths) -> Iterator[Damage]:
    yield from flips(folder, rng, bits)
    yield from cuts(folder, rng, lengths)
    yield from others(folder, before, stranger)


def put(folder, files):
    """Do a damage, or undo it."""
    for name, data in files.items():
        path = folder / name
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)


def outcome(folder, sound, earlier):
    """What a user meets: refused when opened or searched, or which answers; and texts shown."""
    texts = []
    met = "refused when opened"
    try:
        library = Library.open(folder)
        met = "refused when searched"
        found = said(library)
        met = "same answers" if found == sound else "other answers"
        met = "answers of the commit before" if found == earlier else met
    except QvsearchError as error:
        texts.append(str(error))
    return {"met": met, "texts": texts}


def examined(folder, damage):
    """What was done, and what `check` finds of it; it reads large files whole, too."""
    problems = [problem.file for problem in check(folder)]
    failures = len(read_failures(folder))
    files = list(damage.files)
    return {"files": files, "what": damage.what, "check": problems, "failures": failures}


def take_for_large(*, large):
    """Have vectors and lines be read as those of large shards, which are not verified at once."""
    segments.VERIFY_AT_OPEN, segments.VERIFY_LINES = (0, 0) if large else (1 << 26, 1 << 20)


def sweep(folder, stored, seed, bits, lengths):
    """Yield the outcome of each damage; where vectors are hurt, also as if they were large."""
    before = make(folder, stored)
    stranger = folder.with_name(f"{folder.name} stranger")
    make(stranger, Stored.INT8 if stored is Stored.FLOAT16 else Stored.FLOAT16)
    sound, earlier = (said(Library.open(each)) for each in (folder, before))
    for damage in every(folder, np.random.default_rng(seed), before, stranger, bits, lengths):
        whole = {name: (folder / name).read_bytes() for name in damage.files}
        put(folder, damage.files)
        is_of_rows = any(name.endswith((".faiss", ".jsonl")) for name in damage.files)
        take_for_large(large=True)
        found = examined(folder, damage)
        for large in (True, False) if is_of_rows else (False,):
            take_for_large(large=large)
            yield found | outcome(folder, sound, earlier) | {"large": large}
        put(folder, whole)
    assert said(Library.open(folder)) == sound


def say(record):
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    from support.faulty_disk import FaultyDisk

    durable.os = FaultyDisk()
    folder, stored = Path(sys.argv[1]), Stored(sys.argv[2])
    seed, bits, lengths = map(int, sys.argv[3:6])
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for each in sweep(folder, stored, seed, bits, lengths):
        say(each)
    end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    say({"grown": (end - start) * (1 if sys.platform == "darwin" else 1024)})
