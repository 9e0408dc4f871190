"""Programs of the desktop get exactly one file each, by no shell, and videos their moment."""

import os
from urllib.parse import unquote_to_bytes

import pytest
from support.viewers import desktop  # noqa: F401 - a fixture

from qvsearch.errors import QvsearchError
from qvsearch.opening import open_file, reveal

HOSTILE = b"-x $(touch pwned) `id`; 'a' \"b\" %41 #?&,\nhttp:\xff.mp4"


@pytest.fixture
def film(tmp_path):
    path = os.fsencode(tmp_path) + b"/" + HOSTILE
    with open(path, "wb"):
        pass
    return path


def path_of(url):
    assert url.startswith(b"file:///")
    assert url.isascii()
    return unquote_to_bytes(url.removeprefix(b"file://"))


def test_a_file_is_opened_by_the_desktop(desktop, film):
    desktop.install("xdg-open", "mpv")
    assert open_file(film) is False
    [(program, url)] = desktop.started()
    assert program == "xdg-open"
    assert path_of(url) == film
    assert b"," not in url


@pytest.mark.parametrize(
    ("player", "arguments"),
    [
        ("mpv", ["--start=83.500", "--", None]),
        ("iina", ["--no-stdin", "--mpv-start=83.500", None]),
        ("vlc", [None, ":start-time=83.500"]),
    ],
)
def test_a_video_starts_at_its_moment(desktop, film, player, arguments):
    desktop.install("xdg-open", player)
    assert open_file(film, 83.5) is True
    expected = [film if each is None else each.encode() for each in arguments]
    assert desktop.started() == [(player, *expected)]


def test_a_photo_is_opened_as_one_though_a_moment_of_its_film_is_the_hit(desktop, tmp_path):
    (tmp_path / "motion.jpg").touch()
    desktop.install("xdg-open", "mpv")
    assert open_file(os.fsencode(tmp_path / "motion.jpg"), 1.5) is False
    assert [program for program, _ in desktop.started()] == ["xdg-open"]


def test_a_video_starts_at_its_beginning_without_such_a_player(desktop, film):
    desktop.install("xdg-open")
    assert open_file(film, 83.5) is False
    desktop.log.unlink()
    desktop.install("mpv")
    assert open_file(film, 0.0) is False
    assert [program for program, _ in desktop.started()] == ["xdg-open"]


def test_a_file_is_selected_in_its_folder(desktop, film):
    desktop.install("xdg-open", "dbus-send")
    reveal(film)
    [(program, *_, call, files, _start)] = desktop.started()
    assert (program, call) == ("dbus-send", b"org.freedesktop.FileManager1.ShowItems")
    assert path_of(files.removeprefix(b"array:string:")) == film
    assert b"," not in files  # where dbus-send would begin another file


def test_its_folder_is_opened_if_no_file_manager_can_select_it(desktop, film):
    desktop.install("xdg-open")
    desktop.install("dbus-send", code=1)
    reveal(film)
    program, url = desktop.started()[-1]
    assert program == "xdg-open"
    assert path_of(url) == os.path.dirname(film)


@pytest.mark.parametrize("do", [open_file, reveal])
def test_what_cannot_be_opened_is_an_error(desktop, film, monkeypatch, do):
    with pytest.raises(QvsearchError, match=r"xdg-open is missing; install xdg-utils"):
        do(film)
    desktop.install("xdg-open", code=4)
    with pytest.raises(QvsearchError, match=r"xdg-open could not open .*exit code 4"):
        do(film)
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(QvsearchError, match="this machine has no display"):
        do(film)
    with pytest.raises(QvsearchError, match="no longer there"):
        do(film + b"x")


def test_a_program_that_cannot_start_is_named(desktop, film):
    desktop.install("mpv")
    (desktop.folder / "mpv").write_bytes(b"#!/nowhere/at-all\n")
    with pytest.raises(QvsearchError, match="cannot start .*mpv: No such file"):
        open_file(film, 1.0)


def test_on_a_mac_open_does_both(desktop, film, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.delenv("DISPLAY")
    desktop.install("open")
    open_file(film)
    reveal(film)
    assert desktop.started() == [("open", film), ("open", b"-R", film)]


@pytest.fixture
def report(tmp_path):
    path = os.fsencode(tmp_path) + b"/-i 'a' #1 %41.pdf"
    with open(path, "wb"):
        pass
    return path


@pytest.mark.parametrize(
    ("viewer", "arguments"),
    [
        ("evince", ["--page-index=12", None]),
        ("atril", ["--page-index=12", None]),
        ("okular", ["--page=12", None]),
        ("zathura", ["--page=12", None]),
        ("mupdf", [None, "12"]),
    ],
)
def test_a_document_opens_at_its_page(desktop, report, viewer, arguments):
    desktop.install("xdg-open", viewer)
    assert open_file(report, page=12) is True
    expected = [report if each is None else each.encode() for each in arguments]
    assert desktop.started() == [(viewer, *expected)]


def test_a_browser_opens_a_document_at_its_page(desktop, report):
    desktop.install("xdg-open", "firefox")
    assert open_file(report, page=12) is True
    [(program, url)] = desktop.started()
    assert (program, url.rpartition(b"#")[2]) == ("firefox", b"page=12")
    assert path_of(url.rpartition(b"#")[0]) == report


@pytest.mark.parametrize("page", [None, 1])
def test_the_first_page_is_opened_by_the_desktop(desktop, report, page):
    desktop.install("xdg-open", "evince")
    assert open_file(report, page=page) is False
    assert [program for program, _ in desktop.started()] == ["xdg-open"]


def test_a_document_opens_at_its_beginning_without_such_a_viewer(desktop, report):
    desktop.install("xdg-open")
    assert open_file(report, page=12) is False
    assert [program for program, _ in desktop.started()] == ["xdg-open"]
