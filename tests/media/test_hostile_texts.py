"""Texts that are huge, broken or none at all: each is cut into passages or refused with a reason.

No worker holds more than a few times the largest text that is taken, and the hash that comes before
reads no more than samples of a large file.
"""

import os
import random
import sys
import tracemalloc

import pytest
from support.watching import Watch, is_a_reason, is_no_surprise

from qvsearch.files import content_hash
from qvsearch.media.text import MAX_BYTES
from qvsearch.types import Kind

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(5 * 2**30)


def one_line(path):
    with open(path, "wb") as file:
        for _ in range(200):
            file.write(b"x" * 1_000_000)


def filled(unit, size=MAX_BYTES):
    return unit * (size // len(unit))


REFUSED = {
    "sparse": (sparse, "too large"),
    "one line": (one_line, "too large"),
    "zeros": (filled(b"\0"), "no text"),
    "noise": (random.Random(1).randbytes(MAX_BYTES), "binary file"),
    "ends of lines": (filled(b"\n"), "no text"),
    "carriage returns": (filled(b"\r"), "no text"),
    "program": (b"\x7fELF\2\1\1" + bytes(9) + filled(b"\1\0\0\0"), "too large"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + random.Random(2).randbytes(5000), "binary file"),
}
TAKEN = {
    "one line of ten megabytes": filled("你".encode()),
    "utf-16 of ten megabytes": filled("words and ".encode("utf-16-le")),
    "text and two zeros": filled(b"words ")[:-2] + b"\0\0",
    "zeros between words": filled(b"words\0and\0"),
    "half of it zeros": filled(b"words ", 10**6) + bytes(10**6),
    "gb18030": filled("春眠不觉晓，处处闻啼鸟。\n".encode("gb18030"), 10**6),
    "gb18030 in one line": filled("春眠不觉晓，处处闻啼鸟。".encode("gb18030"), 10**6),
    "a letter behind ten megabytes": filled(b"words " * 12 + b"\n")[:-1] + b"\xe9",
    "latin-1": filled("caf\xe9 cr\xe8me ".encode("latin-1"), 10**5),
    "utf-8, cut within a character": filled("你好 ".encode(), 10**5)[:-2],
    "utf-16 with its mark": b"\xfe\xff" + filled("words and ".encode("utf-16-be"), 10**5),
    "utf-16 of odd length": b"\xff\xfe" + filled("words ".encode("utf-16-le"), 10**5) + b"w",
    "utf-16 of lone halves": b"\xff\xfe" + filled(b"\0\xd8a\0 \0", 10**5),
    "marks on one letter": filled(b"e" + "\u0301".encode() * 1000, 10**5),
    "lines of one letter": filled(b"x\n", 10**5),
    "blank lines between": filled(b"x" + b"\n" * 99, 10**6),
}


def test_texts_are_read_within_bounds(tmp_path, tally):
    files = {name: data for name, (data, _) in REFUSED.items()} | TAKEN
    with Watch(tmp_path, Kind.TEXT) as watch:
        outcomes = dict(watch.outcomes(files.items()))
    for name, (_, reason) in REFUSED.items():
        assert isinstance(outcomes[name], str), name
        assert outcomes[name].startswith(reason), (name, outcomes[name])
        assert is_a_reason(outcomes[name])
        assert is_no_surprise(outcomes[name])
    for name in TAKEN:
        assert isinstance(outcomes[name], int), (name, outcomes[name])
        assert 1 <= outcomes[name] <= MAX_BYTES // 1000
    assert watch.peak < 300_000_000
    tally["texts that are huge, broken or none"] += len(outcomes)


def test_a_huge_file_is_told_from_others_by_samples(tmp_path):
    path = tmp_path / "a.txt"
    sparse(path)
    tracemalloc.start()
    try:
        content_hash(os.fsencode(path), path.stat().st_size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
