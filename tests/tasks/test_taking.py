"""Copies and links of hits: whole, never in the place of anything, and found again."""

import errno
import filecmp
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import full_copies, hostile
from support.full_disk import namespace

from qvsearch import copying
from qvsearch.errors import QvsearchError
from qvsearch.files import content_hash
from qvsearch.tasks.taking import folder as folders
from qvsearch.tasks.taking.folder import HitFolder
from qvsearch.types import Hit, Item, Kind, Segment

COPY_BYTES = copying._copy_bytes


def write(path, data=b"a picture", mtime_ns=1_600_000_000_123_456_789):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def hit(path, rank=1):
    status = os.stat(path)
    item = Item(os.fsencode(path), b"", Kind.IMAGE, status.st_size, status.st_mtime_ns)
    return Hit(rank, 0.9, 0.5, Segment(item, content_hash(item.location, item.size)))


def hits(paths):
    return [hit(path, rank) for rank, path in enumerate(paths, start=1)]


def listing(folder):
    return sorted(os.listdir(folder))


def reasons(haul):
    return [(os.path.basename(os.fsdecode(each.path)), each.reason) for each in haul.skipped]


def test_files_of_one_name_from_several_folders_are_all_copied(tmp_path):
    sources = [write(tmp_path / f"{n:04}" / "IMG_1.jpg", b"%d" % n) for n in range(1000)]
    haul = HitFolder(tmp_path / "out").take(hits(sources))
    assert haul.skipped == ()
    assert len(listing(tmp_path / "out")) == 1000
    for source, taken in zip(sources, haul.taken, strict=True):
        assert filecmp.cmp(source, taken.path, shallow=False)
        assert taken.path.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert [taken.path.name for taken in haul.taken[:3]] == [
        "IMG_1.jpg",
        "IMG_1-2.jpg",
        "IMG_1-3.jpg",
    ]
    again = HitFolder(tmp_path / "out").take(hits(sources))
    assert [each.path for each in again.taken] == [each.path for each in haul.taken]
    assert not any(each.is_new for each in again.taken)


def test_equal_size_and_time_do_not_make_files_equal(tmp_path):
    one, two = write(tmp_path / "a" / "x.jpg", b"one"), write(tmp_path / "b" / "x.jpg", b"two")
    for _ in range(2):
        haul = HitFolder(tmp_path / "out").take(hits([one, two]))
        assert [each.path.read_bytes() for each in haul.taken] == [b"one", b"two"]
    [taken] = HitFolder(tmp_path / "out").take([hit(two)]).taken
    assert (taken.path.name, taken.is_new) == ("x-2.jpg", False)
    assert listing(tmp_path / "out") == ["x-2.jpg", "x.jpg"]


def test_nothing_that_exists_is_replaced(tmp_path):
    source = write(tmp_path / "a" / "x.jpg")
    mine = write(tmp_path / "out" / "x.jpg", b"mine, and longer")
    (tmp_path / "out" / "x-2.jpg").symlink_to("nowhere")
    (tmp_path / "out" / "x-3.jpg").mkdir()
    for links, name in ((False, "x-4.jpg"), (True, "x-5.jpg")):
        for is_new in (True, False):
            [taken] = HitFolder(tmp_path / "out", links=links).take([hit(source)]).taken
            assert (taken.path.name, taken.is_new) == (name, is_new)
    assert mine.read_bytes() == b"mine, and longer"
    assert (tmp_path / "out" / "x-4.jpg").read_bytes() == source.read_bytes()
    assert os.readlink(tmp_path / "out" / "x-5.jpg") == str(source)


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    source = write(tmp_path / "a" / "x.jpg")

    def late(*job):
        if not (tmp_path / "out" / "x.jpg").exists():
            write(tmp_path / "out" / "x.jpg", b"theirs")
        COPY_BYTES(*job)

    monkeypatch.setattr(copying, "_copy_bytes", late)
    [taken] = HitFolder(tmp_path / "out").take([hit(source)]).taken
    assert taken.path.name == "x-2.jpg"
    assert (tmp_path / "out" / "x.jpg").read_bytes() == b"theirs"


def test_names_may_begin_with_the_rank(tmp_path):
    sources = [write(tmp_path / str(n) / "x.jpg", b"%d" % n) for n in range(2)]
    ranked = HitFolder(tmp_path / "out", ranked=True)
    assert ranked.take(hits(sources)).skipped == ()
    assert listing(tmp_path / "out") == ["001-x.jpg", "002-x.jpg"]
    long = write(tmp_path / "long" / ("é" * 120 + ".jpg"))
    [taken] = HitFolder(tmp_path / "out", ranked=True).take([hit(long, 12345)]).taken
    assert taken.path.name.startswith("12345-é")
    assert taken.path.suffix == ".jpg"
    assert taken.path.read_bytes() == long.read_bytes()


def test_a_file_of_several_queries_is_copied_once(tmp_path):
    one, two = write(tmp_path / "a" / "x.jpg", b"one"), write(tmp_path / "b" / "x.jpg", b"two")
    out = HitFolder(tmp_path / "out")
    for batch in ([one, two], [two, one], [one]):
        assert all(out.take(hits(batch)).taken)
    assert listing(tmp_path / "out") == ["x-2.jpg", "x.jpg"]


def test_a_copy_that_failed_is_tried_again_for_the_next_query(tmp_path, monkeypatch):
    source = write(tmp_path / "x.jpg")
    out = HitFolder(tmp_path / "out")

    def failing(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(copying, "_copy_bytes", failing)
        assert reasons(out.take([hit(source)])) == [("x.jpg", "input/output error")]
    [taken] = out.take([hit(source)]).taken
    assert (taken.path.name, taken.is_new) == ("x.jpg", True)
    assert taken.path.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("links", [False, True])
def test_a_hit_that_is_in_the_folder_stays(tmp_path, links):
    source = write(tmp_path / "x.jpg")
    [taken] = HitFolder(tmp_path, links=links).take([hit(source)]).taken
    assert (taken.path, taken.is_new) == (source, False)
    assert listing(tmp_path) == ["x.jpg"]


@pytest.mark.parametrize("links", [False, True])
def test_names_keep_their_bytes(tmp_path, links):
    media = os.fsencode(tmp_path / "media")
    os.mkdir(media)
    for name in hostile.named(b".jpg"):
        write(Path(os.fsdecode(os.path.join(media, name))), name)
    sources = [Path(os.fsdecode(os.path.join(media, name))) for name in hostile.named(b".jpg")]
    haul = HitFolder(tmp_path / "out", links=links).take(hits(sources))
    assert haul.skipped == ()
    assert sorted(os.listdir(os.fsencode(tmp_path / "out"))) == sorted(hostile.named(b".jpg"))
    assert all(each.path.read_bytes() == os.fsencode(each.path.name) for each in haul.taken)


def test_characters_that_the_file_system_refuses_become_underscores(tmp_path, monkeypatch):
    def fat(call):
        def refuse(path, *rest, **options):
            if set(os.path.basename(os.fsdecode(path))) & set(':?"'):
                raise OSError(errno.EINVAL, "Invalid argument", path)
            return call(path, *rest, **options)

        return refuse

    sources = [write(tmp_path / n / "at 12:30?.jpg", n.encode()) for n in "ab"]
    batch = hits(sources)
    monkeypatch.setattr(folders.Path, "touch", fat(Path.touch))
    for is_new in (True, False):
        haul = HitFolder(tmp_path / "out").take(batch)
        assert [each.is_new for each in haul.taken] == [is_new] * 2
    assert listing(tmp_path / "out") == ["at 12_30_-2.jpg", "at 12_30_.jpg"]


def test_files_that_are_gone_or_changed_are_named(tmp_path):
    names = ["gone", "changed", "same size", "touched", "folder", "whole"]
    sources = [write(tmp_path / "media" / f"{name}.jpg") for name in names]
    batch = hits(sources)
    sources[0].unlink()
    write(sources[1], b"another picture")
    write(sources[2], b"b picture", mtime_ns=5)
    os.utime(sources[3])
    sources[4].unlink()
    sources[4].mkdir()
    haul = HitFolder(tmp_path / "out").take(batch)
    assert listing(tmp_path / "out") == ["touched.jpg", "whole.jpg"]
    assert [each is not None for each in haul.taken] == [False] * 3 + [True, False, True]
    changed = "it has changed since it was indexed; run qvsearch index and search again"
    assert reasons(haul)[:3] == [
        ("gone.jpg", "it is no longer there"),
        ("changed.jpg", changed),
        ("same size.jpg", changed),
    ]
    assert reasons(haul)[3][0] == "folder.jpg"


def test_no_folder_is_made_for_no_file(tmp_path):
    source = write(tmp_path / "x.jpg")
    [gone] = hits([source])
    source.unlink()
    assert HitFolder(tmp_path / "out").take([gone]).taken == (None,)
    assert HitFolder(tmp_path / "out").take([]).taken == ()
    assert not (tmp_path / "out").exists()


def test_a_file_that_grows_while_it_is_copied_is_left_out(tmp_path, monkeypatch):
    source, other = write(tmp_path / "x.jpg"), write(tmp_path / "y.jpg")
    batch = hits([source, other])

    def growing(file, copy):
        COPY_BYTES(file, copy)
        if os.fstat(file.fileno()).st_ino == source.stat().st_ino:
            source.write_bytes(b"a picture that has grown")

    monkeypatch.setattr(copying, "_copy_bytes", growing)
    haul = HitFolder(tmp_path / "out").take(batch)
    assert reasons(haul) == [("x.jpg", "changed while it was copied")]
    assert listing(tmp_path / "out") == ["y.jpg"]


def test_too_little_space_is_noticed_before_anything_is_copied(tmp_path, monkeypatch):
    sources = [write(tmp_path / f"{n}.jpg", bytes(1_500_000)) for n in range(2)]
    usage = folders.shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(QvsearchError, match=r"2 files take 3\.0 MB, and .* has 2\.0 MB"):
        HitFolder(tmp_path / "out").take(hits(sources))
    assert listing(tmp_path / "out") == []
    HitFolder(tmp_path / "out", links=True).take(hits(sources))
    assert listing(tmp_path / "out") == ["0.jpg", "1.jpg"]


def test_what_is_no_folder_is_refused(tmp_path):
    place = write(tmp_path / "x.jpg")
    with pytest.raises(QvsearchError, match="is not a folder; give --copy-to a folder"):
        HitFolder(place)
    with pytest.raises(QvsearchError, match="cannot create the folder"):
        HitFolder(place / "below").take([hit(place)])


@pytest.mark.parametrize("way", ["unnamed", "temporary", "no links"])
@pytest.mark.parametrize("by_kernel", [True, False])
def test_every_way_of_copying_gives_the_same_file(tmp_path, monkeypatch, way, by_kernel):
    def refused(*_, **__):
        raise OSError(errno.EOPNOTSUPP, "not here")

    if way != "unnamed":
        monkeypatch.setattr(copying, "_OPEN_FILES", "/nowhere")
    if way == "no links":
        monkeypatch.setattr(copying.os, "link", refused)
    if not by_kernel:
        monkeypatch.setattr(copying.os, "copy_file_range", refused, raising=False)
    source = write(tmp_path / "x.mp4", os.urandom(3_000_001))
    copying.copy_new(os.fsencode(source), tmp_path / "y.mp4", lambda: None)
    assert filecmp.cmp(source, tmp_path / "y.mp4", shallow=False)
    assert (tmp_path / "y.mp4").stat().st_mtime_ns == source.stat().st_mtime_ns
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "y.mp4").stat().st_mode & 0o777 == 0o666 & ~umask
    with pytest.raises(FileExistsError):
        copying.copy_new(os.fsencode(source), tmp_path / "y.mp4", lambda: None)
    assert listing(tmp_path) == ["x.mp4", "y.mp4"]


KILLED = """
import os, sys
from pathlib import Path
from qvsearch import copying

if sys.argv[3] == "temporary":
    copying._OPEN_FILES = "/nowhere"

def half(file, copy):
    os.write(copy, file.read(1000))
    print("half", flush=True)
    sys.stdin.read()

copying._copy_bytes = half
copying._clone = lambda *_: False
copying.copy_new(os.fsencode(sys.argv[1]), Path(sys.argv[2]), lambda: None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a temporary file stays")
@pytest.mark.parametrize("way", ["unnamed", "temporary"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_leaves_no_part_of_a_copy(tmp_path, way, end):
    source = write(tmp_path / "x.mp4", bytes(2000))
    target = tmp_path / "out" / "x.mp4"
    target.parent.mkdir()
    command = [sys.executable, "-c", KILLED, str(source), str(target), way]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(end)
        process.wait()
    left = listing(target.parent)
    if end is signal.SIGKILL and way == "temporary":
        assert [name.startswith(".qvsearch-") for name in left] == [True]
    else:
        assert left == []
    [taken] = HitFolder(target.parent).take([hit(source)]).taken
    assert (taken.path, taken.is_new) == (target, True)


def test_a_disk_that_becomes_full_keeps_whole_copies(tmp_path):
    (tmp_path / "small").mkdir()
    words = namespace(tmp_path / "small")
    command = [*words, sys.executable, full_copies.__file__, str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, again = map(json.loads, done.stdout.splitlines())
    assert first["whole"] == ["0.bin", "1.bin"] == first["names"]
    assert first["problem"].startswith("no space left in ")
    assert "2 of 4 files are missing, the others are whole; free some" in first["problem"]
    assert again == {"whole": ["0.bin", "1.bin", "2.bin", "3.bin"], "names": again["whole"]} | {
        "problem": None,
        "new": [False, False, True, True],
    }


def test_many_files_of_one_name_cost_few_looks_at_the_disk(tmp_path, monkeypatch):
    sources = [write(tmp_path / f"{n:03}" / "x.jpg", b"%d" % n) for n in range(300)]
    looks, exists = [], os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: (looks.append(path), exists(path))[1])
    for _ in range(2):
        assert HitFolder(tmp_path / "out").take(hits(sources)).skipped == ()
    assert len(looks) < 3 * len(sources)
