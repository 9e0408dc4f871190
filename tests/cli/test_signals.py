"""Ctrl-C, and a request to end, while a run is indexing.

Proves that the first Ctrl-C keeps what is finished and ends with 130 whatever a decoder does, that
the second ends at once, that no process outlives the run, and that nothing shared is left behind.
"""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.acting import hanging
from support.indexer import FINGERPRINT, Bench, notes
from support.processes import children, linux

from qvsearch.cli.app import main
from qvsearch.indexing import pipeline as ingest
from qvsearch.library.library import Library
from qvsearch.media.workers import Decoders

pytestmark = pytest.mark.faults


@pytest.fixture
def bench(tmp_path):
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    return Bench(tmp_path / "library", tmp_path / "media")


def test_a_decoder_that_hangs_does_not_keep_a_stopped_run(bench, monkeypatch):
    paths = notes(bench.root, 3)
    mark = paths[0].with_suffix(".started")
    patient = lambda _: 30.0  # noqa: E731
    monkeypatch.setattr(ingest, "Decoders", lambda: Decoders(1, hanging, patient))
    summary = bench.index(stop=mark.exists)
    assert summary.interrupted
    assert (summary.failures, summary.left) == ((), 3), "not one that took too long"


class Watched:
    """Processes that are not our children, but whose end can be waited for."""

    def __init__(self, pids):
        self.descriptors = [os.pidfd_open(pid) for pid in pids]

    def end(self):
        for descriptor in self.descriptors:
            ended, _, _ = select.select([descriptor], [], [], 60)
            os.close(descriptor)
            if not ended:
                return False
        return True


def shared_memory(pid):
    """What a process has mapped that outlives it: segments of System V, and files of /dev/shm."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if "/dev/shm/" in line or "/SYSV" in line]


@pytest.fixture
def many(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100):
        Image.new("RGB", (192, 192), (2 * number, 0, 0)).save(folder / f"{number:03}.png")
    return folder


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_keeps_what_is_finished_and_the_next_run_goes_on(
    many, tmp_path, tiny, number, capfd
):
    library = tmp_path / "library"
    arguments = ["index", str(many), "--model", str(tiny), "-l", str(library), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "qvsearch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while json.loads(process.stdout.readline())["state"] != "indexed":
        pass
    ours = children(process.pid)
    watched = Watched(ours)
    shared = [line for pid in [process.pid, *ours] for line in shared_memory(pid)]
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)  # as a service manager does
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, b"")
    summary = json.loads(output.splitlines()[-1])
    assert summary["interrupted"]
    assert summary["indexed"] + summary["left"] == 100
    assert len(Library.open(library)) == summary["indexed"] > 0
    assert ours
    assert watched.end()
    assert shared == []
    assert main(arguments) == 0
    after = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (after["unchanged"], after["indexed"]) == (summary["indexed"], summary["left"])


STUBBORN = """
import os, sys, threading
sys.path.insert(0, os.path.dirname({here!r}))
from support.indexer import Counting
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.cli.interrupt import interrupts
from qvsearch.library.library import Library

class Endless(Counting):
    def embed(self, inputs):
        if any(source.text == "note 5" for source in inputs):
            print("embedding", flush=True)
            while not stop():
                threading.Event().wait(0.01)
            print("asked", flush=True)
            threading.Event().wait()
        return super().embed(inputs)

if __name__ == "__main__":
    options = IngestOptions(commit_seconds=0.0)
    with interrupts() as stop:
        library = Library.open({library!r})
        index(library, [{root!r}.encode()], Endless().load, options, lambda _: None, stop)
"""


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_at_once_whatever_is_in_flight(bench, tmp_path, number):
    notes(bench.root, 6)
    script = tmp_path / "script.py"
    words = {"library": str(bench.library_folder), "root": str(bench.root)}
    script.write_text(STUBBORN.format(here=__file__, **words))
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"embedding\n"
    watched = Watched(children(process.pid))
    process.send_signal(number)
    assert process.stdout.readline() == b"asked\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == -signal.SIGINT
    assert watched.end()
    kept = bench.names()
    assert kept < {f"{number:03}.txt" for number in range(5)} | {"005.txt"}
    summary = bench.index()
    assert (summary.unchanged, summary.embedded) == (len(kept), 6 - len(kept))


SEARCHING = """
import os, sys
sys.path.insert(0, os.path.dirname({here!r}))
from support.acting import hanging
from qvsearch.cli.app import main
from qvsearch.media import spread

if __name__ == "__main__":
    spread.decode = hanging
    sys.argv[1:] = ["search", "--image", {picture!r}, "-l", {library!r}]
    sys.exit(main())
"""


@linux
def test_ctrl_c_ends_a_search_quietly_and_its_processes_with_it(bench, tmp_path):
    notes(bench.root, 1)
    bench.index()
    picture = tmp_path / "query.png"
    Image.new("RGB", (64, 64)).save(picture)
    mark = picture.with_suffix(".started")
    os.mkfifo(mark)
    waiting = os.open(mark, os.O_RDONLY | os.O_NONBLOCK)
    script = tmp_path / "script.py"
    words = {"library": str(bench.library_folder), "picture": str(picture)}
    script.write_text(SEARCHING.format(here=__file__, **words))
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    ready, _, _ = select.select([waiting], [], [], 60)
    os.close(waiting)
    assert ready, "the decoder has opened and closed it, and hangs"
    watched = Watched(children(process.pid))
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 130
    assert watched.end()


@pytest.mark.parametrize("program", [["-m", "qvsearch"], ["-c", "{main}; main()"]])
def test_ctrl_c_while_the_command_line_is_loaded_ends_it_without_a_word(tmp_path, program):
    (tmp_path / "typer.py").write_text("print('loading', flush=True); input()")
    main = "from qvsearch.__main__ import main"  # as pip's script does
    ignored_by_no_shell = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    (tmp_path / "sitecustomize.py").write_text(ignored_by_no_shell)
    with subprocess.Popen(
        [sys.executable, *(each.format(main=main) for each in program)],
        env=os.environ
        | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGINT
