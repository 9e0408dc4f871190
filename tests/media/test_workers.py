"""The worker processes: order, look-ahead, and what a hanging or crashing decoder costs."""

import os
import select
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.acting import OPTIONS, acting, connect, counting_threads, half_sent, named, taken_over
from support.watching import running

from qvsearch import media
from qvsearch.errors import QvsearchError
from qvsearch.files import content_hash
from qvsearch.indexing import counts
from qvsearch.media import sandbox, workers
from qvsearch.media import worker_messages as answers
from qvsearch.media.workers import Decoders, patience
from qvsearch.types import (
    NO_METADATA,
    Decoded,
    DecodeOptions,
    Item,
    Kind,
    Metadata,
    Skipped,
    VideoMode,
)
from qvsearch.wire import BadMessage


def test_results_come_in_the_order_of_the_jobs():
    jobs = [(named(f"picture{n}"), f"hash{n}") for n in range(40)]
    with Decoders(2, decode=acting) as decoders:
        results = list(decoders.decode(iter(jobs), OPTIONS))
    assert [result.item for result in results] == [item for item, _ in jobs]
    assert [result.segments[0][0].content_hash for result in results] == [h for _, h in jobs]
    assert results[3].segments[0][0].snippet.endswith(f" {OPTIONS.max_pixels}")
    assert results[3].segments[0][1].images[0].shape == (64, 64, 3)


def test_a_look_at_real_files(tmp_path):
    exif = Image.Exif()
    exif[0x0132] = "2020:01:02 03:04:05"
    Image.effect_noise((80, 60), 40).save(tmp_path / "0.jpg", exif=exif)
    (tmp_path / "1.txt").write_text("some words")
    (tmp_path / "2.jpg").write_text("no picture")
    items = []
    for path in sorted(tmp_path.iterdir()):
        kind = Kind.TEXT if path.suffix == ".txt" else Kind.IMAGE
        status = path.stat()
        items.append(Item(os.fsencode(path), b"", kind, status.st_size, status.st_mtime_ns))
    items.append(named("gone.png"))
    with Decoders(1) as decoders:
        found = list(decoders.look((item, 1) for item in items))
        assert list(decoders.look([(items[0], 1)], stop=lambda: True)) in ([], found[:1])
    assert [item for item, _ in found] == items
    photo, text, bad, gone = (each for _, each in found)
    assert photo.taken == "2020-01-02T03:04:05"
    assert replace(text, language=None) == NO_METADATA
    assert bad.reason.startswith("not an image")
    assert gone.reason == "no longer there"


@pytest.mark.parametrize(
    "said",
    [
        *({}, {"metadata": {}}, {"metadata": 5}, {"metadata": None, "more": 1}, {"segment": None}),
        {"metadata": asdict(Metadata(camera="a" * 5000))},
    ],
)
def test_what_a_look_never_says_is_refused(said):
    with pytest.raises(BadMessage):
        answers.read_metadata(said, [])


def test_real_files(tmp_path):
    for n in range(3):
        Image.effect_noise((80, 60), 40 + n).save(tmp_path / f"{n}.png")
    (tmp_path / "3.txt").write_text("some words")
    (tmp_path / "4.jpg").write_text("no picture")
    jobs = []
    for path in sorted(tmp_path.iterdir()):
        status = path.stat()
        kind = Kind.TEXT if path.suffix == ".txt" else Kind.IMAGE
        item = Item(
            os.fsencode(tmp_path), path.name.encode(), kind, status.st_size, status.st_mtime_ns
        )
        jobs.append((item, content_hash(item.location, item.size)))
    jobs.append((named("gone.png"), "hash"))
    with Decoders(1) as decoders:
        *good, bad, gone = decoders.decode(jobs, OPTIONS)
    for (item, digest), result in zip(jobs[:4], good, strict=True):
        here = media.decode(item, digest, OPTIONS)
        assert [segment for segment, _ in result.segments] == [s for s, _ in here.segments]
        for (_, theirs), (_, ours) in zip(result.segments, here.segments, strict=True):
            assert theirs.text == ours.text
            np.testing.assert_array_equal(theirs.images, ours.images)
    assert bad.path == os.fsencode(tmp_path / "4.jpg")
    assert bad.reason.startswith("not an image")
    assert gone == Skipped(b"/nowhere/gone.png", "no longer there")


@pytest.mark.faults
@pytest.mark.parametrize("name", ["hang", "spin", "stubborn", "stutter"])
def test_a_decoder_that_hangs_is_killed_at_the_deadline(name):
    jobs = [(named(n), "h") for n in ("before", name, "after", "later")]
    seconds = {name.encode(): 0.3}
    with Decoders(1, acting, lambda item: seconds.get(item.path, 60.0)) as decoders:
        before, hung, after, later = decoders.decode(jobs, OPTIONS)
    assert hung == Skipped(f"/nowhere/{name}".encode(), "took longer than 0.3 s")
    assert [result.item.path for result in (before, after, later)] == [
        b"before",
        b"after",
        b"later",
    ]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("killed", "the decoder crashed (SIGKILL)"),
        ("segfault", "the decoder crashed (SIGSEGV)"),
        ("nameless", "the decoder crashed (signal 40)"),
        ("exit", "the decoder crashed"),
        ("bug", "the decoder crashed"),
        ("bad", "truncated image"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_crash_costs_its_file_only(name, reason, count):
    names = ["a", f"{name}1", "b", f"{name}2", f"{name}3", "c"]
    with Decoders(count, decode=acting) as decoders:
        results = list(decoders.decode([(named(n), "h") for n in names], OPTIONS))
    outcomes = [r.reason if isinstance(r, Skipped) else os.fsdecode(r.item.path) for r in results]
    assert outcomes == ["a", reason, "b", reason, reason, "c"]


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits it")
def test_a_decoder_that_asks_for_too_much_memory_costs_its_file_only():
    with Decoders(1, decode=acting) as decoders:
        before, hoarding, after = decoders.decode(
            [(named(name), "h") for name in ("a", "hoard", "b")], OPTIONS
        )
    assert hoarding == Skipped(b"/nowhere/hoard", "not enough memory to decode it")
    pids = {result.segments[0][0].snippet.split()[0] for result in (before, after)}
    assert len(pids) == 1  # it lives on


# two gigabytes that count for the limit of a process, though nothing is written to them
TWO_GB = "mmap.mmap(-1, 2**31, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)"


@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits it")
@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        # numpy sets 41 MB aside for each thread: on 64 cores nearly all that a worker may have
        ("", "import numpy; print(len(os.listdir('/proc/self/task')))", "1"),
        # and a script that loads it for itself has it before the worker can say anything
        (f"import mmap\nheld = {TWO_GB}", f"print(len({TWO_GB}))", str(2**31)),
    ],
)
def test_what_numpy_sets_aside_leaves_the_memory_to_decode(before, after, found):
    program = f"import os\nfrom qvsearch.media.sandbox import confine\n{before}\nconfine()\n{after}"
    cores = os.environ | {"OPENBLAS_NUM_THREADS": str(os.cpu_count())}
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=cores
    )
    assert output.stdout.strip() == found, output.stderr


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in sandbox.FORBIDDEN,
    reason="only Linux lets a process give these up",
)
def test_a_decoder_reaches_no_network_and_starts_no_program(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        monkeypatch.setenv("PORT", str(listener.getsockname()[1]))
        with Decoders(1, decode=acting) as decoders:
            refused_acts = ("connect", "packet", "program", "memory")
            jobs = [(named(name), "h") for name in (*refused_acts, "a")]
            *refused, after = decoders.decode(jobs, OPTIONS)
        with pytest.raises(BlockingIOError):
            listener.accept()
        connect()  # it does listen, and others may
        listener.accept()[0].close()
    assert [result.reason for result in refused] == ["Operation not permitted"] * 4
    assert isinstance(after, Decoded)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["pickled", "wrong", "half", "vast", "long"])
def test_a_decoder_that_is_taken_over_has_no_say_in_its_parent(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Decoders(1, decode=taken_over) as decoders:
        results = list(decoders.decode([(named(each), "h") for each in ("a", name, "b")], OPTIONS))
    assert not list(tmp_path.iterdir())
    assert results[1] == Skipped(f"/nowhere/{name}".encode(), "the decoder crashed (SIGKILL)")
    assert isinstance(results[0], Decoded)
    assert isinstance(results[2], Decoded)


@pytest.mark.faults
def test_many_crashes_side_by_side_cost_their_own_files_only():
    names = [name for number in range(12) for name in (f"killed{number}", "a")]
    with Decoders(4, decode=acting) as decoders:
        results = list(decoders.decode([(named(n), "h") for n in names], OPTIONS))
    outcomes = [r.reason if isinstance(r, Skipped) else os.fsdecode(r.item.path) for r in results]
    assert outcomes == ["the decoder crashed (SIGKILL)", "a"] * 12


@pytest.mark.faults
def test_a_worker_that_dies_while_it_sends():
    with Decoders(2, decode=half_sent) as decoders:
        results = list(decoders.decode([(named(n), "h") for n in "abc"], OPTIONS))
    assert [result.reason for result in results] == ["the decoder crashed (SIGKILL)"] * 3


@pytest.mark.faults
def test_a_worker_that_a_dead_drive_holds_after_its_kill_costs_its_file_alone(monkeypatch):
    monkeypatch.setattr(sandbox, "END_PATIENCE", 0.01)
    jobs = [(named(name), "h") for name in ("hang", "a")]
    seconds = {b"hang": 0.2}
    with Decoders(1, decode=acting, patience=lambda item: seconds.get(item.path, 60)) as decoders:
        results = decoders.decode(jobs[1:], OPTIONS)
        next(results)
        [held] = running(decoders)
        with monkeypatch.context() as patch:
            patch.setattr(held.process, "kill", lambda: None)
            first, second = decoders.decode(jobs, OPTIONS)
        assert held.process.is_alive()
        held.process.kill()
        held.process.join(20)
    assert first.reason == "took longer than 0.2 s"
    assert isinstance(second, Decoded)


@pytest.mark.faults
def test_a_worker_that_dies_while_idle_costs_no_file():
    with Decoders(1, decode=acting) as decoders:
        [first] = decoders.decode([(named("a"), "h")], OPTIONS)
        pid = int(first.segments[0][0].snippet.split()[0])
        os.kill(pid, signal.SIGKILL)
        [worker] = running(decoders)
        worker.process.join()
        [second] = decoders.decode([(named("b"), "h")], OPTIONS)
    assert isinstance(second, Decoded)


def test_jobs_are_taken_as_there_is_room():
    taken = []

    def jobs(kind, size):
        for n in range(300):
            taken.append(n)
            yield named(f"{n}", kind, size), "h"

    with Decoders(1, decode=acting) as decoders:
        results = decoders.decode(jobs(Kind.TEXT, 1), OPTIONS)
        assert taken == []
        next(results)
        assert len(taken) <= workers.LOOK_AHEAD_FILES + 1
        taken.clear()
        large = DecodeOptions(40_000_000)  # pixels: two pictures may be ahead
        results = decoders.decode(jobs(Kind.IMAGE, 1), large)
        next(results)
        assert len(taken) <= 3
        taken.clear()
        next(decoders.decode(jobs(Kind.VIDEO, 1), large))  # two videos may be ahead
        assert len(taken) <= 3
        taken.clear()
        next(decoders.decode(jobs(Kind.VIDEO, 1), replace(large, video_mode=VideoMode.BOTH)))
        assert len(taken) <= 2


def test_small_results_make_room_for_more():
    jobs = [(named(f"{n}", Kind.VIDEO), "h") for n in range(12)]
    with Decoders(2, decode=acting) as decoders:
        results = list(decoders.decode(jobs, DecodeOptions(1800 * 32 * 32)))
    assert [len(result.segments) for result in results] == [64] * 12


def test_patience_grows_with_the_file_to_an_end():
    photo, film = named("a", Kind.IMAGE, 5_000_000), named("b", Kind.VIDEO, 200_000_000)
    assert patience(photo) == 125
    assert patience(film) == 320
    assert patience(named("c", Kind.VIDEO, 10**11)) == 600


def test_leaving_early_kills_the_workers():
    with Decoders(2, decode=acting) as decoders:
        results = decoders.decode([(named(n), "h") for n in ("a", "hang", "hang2")], OPTIONS)
        assert isinstance(next(results), Decoded)
        processes = [worker.process.pid for worker in running(decoders)]
    assert processes
    for pid in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(RuntimeError):
        next(decoders.decode([(named("b"), "h")], OPTIONS))


def test_workers_ignore_an_interrupt():
    with Decoders(1, decode=acting) as decoders:
        [first] = decoders.decode([(named("a"), "h")], OPTIONS)
        pid = int(first.segments[0][0].snippet.split()[0])
        os.kill(pid, signal.SIGINT)
        [second] = decoders.decode([(named("b"), "h")], OPTIONS)
    assert int(second.segments[0][0].snippet.split()[0]) == pid


def run(program, **options):
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


PROGRAM = """
import os, signal, sys
from support.acting import OPTIONS, acting, named
from qvsearch.media.workers import Decoders
# a shell's background job is born with Ctrl-C ignored, and so would this be in one
signal.signal(signal.SIGINT, signal.default_int_handler)
with Decoders(1, acting) as decoders:
    for result in decoders.decode([(named(name), "h") for name in {names}], OPTIONS):
        print(result.segments[0][0].snippet.split()[0], flush=True)
"""


class Watched:
    """A process that is not our child, but whose end can be waited for."""

    def __init__(self, pid):
        self.descriptor = os.pidfd_open(pid)

    def ends(self):
        ended, _, _ = select.select([self.descriptor], [], [], 60)
        os.close(self.descriptor)
        return bool(ended)


watches = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")


@pytest.mark.faults
@watches
@pytest.mark.parametrize("name", ["hang", "spin"])
def test_workers_die_with_a_killed_parent(name):
    parent = run(PROGRAM.format(names=["a", name]))
    worker = Watched(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    assert worker.ends()


@watches
def test_an_interrupt_ends_the_program_and_its_workers_quietly():
    parent = run(PROGRAM.format(names=["a", "hang"]), start_new_session=True)
    worker = Watched(int(parent.stdout.readline()))
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1  # the program's own, which catches nothing
    assert worker.ends()


def test_decoders_write_nothing_to_the_terminal():
    parent = run(PROGRAM.format(names=["noise", "a"]))
    output, errors = parent.communicate(timeout=120)
    assert "NOISE" not in output + errors
    assert errors == ""


def test_neither_the_parent_nor_a_worker_imports_torch():
    program = """
import sys
from support.acting import HEAVY, OPTIONS, imported, named
from qvsearch.media.workers import Decoders
print([name for name in HEAVY if name in sys.modules])
with Decoders(1, imported) as decoders:
    [result] = decoders.decode([(named("a"), "h")], OPTIONS)
print(result.segments[0][0].snippet)
"""
    output, errors = run(program).communicate(timeout=120)
    assert (output, errors) == ("[]\n[]\n", "")


def test_opencv_uses_one_thread_in_a_worker():
    with Decoders(1, counting_threads) as decoders:
        [result] = decoders.decode([(named("a"), "h")], OPTIONS)
    assert result.segments[0][0].snippet == "1"


def test_a_photo_is_decoded_without_opencv(tmp_path):
    path = os.fsencode(tmp_path / "a.png")
    Image.new("RGB", (64, 48)).save(os.fsdecode(path))
    program = f"""
import os, sys
from qvsearch import media
from qvsearch.types import DecodeOptions, Item, Kind
status = os.stat({path})
item = Item({path}, b"", Kind.IMAGE, status.st_size, status.st_mtime_ns)
media.decode(item, "", DecodeOptions(65536))
print([name for name in ("cv2", "torch", "av") if name in sys.modules])
"""
    output, errors = run(program).communicate(timeout=60)
    assert (output, errors) == ("[]\n", "")


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from qvsearch.media.workers import Decoders\n"
        "from qvsearch.types import DecodeOptions, Item, Kind\n"
        "with Decoders(1) as decoders:\n"
        "    job = Item(b'/x', b'', Kind.IMAGE, 1, 1), 'h'\n"
        "    list(decoders.decode([job], DecodeOptions(262144)))\n"
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "a script that uses qvsearch needs" in result.stderr


def test_importing_the_workers_is_cheap():
    program = (
        "import sys, qvsearch.media.workers\n"
        "print([name for name in ('torch', 'numpy', 'PIL', 'av', 'cv2') if name in sys.modules])"
    )
    output, _ = run(program).communicate(timeout=60)
    assert output == "[]\n"


def test_a_closed_pool_refuses_work():
    decoders = Decoders(1, decode=acting)
    with decoders:
        pass
    with pytest.raises((RuntimeError, QvsearchError)):
        list(decoders.decode([(named("a"), "h")], OPTIONS))


def test_the_estimate_uses_the_most_moments_of_a_video():
    from qvsearch.media import video  # loads av, which the workers module must not

    assert counts.MOMENTS == video.MAX_MOMENTS
