"""The parts of `watch`: growing files, polling, limits of the system, rules, and service files."""

import json
import os
import plistlib
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.cheap_model import FINGERPRINT, instead, write_notes
from support.commands import home, run  # noqa: F401 - fixtures
from support.processes import children, linux

from qvsearch.cli.app import main
from qvsearch.demo.world import caption, draw, scenes
from qvsearch.freshness.polling import polled
from qvsearch.freshness.relevance import MOST_PATHS, Wanted, concerns, wanted
from qvsearch.freshness.settling import MOST_SECONDS, STILL_SECONDS, Settling
from qvsearch.freshness.units import systemd_unit
from qvsearch.freshness.update import bring_up_to_date
from qvsearch.library.library import Library
from qvsearch.library.rules import Rules
from qvsearch.runtime.loading import Choice
from qvsearch.types import Kind


def test_a_file_settles_when_it_has_stopped_growing(tmp_path):
    path = tmp_path / "film.mp4"
    place, settling = os.fsencode(path), Settling()
    path.write_bytes(b"a")
    settling.add({place: True}, 0.0)
    for second in range(1, 20):
        with path.open("ab") as film:
            film.write(b"more")
        settling.look(float(second))
        assert settling.settled(float(second)) == {}
        assert settling.growing(float(second)) == [place]
    settling.look(19 + STILL_SECONDS)
    assert settling.settled(19 + STILL_SECONDS) == {place: True}
    assert settling.growing(19 + STILL_SECONDS) == []
    settling.remove([place])
    assert not settling


def test_an_endless_log_is_read_from_time_to_time(tmp_path):
    path = tmp_path / "a.log"
    settling = Settling()
    settling.add({os.fsencode(path): False}, 0.0)
    for second in range(int(MOST_SECONDS)):
        path.write_text("x" * second)
        settling.look(float(second))
    assert settling.settled(MOST_SECONDS) == {os.fsencode(path): True}


def test_what_comes_and_goes_in_between_is_dropped_and_what_was_there_before_is_not(tmp_path):
    settling = Settling()
    known, new = (os.fsencode(tmp_path / name) for name in ("known.txt", "4913"))
    settling.add({known: False, new: True}, 0.0)
    settling.look(1.0)
    assert settling.settled(STILL_SECONDS) == {known: False}


def test_files_for_later_are_left_alone_and_not_removed(home):  # noqa: F811
    library = Library.create(home / "library", FINGERPRINT)
    write_notes(home / "notes", 2)
    with instead():
        assert main(["index", str(home / "notes"), "-q"]) == 0
        (home / "notes" / "0001.txt").write_text("it grows")
        write_notes(home / "notes", 2, first=5)
        later = {os.fsencode(home / "notes" / name) for name in ("0001.txt", "0006.txt")}
        arguments = (library.folder, Choice(), lambda _: None, lambda: False)
        summary = bring_up_to_date(*arguments, later=later)
        assert (summary.found, summary.embedded, summary.removed) == (2, 1, 0)
        summary = bring_up_to_date(*arguments)
    assert (summary.found, summary.embedded) == (4, 2)


def test_polling_finds_what_was_added_changed_and_removed(tmp_path):
    root, end = os.fsencode(tmp_path / "root"), threading.Event()
    (tmp_path / "root" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "a.txt").write_text("a")
    changes = polled(root, end, seconds=0.0)
    assert next(changes) == {}
    (tmp_path / "root" / "a.txt").write_text("longer")
    (tmp_path / "root" / "inner" / "b.txt").write_text("b")
    odd = root + b"/\xff.txt"
    Path(os.fsdecode(odd)).write_text("odd")
    assert next(changes) == {root + b"/a.txt": False, root + b"/inner/b.txt": True, odd: True}
    shutil.rmtree(tmp_path / "root" / "inner")
    assert next(changes) == {root + b"/inner/b.txt": False}
    (tmp_path / "root").rename(tmp_path / "away")
    assert next(changes) == {}, "an unplugged drive removes nothing"
    (tmp_path / "away").rename(tmp_path / "root")
    assert next(changes) == {}
    end.set()
    assert list(changes) == []


ROOT, LIBRARY = b"/r", b"/r/library"


@pytest.mark.parametrize(
    ("rules", "yes", "no"),
    [
        (
            Rules(),
            ["a.jpg", "b/c.TXT", "gone-folder", ".qvsearchignore", "b/.qvsearchignore", ""],
            [".a.jpg", ".b/c.txt", "@eaDir/a.jpg", "library/x.txt", ".git/.qvsearchignore"],
        ),
        (Rules(("*.jpg",), ("drafts/",)), ["a.jpg", "trip"], ["a.txt", "drafts/a.jpg"]),
        (Rules(kinds=(Kind.TEXT,)), ["a.txt"], ["a.jpg"]),
        (Rules(hidden=True), [".a.jpg", ".b/c.txt"], []),
    ],
)
def test_the_rules_of_a_root_decide_what_concerns_the_library(rules, yes, no):
    test = concerns(ROOT, rules, LIBRARY)
    assert [
        name for name in yes if not test(os.path.join(ROOT, os.fsencode(name)).rstrip(b"/"))
    ] == []
    assert [name for name in no if test(os.path.join(ROOT, os.fsencode(name)))] == []


def test_what_to_index_for_changed_paths(tmp_path):
    root = os.fsencode(tmp_path)
    for name in ("a.txt", "skipped.txt"):
        (tmp_path / name).write_text("const a = 1")
    (tmp_path / ".qvsearchignore").write_text("skip*")
    a, gone = root + b"/a.txt", root + b"/gone.txt"
    paths = {a: True, root + b"/skipped.txt": True, gone: False}
    assert wanted(root, paths) == Wanted((a,), (), (gone,))
    assert wanted(root, paths | {root + b"/.qvsearchignore": False}).roots == (root,)
    many = {root + b"/%d.txt" % number: True for number in range(MOST_PATHS + 1)}
    assert wanted(root, many) == Wanted(roots=(root,))


LIMITED = """
import os, sys
from queue import SimpleQueue
from qvsearch.freshness.followed import Followed
from qvsearch.freshness.messages import Ready
from pathlib import Path
inbox, told = SimpleQueue(), []
followed = Followed(Path(sys.argv[1]), inbox, told.append)
followed.look()
followed.lost(inbox.get(timeout=60))
followed.look()
assert isinstance(inbox.get(timeout=60), Ready)
print(told[-1].state, told[-1].reason)
followed.end()
"""


@linux
@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_without_inotify_watches_it_polls_and_names_the_setting(home, limit):  # noqa: F811
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Ur", "true"], capture_output=True).returncode:
        pytest.skip("no namespace can be made here")
    Library.create(home / "library", FINGERPRINT)
    for name in "abc":
        (home / "notes" / name).mkdir(parents=True)
    write_notes(home / "notes", 1)
    with instead():
        assert main(["index", str(home / "notes"), "-q"]) == 0
    script = f'echo {int("watches" in limit)} > /proc/sys/user/{limit} && exec "$@"'
    command = [sys.executable, "-c", LIMITED, str(home / "library")]
    done = subprocess.run(
        [unshare, "-Ur", "sh", "-c", script, "sh", *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("polling every 60 s: ")
    assert "sudo sysctl fs.inotify.max_user_watches=" in done.stdout


@contextmanager
def running(command):
    """A process that does not outlive a test that fails."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_watches_until_it_is_told_to_end(home, number):  # noqa: F811
    Library.create(home / "library", FINGERPRINT)
    write_notes(home / "notes", 2)
    with instead():
        assert main(["index", str(home / "notes"), "-q"]) == 0
    command = [sys.executable, "-m", "qvsearch", "watch", "--json"]
    with running(command) as process:
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        assert first == {"state": "watching", "path": str(home / "notes")}
        assert second["state"] == "planned"
        while (last := json.loads(process.stdout.readline()))["state"] != "summary":
            pass
        assert last["unchanged"] == 2
        (worker,) = children(process.pid)
        assert b"torch" not in Path(f"/proc/{worker}/maps").read_bytes(), "nothing needs a model"
        process.send_signal(number)
        assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 0
    assert not Path(f"/proc/{worker}").exists()
    assert sorted(each.name for each in (home / "library").glob("watch*")) == ["watch.lock"]


@linux
def test_a_picture_is_found_as_soon_as_it_is_there(run, home):  # noqa: F811
    rng = np.random.default_rng(1)
    known, new = islice(scenes(rng, held_out=True), 2)
    (home / "seen").mkdir()
    Image.fromarray(draw(known, rng)).save(home / "seen" / "known.png")
    Image.fromarray(draw(new, rng)).save(home / "new.png")
    assert run("index", home / "seen", "--model", "demo", "--quiet")[0] == 0
    command = [sys.executable, "-m", "qvsearch", "watch", "--json", "--no-nice"]
    with running(command) as process:
        summaries = (
            each
            for each in map(json.loads, process.stdout)
            if each["state"] == "summary" and each["found"]
        )
        assert next(summaries)["unchanged"] == 1
        (home / "new.png").rename(home / "seen" / "new.png")
        assert next(summaries)["embedded"] == 1
        code, out, _ = run("search", caption(new, rng), "--paths")
        assert (code, out) == (0, os.fsencode(home / "seen" / "new.png\n"))
        process.terminate()
        assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 0


def test_nothing_to_watch_is_an_error_with_the_command(run, home):  # noqa: F811
    assert "make one with" in run("watch")[2]
    Library.create(home / "library", FINGERPRINT)
    code, out, error = run("watch")
    assert (code, out, "qvsearch index FOLDER" in error) == (2, b"", True)


HOSTILE = 'my "odd" $HOME %h \\n \u00e9\n\udcff'


@pytest.fixture
def hostile(run, home, monkeypatch):  # noqa: F811
    """A library with every character that a service file may misread in its path."""
    folder = home / HOSTILE / "library"
    Library.create(folder, FINGERPRINT)
    write_notes(home / "notes", 1)
    with instead():
        assert main(["index", str(home / "notes"), "-q", "-l", str(folder)]) == 0
    monkeypatch.setenv("QVSEARCH_LIBRARY", str(folder))
    monkeypatch.setenv("HF_HOME", "/models %d/$x")
    return folder


def unquoted(line):
    """The words of a line as systemd.service(5) describes its quoting."""
    words = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    for quoted, plain in words:
        word = re.sub(
            r"\\(x..|.)", lambda m: chr(int(m[1][1:], 16)) if m[1][0] == "x" else m[1], quoted
        )
        yield (word.encode("latin-1") if quoted else plain.encode()).replace(b"%%", b"%")


def test_a_unit_of_systemd_has_the_exact_path(run, hostile):  # noqa: F811
    code, out, _ = run("watch", "--print-unit", "systemd", "--on-battery")
    assert code == 0
    assert out.isascii()
    fields = dict(re.findall(r"^(\w+)=(.*)$", out.decode(), re.M))
    words = [word.replace(b"$$", b"$") for word in unquoted(fields["ExecStart"])]
    assert words == [
        *(os.fsencode(each) for each in (sys.executable, "-P", "-m", "qvsearch", "watch")),
        b"--library",
        os.fsencode(hostile),
        b"--on-battery",
    ]
    assert b"HF_HOME=/models %d/$x" in [
        word
        for line in re.findall(r"^Environment=(.*)$", out.decode(), re.M)
        for word in unquoted(line)
    ]
    assert (fields["Nice"], fields["RestrictAddressFamilies"]) == ("10", "AF_UNIX")
    assert "Nice=" not in systemd_unit("a", ["/bin/true"], {}, nice=False)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_accepts_its_unit(run, hostile, tmp_path):  # noqa: F811
    unit = tmp_path / "qvsearch.service"
    unit.write_bytes(run("watch", "--print-unit", "systemd")[1])
    command = ["systemd-analyze", "verify", "--user", str(unit)]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_agent_of_launchd_has_the_exact_arguments(run, home, monkeypatch):  # noqa: F811
    folder = home / 'my "odd" <library> & \u00e9'
    Library.create(folder, FINGERPRINT)
    write_notes(home / "notes", 1)
    with instead():
        assert main(["index", str(home / "notes"), "-q", "-l", str(folder)]) == 0
    code, out, _ = run("watch", "--print-unit", "launchd", "-l", folder, "--no-nice")
    plist = plistlib.loads(out)
    assert code == 0
    assert plist["ProgramArguments"][4:] == ["watch", "--library", str(folder), "--no-nice"]
    assert "Nice" not in plist
    assert plist["KeepAlive"] == {"SuccessfulExit": False}
    assert re.fullmatch(r"qvsearch\.watch\.[\w.-]+", plist["Label"], re.A)


@pytest.mark.parametrize("name", ["a\x01b", "a\udcffb"])
def test_a_folder_that_no_agent_of_launchd_can_name_is_one_sentence(run, home, name):  # noqa: F811
    folder = home / name
    Library.create(folder, FINGERPRINT)
    write_notes(home / "notes", 1)
    with instead():
        assert main(["index", str(home / "notes"), "-q", "-l", str(folder)]) == 0
    code, out, error = run("watch", "--print-unit", "launchd", "-l", folder)
    assert (code, out) == (2, b"")
    assert "an agent of launchd cannot have" in error
