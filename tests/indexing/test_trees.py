"""Odd trees, indexed whole: links, special files, permissions, names, depth, width, times, mounts.

Proves that every file that can be read is in the library under its exact name, that every other one
is reported and counted, and that nothing of a disk that is away, or of a changed clock, is lost.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from support import hostile
from support.indexer import FINGERPRINT, MANY, Bench, Counting, note, notes, while_embedding
from support.trees import put, walk

from qvsearch.cli.progress import exit_code
from qvsearch.errors import ExitCode
from qvsearch.library.filters import parse_filters
from qvsearch.library.library import Library
from qvsearch.library.rules import ScanOptions
from qvsearch.retrieval.selection import allowed_rows

FOLLOW = ScanOptions(follow_symlinks=True)


@pytest.fixture
def bench(tmp_path):
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    return Bench(tmp_path / "library", tmp_path / "media")


@pytest.fixture
def light(tmp_path):
    """A folder in memory where there is one, so that thousands of names cost no disk."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


def reasons(summary):
    return {os.path.basename(each.path): each.reason for each in summary.failures}


def test_links_in_a_circle_and_long_chains_of_links_end(bench):
    put(bench.root, "sub/real.txt", content=b"a note")
    for name, target in (("a", "b"), ("b", "a"), ("a.txt", "b.txt"), ("b.txt", "a.txt")):
        (bench.root / name).symlink_to(target)
    (bench.root / "sub/up").symlink_to("..")
    (bench.root / "sub/self").symlink_to(".")
    (bench.root / "sub/nothing.txt").symlink_to("gone")
    for number in range(41):
        target = f"{number - 1:02}.txt" if number else "real.txt"
        (bench.root / f"sub/{number:02}.txt").symlink_to(target)
    assert bench.index().found == 1, "links are not followed"
    assert bench.names() == {"sub/real.txt"}
    summary = bench.index(scan=FOLLOW)
    said = reasons(summary)
    # Linux follows 40 links and no more; the first of the chain is one, and others vary
    followed = {f"sub/{number:02}.txt" for number in range(41)} & bench.names()
    chain = {f"{number:02}.txt".encode() for number in range(41)}
    assert len(followed) + len(said.keys() & chain) == 41
    assert len(followed) >= 8
    assert said.keys() >= {b"a.txt", b"b.txt", b"nothing.txt"}
    assert bench.names() == {"sub/real.txt"} | followed
    assert len({row[2] for rows in bench.rows().values() for row in rows}) == 1
    assert len(bench.embedder.embedded) == 0, "it is one content"


def test_devices_and_files_of_the_kernel_are_never_read(bench):
    note(bench.root / "a.txt", "words")
    (bench.root / "zeros.txt").symlink_to("/dev/zero")
    if Path("/proc/self/status").exists():
        (bench.root / "kernel.txt").symlink_to("/proc/self/status")
    try:
        os.mknod(bench.root / "device.png", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except OSError:
        (bench.root / "device.png").symlink_to("/dev/zero")
    summary = bench.index(scan=FOLLOW)
    said = reasons(summary)
    assert (said[b"zeros.txt"], said[b"device.png"]) == ("a device, not a file",) * 2
    # what the kernel makes up has no length, or another each time that one looks
    assert said.get(b"kernel.txt") in (None, "empty file", "changed while it was being indexed")
    assert bench.names() == {"a.txt"}
    assert exit_code(summary) == ExitCode.INCOMPLETE


LIMITED = """
import os, sys
sys.path.insert(0, os.path.dirname({here!r}))
from support.indexer import Counting
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.library.library import Library
from qvsearch.errors import ExitCode
from qvsearch.cli.progress import exit_code, show_summary

if __name__ == "__main__":
    library = Library.open({library!r})
    root, options, silent = {root!r}.encode(), IngestOptions(), lambda _: None
    summary = index(library, [root], Counting().load, options, silent, lambda: False)
    show_summary(summary, quiet=True, json=False)
    sys.exit(exit_code(summary))
"""


def test_what_may_not_be_read_is_reported_and_all_else_is_indexed(bench, tmp_path):
    notes(bench.root / "closed", 2)
    notes(bench.root / "passage", 2)
    note(bench.root / "secret.txt", "secret")
    note(bench.root / "open.txt", "open")
    note(bench.root / "sub/open too.txt", "open too")
    modes = {"closed": 0, "passage": 0o111, "secret.txt": 0}
    script = tmp_path / "script.py"
    words = {"library": str(bench.library_folder), "root": str(bench.root)}
    script.write_text(LIMITED.format(here=__file__, **words))
    command = [sys.executable, script]
    if os.geteuid() == 0:  # as one who may read no more than an owner may
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    for name, mode in modes.items():
        (bench.root / name).chmod(mode)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for name in modes:
        (bench.root / name).chmod(0o755)
    said = {f"  {bench.root / name}: permission denied" for name in modes}
    assert (set(done.stdout.splitlines()) - {"skipped:"}, done.stderr) == (said, "")
    assert done.returncode == ExitCode.INCOMPLETE
    assert bench.names() == {"open.txt", "sub/open too.txt"}
    summary = bench.index()
    assert (summary.embedded, summary.reused, len(bench.names())) == (3, 2, 7)


def test_every_name_is_kept_byte_for_byte_through_a_move_and_a_second_run(bench):
    root = os.fsencode(bench.root)
    for number, name in enumerate(hostile.named(b".txt")):
        note(Path(os.fsdecode(os.path.join(root, name))), f"words {number}")
    assert bench.index().embedded == len(hostile.NAMES)
    assert {os.path.basename(place) for place in bench.rows()} == set(hostile.named(b".txt"))
    for place, ((_, _, _),) in bench.rows().items():
        assert os.stat(place).st_size > 0
    assert bench.index().unchanged == len(hostile.NAMES)
    # as a case-insensitive file system shows a renamed file: another name, the same content
    os.rename(os.path.join(root, b"-rf.txt"), os.path.join(root, b"-RF.txt"))
    summary = bench.index()
    assert (summary.reused, summary.removed, summary.embedded) == (1, 1, 0)
    assert b"-RF.txt" in {os.path.basename(place) for place in bench.rows()}


def test_hard_links_are_one_vector_and_every_path_is_listed(bench):
    note(bench.root / "a.txt", "words")
    (bench.root / "sub").mkdir()
    for name in ("A.TXT", "sub/a.txt", "Zo\u00eb.txt", "Zoe\u0308.txt"):
        os.link(bench.root / "a.txt", bench.root / name)
    summary = bench.index()
    assert (summary.embedded, summary.reused) == (1, 4)
    assert bench.embedder.embedded == ["words"]
    assert bench.names() == {"a.txt", "A.TXT", "sub/a.txt", "Zo\u00eb.txt", "Zoe\u0308.txt"}
    assert len({row for rows in bench.rows().values() for row in rows}) == 1


@contextmanager
def deep_tree(root: Path, levels: int, name: str):
    """A tree deeper than any path can say, made and taken away through descriptors."""
    home = os.open(root, os.O_RDONLY)
    folder = os.dup(home)
    for _ in range(levels):
        os.mkdir(name, dir_fd=folder)
        deeper = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(os.open("below.txt", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    try:
        yield
    finally:
        os.close(home)
        subprocess.run(["rm", "-rf", root / name], check=True)  # shutil's recursion has an end


def test_five_thousand_levels_end_in_a_report_and_lose_nothing_above(bench, light):
    bench.root = light
    with deep_tree(bench.root, 5000, "d"):
        note(bench.root / "top.txt", "top")
        note(bench.root / "/".join("d" * 1000) / "deep.txt", "deep")
        summary = bench.index()
        deep = "d/" * 1000 + "deep.txt"
        assert bench.names() == {"top.txt", deep}
        assert [each.reason for each in summary.failures] == ["file name too long"]
        again = bench.index()
        assert (again.unchanged, again.removed, again.skipped) == (2, 0, 1)
        (bench.root / deep).unlink()
        assert bench.index().removed == 1


def wide(root: Path, count: int) -> None:
    for number in range(count):
        os.close(os.open(root / f"{number:06}.jpg", os.O_CREAT | os.O_WRONLY))


def test_thousands_of_files_in_one_folder_are_all_met(light):
    wide(light, 5000)
    assert [one.path for one in walk(light)] == [b"%06d.jpg" % n for n in range(5000)]


WIDE = """
import sys
from pathlib import Path
from qvsearch.indexing.scan import scan
from qvsearch.library.rules import ScanOptions
def peak():
    (line,) = [each for each in Path("/proc/self/status").open() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
import pathspec
before = peak()
count = sum(1 for _ in scan(sys.argv[1].encode(), sys.argv[1].encode(), ScanOptions()))
print(count, peak() - before)
"""


@pytest.mark.soak
def test_two_hundred_thousand_files_in_one_folder_take_little_memory(light):
    wide(light, 200_000)
    done = subprocess.run(
        [sys.executable, "-c", WIDE, light], capture_output=True, text=True, check=True
    )
    count, megabytes = done.stdout.split()
    assert int(count) == 200_000
    assert float(megabytes) < 300


@contextmanager
def zone(name):
    """Let the machine's clock be somewhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


YEAR = 365 * 86_400
TIMES = {"zero": 0, "negative": -1, "1901": -(2**31), "2264": 9_300_000_000, "2400": 430 * YEAR}


def photo(path, taken):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = taken
    shade = len(path.name) * 20
    Image.new("RGB", (64, 64), (shade, 10, 90)).save(path, exif=exif)


def test_odd_times_are_kept_and_a_clock_elsewhere_embeds_nothing_again(bench):
    for name, seconds in TIMES.items():
        os.utime(note(bench.root / f"{name}.txt", name), ns=(0, seconds * 10**9 + 1))
    photo(bench.root / "fold.jpg", "2023:10:29 02:30:00")  # which came twice in Vienna
    photo(bench.root / "nothing.jpg", "0000:00:00 00:00:00")
    photo(bench.root / "gap.jpg", "2023:03:26 02:30:00")  # which never came there
    os.utime(bench.root / "nothing.jpg", ns=(0, 86_400 * 10**9))
    with zone("Europe/Vienna"):
        assert bench.index().embedded == 8
        before = bench.rows()
    for name in ("Asia/Tokyo", "America/New_York", "Europe/Vienna"):
        with zone(name):
            summary = bench.index()
            assert (summary.unchanged, summary.embedded, bench.embedder.embedded) == (8, 0, [])
            assert between(bench, "2023-10-29", "2023-10-30") == {"fold.jpg"}
            assert between(bench, "2023-03-26", "2023-03-27") == {"gap.jpg"}
            assert between(bench, "1900-01-01", "1971-01-01") >= {"nothing.jpg", "1901.txt"}
            assert between(bench, "2264-01-01", "2265-01-01") <= {"2264.txt", "2400.txt"}
    assert bench.rows() == before
    stored = {each.item.path: each.item.mtime_ns for each in bench.open().segments.values()}
    for name in TIMES:
        path = bench.root / f"{name}.txt"
        assert stored[path.name.encode()] == path.stat().st_mtime_ns
    assert stored[b"negative.txt"] == 1 - 10**9


def between(bench, after, before):
    library = bench.open()
    allowed = allowed_rows(library, parse_filters(after=after, before=before))
    return {os.fsdecode(library.segments[row].item.path) for row in allowed.nonzero()[0].tolist()}


@contextmanager
def mounted(folder: Path):
    """A disk of its own at a folder, until it is taken away."""
    command = ["mount", "-t", "tmpfs", "none", folder]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    try:
        yield lambda: subprocess.run(["umount", "-l", folder], check=True)
    finally:
        if os.path.ismount(folder):
            subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_unmounted_between_runs_and_in_one_loses_nothing(bench):
    with mounted(bench.root) as unmount:
        notes(bench.root, MANY)
        while_embedding(bench, unmount)
        summary = bench.index()
        assert (summary.embedded + summary.skipped, summary.removed) == (MANY, 0)
        assert exit_code(summary) == ExitCode.INCOMPLETE
        kept = bench.rows()
        assert 0 < len(kept) == summary.embedded < MANY
    bench.embedder = Counting()
    for path in (bench.root, bench.root / "000.txt"):
        summary = bench.index(path)
        assert (summary.removed, bench.rows()) == (0, kept)
        assert exit_code(summary) == ExitCode.INCOMPLETE, "an empty mount point is no success"
    assert bench.embedder.loads == 0
