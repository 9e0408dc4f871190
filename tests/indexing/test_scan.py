"""The walk: what it takes, passes over and reports, on real folders."""

import codecs
import os
import socket
from contextlib import contextmanager

import pytest
from support.trees import left_aside, names, put, walk

from qvsearch.errors import QvsearchError
from qvsearch.indexing.scan import (
    NAMED,
    ignored,
    leftovers_text,
    scan,
    selector,
)
from qvsearch.library.rules import ScanOptions
from qvsearch.media.kind_at import kind_at
from qvsearch.types import KIND_OF_SUFFIX, Item, Kind, Skipped


@contextmanager
def unprivileged():
    """Let file permissions count even where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_items_carry_kind_size_and_time_and_come_sorted_files_first(tmp_path):
    put(tmp_path, "b/2.mp4", "b/1.TXT", "c.jpeg", "a.Png", content=b"12345")
    os.utime(tmp_path / "a.Png", ns=(0, -7_000_000_001))
    found = walk(tmp_path)
    assert [(one.path, one.kind) for one in found] == [
        (b"a.Png", Kind.IMAGE),
        (b"c.jpeg", Kind.IMAGE),
        (b"b/1.TXT", Kind.TEXT),
        (b"b/2.mp4", Kind.VIDEO),
    ]
    assert {one.size for one in found} == {5}
    assert {one.root for one in found} == {os.fsencode(tmp_path)}
    assert found[0].mtime_ns == (tmp_path / "a.Png").stat().st_mtime_ns == -7_000_000_001
    assert found[3].location == os.fsencode(tmp_path / "b/2.mp4")


def test_unknown_suffixes_and_hidden_names_are_passed_over(tmp_path):
    put(tmp_path, "a.jpg", "a.exe", "noext", "jpg", ".hidden.jpg", ".cache/b.jpg", "._c.jpg")
    assert names(tmp_path) == [b"a.jpg"]
    assert names(tmp_path, hidden=True) == [b".hidden.jpg", b"a.jpg", b".cache/b.jpg"]


def test_files_of_no_kind_are_counted_by_suffix_the_most_first(tmp_path):
    put(tmp_path, "a.jpg", "a.CRW", "b/c.crw", "b/d.doc", "noext", "b/e.exe", ".doc", ".h/f.doc")
    put(tmp_path, "b/.bashrc", "b/g.pages", b"\xff.doc", b"x.\xff", "lots.of.dots.")
    put(tmp_path, "a.jpg.XMP", "b/c.xmp")  # read with the files beside them
    (tmp_path / "link.doc").symlink_to("noext")
    (tmp_path / "folder.doc").mkdir()
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.doc")
    assert list(left_aside(tmp_path).items()) == [
        (".crw", 2),
        (".doc", 2),
        (".pages", 1),
        ("others", 4),
    ]
    assert left_aside(tmp_path, hidden=True)[".doc"] == 3
    assert left_aside(tmp_path, follow_symlinks=True)[".doc"] == 3
    assert left_aside(tmp_path / "b") == {".crw": 1, ".pages": 1, ".doc": 1, "others": 1}
    assert leftovers_text(left_aside(tmp_path)) == "2 .crw, 2 .doc, 1 .pages, 4 others"
    assert leftovers_text({"others": 1}) == "1 other"


def test_what_the_user_leaves_out_is_not_counted(tmp_path):
    put(tmp_path, "a.doc", "b.txt", "c.xls", "out/d.doc", "old/e.doc", "old/f.xls")
    put(tmp_path, ".qvsearchignore", content=b"out/\n")
    assert left_aside(tmp_path) == {".xls": 2, ".doc": 2}
    assert left_aside(tmp_path, exclude=("old/",)) == {".xls": 1, ".doc": 1}
    assert left_aside(tmp_path, include=("*.xls", "*.txt")) == {".xls": 2}
    assert left_aside(tmp_path, kinds=frozenset({Kind.IMAGE})) == {".xls": 2, ".doc": 2}


def test_no_suffix_that_is_taken_is_left_aside():
    assert not NAMED & set(KIND_OF_SUFFIX)


def test_typescript_is_a_text_and_no_film(tmp_path):
    packet = b"\x47\x40\x00\x10\x00" + b"\xff" * 183  # ISO/IEC 13818-1, 2.4.3.2
    put(tmp_path, "film.ts", "film.MTS", content=packet * 50)
    put(tmp_path, "code.ts", "code.mts", content=b"export const G: string = 'G'\n" * 400)
    kinds = {one.path: one.kind for one in walk(tmp_path)}
    film, text = Kind.VIDEO, Kind.TEXT
    assert kinds == {b"film.MTS": film, b"film.ts": film, b"code.mts": text, b"code.ts": text}
    [item] = walk(tmp_path / "code.ts")
    assert item.kind is text
    assert names(tmp_path, kinds=frozenset({film})) == [b"film.MTS", b"film.ts"]


def test_names_without_a_suffix(tmp_path):
    put(tmp_path, "README", "Makefile", "LICENSE", "notes", "Dockerfile", "README.old")
    assert names(tmp_path) == [b"Dockerfile", b"LICENSE", b"Makefile", b"README"]
    assert left_aside(tmp_path) == {"others": 2}


def test_a_hidden_root_is_walked(tmp_path):
    put(tmp_path / ".photos", "a.jpg")
    assert names(tmp_path / ".photos") == [b"a.jpg"]


def test_a_file_as_root_has_an_empty_relative_path(tmp_path):
    put(tmp_path, ".a.jpg")
    (item,) = walk(tmp_path / ".a.jpg")
    assert (item.path, item.location) == (b"", os.fsencode(tmp_path / ".a.jpg"))


def test_a_path_below_the_root_gives_paths_relative_to_the_root(tmp_path):
    put(tmp_path, "a/b/1.jpg", "a/2.jpg", "3.jpg", "a/.h/4.jpg")
    assert names(tmp_path / "a", tmp_path) == [b"a/2.jpg", b"a/b/1.jpg"]
    assert names(tmp_path / "a/2.jpg", tmp_path) == [b"a/2.jpg"]
    assert names(tmp_path / "a/.h", tmp_path) == [b"a/.h/4.jpg"]


def test_a_named_path_that_cannot_be_taken_is_skipped_with_a_reason(tmp_path):
    put(tmp_path, "a.exe")
    assert walk(tmp_path / "no.jpg") == [
        Skipped(os.fsencode(tmp_path / "no.jpg"), "no such file or directory")
    ]
    (skipped,) = walk(tmp_path / "a.exe")
    assert isinstance(skipped, Skipped)
    assert "suffix" in skipped.reason


def test_kinds_include_and_exclude(tmp_path):
    put(tmp_path, "a.jpg", "b.txt", "c.mp4", "2024/d.jpg", "2024/thumbs/e.jpg", "2025/f.jpg")
    assert names(tmp_path, kinds=frozenset({Kind.TEXT, Kind.VIDEO})) == [b"b.txt", b"c.mp4"]
    assert names(tmp_path, include=("*.jpg",)) == [
        b"a.jpg",
        b"2024/d.jpg",
        b"2024/thumbs/e.jpg",
        b"2025/f.jpg",
    ]
    assert names(tmp_path, include=("2024/",), exclude=("thumbs/",)) == [b"2024/d.jpg"]
    assert names(tmp_path, exclude=("/2024", "*.txt", "*.mp4")) == [b"a.jpg", b"2025/f.jpg"]
    assert names(tmp_path / "2024", tmp_path, exclude=("2024/thumbs",)) == [b"2024/d.jpg"]


def test_selector_says_of_a_path_what_the_walk_does(tmp_path):
    options = ScanOptions(frozenset({Kind.IMAGE}), include=("2024/",), exclude=("thumbs/",))
    selects = selector(options)
    assert selects(b"2024/a.jpg", Kind.IMAGE)
    assert not selects(b"2024/a.txt", Kind.TEXT)
    assert not selects(b"2024/thumbs/a.jpg", Kind.IMAGE)
    assert not selects(b"2025/a.jpg", Kind.IMAGE)


def test_an_unusable_pattern_is_named(tmp_path):
    with pytest.raises(QvsearchError, match=r"--exclude.*'!'"):
        walk(tmp_path, exclude=("!",))


def test_ignore_files_nest_and_the_nearest_pattern_decides(tmp_path):
    put(tmp_path, "a.jpg", "a.png", "deep/b.jpg", "deep/er/c.jpg", "out/d.png", "deep/out/e.png")
    put(tmp_path, ".qvsearchignore", content=b"# camera\r\n*.jpg\r\n/out/\r\n")
    put(tmp_path, "deep/.qvsearchignore", content=b"!c.jpg\n")
    wanted = [b"a.png", b"deep/er/c.jpg", b"deep/out/e.png"]
    assert names(tmp_path) == wanted
    assert names(tmp_path / "deep", tmp_path) == wanted[1:]
    assert names(tmp_path / "deep/er", tmp_path) == wanted[1:2]
    covered = ignored(os.fsencode(tmp_path))
    every = [b"a.jpg", b"a.png", b"deep/b.jpg", b"deep/er/c.jpg", b"out/d.png", b"deep/out/e.png"]
    assert [path for path in every if not covered(path)] == wanted
    assert not covered(b"gone/folder/x.png")
    assert covered(b"gone/folder/x.jpg")


def test_a_named_path_that_is_ignored_says_so(tmp_path):
    put(tmp_path, "out/in/a.jpg", "b.jpg")
    put(tmp_path, ".qvsearchignore", content=b"out/\nb.*\n")
    for path in (tmp_path / "out", tmp_path / "out/in", tmp_path / "b.jpg"):
        assert walk(path, tmp_path) == [Skipped(os.fsencode(path), "ignored by .qvsearchignore")]
    assert names(tmp_path / "out") == [b"in/a.jpg"], "as a root of its own it is wanted"


def test_an_ignore_file_that_cannot_be_used_closes_its_folder(tmp_path):
    put(tmp_path, "a.jpg", "private/b.jpg", "private/sub/c.jpg", "other/d.jpg")
    (tmp_path / "private/.qvsearchignore").mkdir()
    put(tmp_path, "other/.qvsearchignore", content=b"!\n")
    item, *closed = walk(tmp_path)
    assert item.path == b"a.jpg"
    assert [one.path for one in closed] == [
        os.fsencode(tmp_path / "other"),
        os.fsencode(tmp_path / "private"),
    ]
    assert all(".qvsearchignore" in one.reason for one in closed)
    assert not ignored(os.fsencode(tmp_path))(b"private/b.jpg"), "what is unknown is not ignored"


def test_an_ignore_file_with_a_byte_order_mark_holds_from_its_first_line(tmp_path):
    put(tmp_path, "a.jpg", "b.jpg")
    put(tmp_path, ".qvsearchignore", content=codecs.BOM_UTF8 + b"a.*\r\n")
    assert names(tmp_path) == [b"b.jpg"]
    assert ignored(os.fsencode(tmp_path))(b"a.jpg")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_an_ignore_file_that_is_not_utf_8_is_refused_by_name(tmp_path, encoding):
    put(tmp_path, "a.jpg", "b/c.jpg", "d/e.jpg")
    put(tmp_path, "b/.qvsearchignore", content="c.jpg\n".encode(encoding))
    *others, skipped = sorted(walk(tmp_path), key=lambda one: isinstance(one, Skipped))
    assert [one.path for one in others] == [b"a.jpg", b"d/e.jpg"]
    assert skipped.path == os.fsencode(tmp_path / "b")
    assert "its .qvsearchignore cannot be understood: it is no text in UTF-8" in skipped.reason
    assert not ignored(os.fsencode(tmp_path))(b"b/c.jpg"), "its rows stay"


def test_an_ignore_file_that_is_no_file_or_has_no_end_stops_nothing(tmp_path):
    put(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    os.mkfifo(tmp_path / "a/.qvsearchignore")
    with (tmp_path / "b/.qvsearchignore").open("wb") as file:
        file.truncate(1 << 40)
    item, *closed = sorted(walk(tmp_path), key=lambda one: isinstance(one, Skipped))
    assert item.path == b"c/3.jpg"
    reasons = [one.reason for one in closed]
    assert ["not a plain file" in reasons[0], "larger than 262,144" in reasons[1]] == [True] * 2


COMPOSED, DECOMPOSED = "Caf\u00e9", "Cafe\u0301"


@pytest.mark.parametrize("pattern", [COMPOSED, DECOMPOSED])
def test_patterns_match_both_forms_of_a_name(tmp_path, pattern):
    both = [f"{COMPOSED}/1.jpg", f"{DECOMPOSED}/2.jpg"]
    put(tmp_path, *both, "Cafe/3.jpg")
    found = sorted(path.encode() for path in both)
    for patterns in ((f"{pattern}/",), (f"{pattern}*/*.jpg",)):
        assert sorted(names(tmp_path, include=patterns)) == found
        assert names(tmp_path, exclude=patterns) == [b"Cafe/3.jpg"]
    put(tmp_path, ".qvsearchignore", content=f"/{pattern}/\n".encode())
    assert names(tmp_path) == [b"Cafe/3.jpg"]


HOSTILE = [
    b"-rf.jpg",
    b"a\nb.jpg",
    b"\x1b]0;x.jpg",
    b"\xff\xfe.jpg",
    b"[red]x.jpg",
    b"  .jpg",
    "e\u0301.jpg".encode(),
    "\u00e9.jpg".encode(),
    "\u202egpj.jpg".encode(),
    b"x" * 251 + b".jpg",
]


def test_hostile_names_are_found_byte_for_byte_and_patterns_reach_them(tmp_path):
    put(tmp_path, *HOSTILE, b"new\nline/\xfe/deep.jpg")
    everything = sorted(HOSTILE) + [b"new\nline/\xfe/deep.jpg"]
    assert names(tmp_path) == everything
    assert names(tmp_path, include=("*.jpg",)) == everything
    assert names(tmp_path, exclude=("*.jpg",)) == []
    put(tmp_path, ".qvsearchignore", content="é.jpg\n\\[red\\]*\na?b.jpg\n".encode())
    gone = (HOSTILE[1], HOSTILE[4], HOSTILE[6], HOSTILE[7])  # of é both forms
    left = [name for name in everything if name not in gone]
    assert names(tmp_path) == left


def test_special_files_are_skipped_and_never_opened(tmp_path):
    put(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "b.mp4")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "c.txt"))
        found = walk(tmp_path)
    assert [one.path for one in found] == [
        b"a.jpg",
        os.fsencode(tmp_path / "b.mp4"),
        os.fsencode(tmp_path / "c.txt"),
    ]
    assert [one.reason for one in found[1:]] == ["a FIFO, not a file", "a socket, not a file"]
    assert walk(tmp_path / "b.mp4") == found[1:2]
    assert walk(tmp_path, kinds=frozenset({Kind.IMAGE})) == found[:1]
    os.mkfifo(tmp_path / "d.tif")
    assert kind_at(os.fsencode(tmp_path / "d.tif")) is Kind.IMAGE  # and does not wait


def test_an_unreadable_folder_is_reported_and_the_walk_goes_on(tmp_path_factory):
    root = tmp_path_factory.mktemp("walk")
    put(root, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    for folder in (root, *root.parents):
        if os.stat(folder).st_uid == os.geteuid() and os.fsencode(folder) != b"/":
            folder.chmod(folder.stat().st_mode | 0o055)
    (root / "a").chmod(0o000)
    (root / "b").chmod(0o444)
    with unprivileged():
        found = walk(root)
    (root / "a").chmod(0o755)
    (root / "b").chmod(0o755)
    denied = "permission denied"
    assert Skipped(os.fsencode(root / "a"), denied) in found
    assert Skipped(os.fsencode(root / "b/2.jpg"), denied) in found
    assert [one.path for one in found if isinstance(one, Item)] == [b"c/3.jpg"]


def test_a_tree_too_deep_for_the_system_ends_in_a_report(tmp_path):
    put(tmp_path, "z.jpg")
    name = "d" * 100
    home = os.open(tmp_path, os.O_RDONLY)
    folder = os.dup(home)
    for _ in range(60):
        os.mkdir(name, dir_fd=folder)
        deeper = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(folder)
    item, skipped = walk(tmp_path)
    assert (item.path, skipped.reason) == (b"z.jpg", "file name too long")
    _remove_deep(home, name)
    os.close(home)


def _remove_deep(home: int, name: str) -> None:
    """Hang each folder's child beside it, so that no path grows too long."""
    os.rename(name, "top", src_dir_fd=home, dst_dir_fd=home)
    while True:
        top = os.open("top", os.O_RDONLY, dir_fd=home)
        children = os.listdir(top)
        if children:
            os.rename(children[0], "next", src_dir_fd=top, dst_dir_fd=home)
        os.close(top)
        os.rmdir("top", dir_fd=home)
        if not children:
            return
        os.rename("next", "top", src_dir_fd=home, dst_dir_fd=home)


@pytest.fixture
def linked(tmp_path):
    """A root with links to itself, upwards, outside, to files and to nothing."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(root, "a.jpg", "sub/b.jpg")
    put(outside, "c.jpg", "in/d.jpg")
    (root / "1-self").symlink_to(".")
    (root / "2-up").symlink_to(tmp_path)
    (root / "3-out").symlink_to(outside)
    (root / "4-out-again").symlink_to(outside)
    (root / "5-sub").symlink_to("sub")
    (root / "f.jpg").symlink_to("a.jpg")
    (root / "g.jpg").symlink_to(outside / "c.jpg")
    (outside / "in/back").symlink_to(root)
    (outside / "in/loop").symlink_to(outside)
    return root


def test_symlinks_are_passed_over(linked):
    (linked / "dangling.jpg").symlink_to("nothing")
    assert names(linked) == [b"a.jpg", b"sub/b.jpg"]


def test_a_symlink_that_is_named_is_followed(linked):
    assert names(linked / "3-out") == [b"c.jpg", b"in/d.jpg"]
    assert names(linked / "g.jpg", linked) == [b"g.jpg"]


def test_followed_symlinks_meet_each_folder_once_and_end(linked):
    assert names(linked, follow_symlinks=True) == [
        b"a.jpg",
        b"f.jpg",
        b"g.jpg",
        b"3-out/c.jpg",
        b"3-out/in/d.jpg",
        b"sub/b.jpg",
    ]


def test_a_followed_symlink_to_nothing_is_reported(tmp_path):
    (tmp_path / "a.jpg").symlink_to("nothing")
    (tmp_path / "b.jpg").symlink_to("b.jpg")
    found = walk(tmp_path, follow_symlinks=True)
    assert [one.path for one in found] == [
        os.fsencode(tmp_path / "a.jpg"),
        os.fsencode(tmp_path / "b.jpg"),
    ]
    assert "no such file" in found[0].reason
    assert "symbolic links" in found[1].reason


def test_what_vanishes_during_the_walk_is_reported(tmp_path):
    put(tmp_path, "a.jpg", "b.jpg", "c/d.jpg", "e/f.jpg")
    running = scan(os.fsencode(tmp_path), os.fsencode(tmp_path), ScanOptions())
    first = next(running)
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c/d.jpg").unlink()
    (tmp_path / "c").rmdir()
    found = [first, *running]
    gone = [one.path for one in found if isinstance(one, Skipped)]
    assert gone == [os.fsencode(tmp_path / "b.jpg"), os.fsencode(tmp_path / "c")]
    assert [one.path for one in found if isinstance(one, Item)] == [b"a.jpg", b"e/f.jpg"]


def test_the_walk_is_lazy(tmp_path):
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    running = scan(os.fsencode(tmp_path), os.fsencode(tmp_path), ScanOptions())
    assert next(running).path == b"a/1.jpg"
    put(tmp_path, "b/3.jpg")
    assert [one.path for one in running] == [b"b/2.jpg", b"b/3.jpg"]
