"""Hits with pictures in a terminal, opened in their programs, and written as a gallery."""

import os
import re
import shutil

import numpy as np
import pytest
from support import gallery_reader
from support.commands import files, home, indexed, records, run, write_files  # noqa: F401 - fixtures
from support.scripted_terminal import (
    FOOT,
    ITERM2,
    KITTY,
    XTERM,
    block_picture,
    iterm2_pictures,
    kitty_pictures,
    sixel_pictures,
)
from support.scripted_terminal import run as run_in_terminal
from support.terminal import is_harmless, without_escapes
from support.viewers import desktop  # noqa: F401 - a fixture

from qvsearch.cli.app import main
from qvsearch.display import safe_text

LISTED = ("search", "--kind", "image", "--sort", "path")  # without a query: no model
RGB = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


def shown(answers, *arguments, **terminal):
    """Run a command line in a terminal."""
    code = f"import sys\nfrom qvsearch.cli.app import main\nsys.exit(main({list(arguments)!r}))"
    cache = os.environ["HOME"] + "/cache"
    return run_in_terminal(code, answers, XDG_CACHE_HOME=cache, OMP_NUM_THREADS="1", **terminal)


def colours(pictures):
    """The colour in the middle of each picture, by name."""
    names = []
    for picture in pictures:
        pixels = np.asarray(picture)[..., :3].astype(int)
        middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
        [name] = [name for name, colour in RGB.items() if np.abs(middle - colour).max() < 30]
        names.append(name)
    return names


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny):
    """Files in a library that no test changes."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "files").mkdir()
    write_files(folder / "files")
    arguments = ["index", folder / "files", "-l", folder / "library", "--model", tiny, "--quiet"]
    assert main(list(map(str, arguments))) == 0
    return folder


@pytest.fixture
def shared(whole, home, monkeypatch):
    monkeypatch.setenv("QVSEARCH_LIBRARY", str(whole / "library"))
    return whole / "files"


IN_ORDER = ["blue", "green", "red", "yellow"]


def test_pictures_stand_beside_hits_in_each_terminal(shared):
    kitty = shown(KITTY, *LISTED, "--show")
    iterm2 = shown(ITERM2, *LISTED, "--show")
    sixel = shown(FOOT, *LISTED, "--show")
    assert colours([picture for picture, _ in kitty_pictures(kitty.output)]) == IN_ORDER
    assert colours([picture for picture, _ in iterm2_pictures(iterm2.output)]) == IN_ORDER
    assert colours(sixel_pictures(sixel.output)) == IN_ORDER
    blocks = shown(XTERM, *LISTED, "--show")
    groups = re.findall(rb"(?:^.*\xe2\x96\x80.*\n)+", blocks.output, re.M)
    assert colours(block_picture(each.split(b"\n")[:-1]) for each in groups) == IN_ORDER
    for ran in (kitty, iterm2, sixel, blocks):
        assert (ran.code, ran.is_restored, ran.unread) == (0, True, b"")
        for rank, name in enumerate(IN_ORDER, start=1):
            assert re.search(rb"\r\x1b\[\d+C%d  .*image" % rank, ran.output)
            assert f"{name}.png".encode() in ran.output


def test_texts_beside_half_blocks_fit_80_columns(indexed):
    long = indexed / ("long name " * 8 + "\x1b[31m\n.png")
    shutil.copy(indexed / "red.png", long)
    assert shown(b"", "index", str(indexed), "--quiet").code == 0
    ran = shown(XTERM, "search", "--sort", "path", "--show")
    assert ran.code == 0
    start = ran.output.index(b"\r\x1b[K") + 4  # after the questions
    moves = re.sub(rb"\r\x1b\[(\d+)C", b"", ran.output[start:]).decode()
    lines = without_escapes(moves).splitlines()
    paths = {line for line in lines if line.startswith("/")}  # whole, on lines of their own
    names = [each.name for each in indexed.iterdir()]
    assert paths == {safe_text(os.fsencode(indexed / name)) for name in names}
    assert all(is_harmless(line) for line in lines)
    others = [line.replace("▀", "") for line in lines if line not in paths]
    assert max(map(len, others)) <= 80 - 26
    assert "A note about the sea. It has two lines." in " ".join(" ".join(others).split())


def test_each_kind_has_its_pictures_below_a_heading(shared):
    ran = shown(XTERM, "search", "--sort", "path", "--by-kind", "-k", "1", "--show")
    plain = without_escapes(ran.output.decode())
    places = [plain.index(each) for each in ("Images\n", "blue.png", "Texts\n", "note.txt")]
    assert places == sorted(places)


def test_the_nearest_hits_are_dim_below_a_heading():
    code = """
from qvsearch.choices import Pictures
from qvsearch.cli.hit_tables import print_nearest
from qvsearch.cli.terminal import Screen
from support.hits import hit
missing = hit(b"/photos/missing.jpg", width=40, height=30)
print_nearest([missing], screen=Screen(Pictures.KITTY, (9, 19), 256))
"""
    ran = run_in_terminal(code)
    lines = without_escapes(ran.output.decode()).splitlines()
    assert lines == [
        "nothing is clearly relevant; nearest:",
        "1  relevance 0.50  image  40x30",
        "/photos/missing.jpg",
        "no picture: no longer there",
    ]
    assert ran.output.count(b"\x1b[2m") >= 3


@pytest.mark.parametrize("size", [(20, 30), (80, 4), (31, 5), (300, 100)])
def test_any_size_of_a_terminal_shows_all_hits(shared, size):
    ran = shown(KITTY, *LISTED, "--show", size=size)
    assert ran.code == 0
    assert all(f"{name}.png".encode() in ran.output for name in IN_ORDER)
    boxes = [values for _, values in kitty_pictures(ran.output)]
    assert all(int(each[b"c"]) < size[0] and int(each[b"r"]) < size[1] for each in boxes)
    assert bool(boxes) == (size not in [(20, 30), (80, 4), (31, 5)])


def test_a_picture_that_cannot_be_read_says_why(indexed):
    (indexed / "red.png").write_bytes(b"no picture")
    ran = shown(XTERM, *LISTED, "--show")
    assert ran.code == 0
    assert b"no picture: changed" in ran.output
    assert len(re.findall(rb"(?:^.*\xe2\x96\x80.*\n)+", ran.output, re.M)) == 3


def test_ctrl_c_between_pictures_leaves_the_terminal_as_usual(shared):
    # the first picture arrives, then Ctrl-C is typed while the program waits for the second
    code = f"""
import os, signal, sys
from qvsearch.cli import picture_list
from qvsearch.cli.app import main
from qvsearch.display import safe_text
draw, drawn = picture_list.draw, []
def interrupted(*arguments):
    drawn.append(1)
    if len(drawn) == 2:
        signal.raise_signal(signal.SIGINT)
    return draw(*arguments)
picture_list.draw = interrupted
sys.exit(main({[*LISTED, "--show"]!r}))
"""
    cache = os.environ["HOME"] + "/cache"
    ran = run_in_terminal(code, KITTY, XDG_CACHE_HOME=cache)
    assert ran.code == 130
    assert ran.is_restored
    assert len(kitty_pictures(ran.output)) == 1
    assert ran.output.endswith(b"\x1b\\\x1b[0m")


def test_a_pipe_gets_no_picture(run, shared):
    plain = run(*LISTED)
    assert run(*LISTED, "--show") == plain
    assert run(*LISTED, "--show", "kitty") == plain
    for option in ("--csv", "--json", "--paths", "-0"):
        code, out, error = run(*LISTED, "--show", option)
        assert (code, out) == (2, b"")
        assert error.startswith(
            "qvsearch: --show draws pictures for a person; leave out --csv, --json,"
        )
    code, out, error = run(*LISTED, "--show=ascii")
    assert "'ascii' is unknown; give auto, kitty, iterm2, sixel or blocks" in error


def test_a_terminal_without_colours_gets_the_table(shared):
    ran = shown(XTERM, *LISTED, "--show", NO_COLOR="1")
    assert ran.code == 0
    assert b"\xe2\x96\x80" not in ran.output
    assert b"no pictures: --show needs a terminal with UTF-8 and colours" in ran.output
    assert b"red.png" in ran.output


def test_the_first_hits_are_opened(run, shared, desktop):
    desktop.install("xdg-open")
    for arguments, names in [
        (["--open"], IN_ORDER[:1]),
        (["--open", "2"], IN_ORDER[:2]),
        (["--open=3", "--json"], IN_ORDER[:3]),
        (["--open", "9", "-k", "1"], IN_ORDER[:1]),
    ]:
        assert run(*LISTED, *arguments)[0] == 0
        opened = [os.path.basename(url.decode()) for _, url in desktop.started()]
        assert opened == [f"{name}.png" for name in names]
        desktop.log.unlink()


def test_a_file_that_is_gone_costs_no_other(run, indexed, desktop):
    desktop.install("xdg-open")
    os.unlink(indexed / "blue.png")
    code, _, error = run(*LISTED, "--open", "2")
    assert code == 3
    assert error == f"qvsearch: cannot open {indexed}/blue.png: it is no longer there\n"
    assert len(desktop.started()) == 1


def test_what_cannot_be_opened_or_written_is_an_error_before_any_work(run, shared, desktop):
    def error_of(*arguments):
        code, out, error = run(*arguments)
        assert (code, out) == (2, b"")
        assert len(error.splitlines()) == 1
        return error.removeprefix("qvsearch: ").strip()

    nowhere = ("search", "-l", shared / "no library")
    os.environ.pop("DISPLAY")
    assert error_of(*nowhere, "--open").startswith("cannot open files: this machine has no display")
    assert error_of(*nowhere, "--open", "0") == "--open must be from 1 to 50, not 0"
    photo = shared / "red.png"
    before = photo.read_bytes()
    assert "is another file, not a gallery" in error_of(*nowhere, "--html", photo)
    assert error_of("similar", photo, "--html", photo).endswith("name a new one for --html")
    assert error_of("dupes", "--html", photo).endswith("name a new one for --html")
    assert error_of("cluster", "--html", photo).endswith("name a new one for --html")
    assert photo.read_bytes() == before
    many = ("search", "--queries", shared / "note.txt", "--html", "g.html")
    assert error_of(*many) == "--open and --html are for one query; leave out --queries"


def test_a_search_becomes_a_gallery(run, shared, home):
    place = home / "g.html"
    code, out, error = run(*LISTED, "-k", "3", "--html", place)
    assert (code, error) == (0, "")
    size = place.stat().st_size
    assert out.decode().splitlines()[-1] == f"gallery: {place} (3 files, {size / 1e3:.1f} kB)"
    page = gallery_reader.read(place)
    assert colours(picture for picture, _ in page.images) == IN_ORDER[:3]
    foot = page.texts[page.texts.index("kind") :]
    assert foot[:6] == ["kind", "image", "top", "3", "sort", "path"]
    assert foot[6:9] == ["library", str(shared.parent / "library"), "model"]
    assert foot[10] == "date"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", foot[11])


def test_the_gallery_of_a_query_has_its_title_and_relevance(run, shared, home):
    place = home / "g.html"
    code, out, _ = run("search", "the <sea>", "--all", "--json", "--html", place)
    page = gallery_reader.read(place)
    hits = records(out)
    assert (code, len(hits)) == (0, 5)
    assert page.texts[:2] == ["the <sea>"] * 2  # the title and the heading
    assert page.tags.count("meter") == 5
    assert f"{hits[0]['relevance']:.2f}" in page.texts
    assert b"gallery:" not in out


def test_no_hit_writes_no_gallery(run, shared, home):
    place = home / "g.html"
    assert run("search", "the sea", "--min-relevance", "1", "--html", place)[0] == 1
    assert not place.exists()


def test_a_picture_that_cannot_be_read_is_named(run, indexed, home):
    (indexed / "red.png").write_bytes(b"no picture")
    os.unlink(indexed / "blue.png")
    code, out, error = run(*LISTED, "--html", home / "g.html")
    assert code == 3
    assert re.fullmatch(rf"qvsearch: no picture of {indexed}/red.png: changed.*\n", error)
    page = gallery_reader.read(home / "g.html")
    assert colours(picture for picture, _ in page.images) == ["green", "yellow"]
    assert "no longer there" in page.texts


def test_similar_files_and_groups_become_galleries(run, indexed, home):
    shutil.copy(indexed / "red.png", indexed / "red again.png")
    assert run("index", indexed, "--quiet")[0] == 0
    place = home / "g.html"
    code, out, _ = run("similar", indexed / "blue.png", "--kind", "image", "--html", place)
    assert (code, out.decode().splitlines()[-1][:8]) == (0, "gallery:")
    page = gallery_reader.read(place)
    assert page.texts[0] == "Like blue.png"
    assert len(page.images) == 4
    assert run("dupes", "--html", place)[0] == 0
    page = gallery_reader.read(place)
    assert colours(picture for picture, _ in page.images) == ["red", "red"]
    assert {"Near-duplicates", "Group 1", "best", "exact"} <= set(page.texts)
    assert run("cluster", "--groups", "2", "--html", place)[0] == 0
    page = gallery_reader.read(place)
    assert page.tags.count("section") == 2
    assert len(page.images) == 4  # near-duplicates count once
    assert "1 more like it" in page.texts
    code, out, _ = run("cluster", "--outliers", "--json", "--html", place)
    assert code in (0, 1)
    if code == 0:
        assert gallery_reader.read(place).texts[0] == "Outliers"


def test_a_library_without_repeats_writes_no_gallery(run, shared, home):
    assert run("dupes", "--html", home / "g.html")[0] == 0
    assert not (home / "g.html").exists()
