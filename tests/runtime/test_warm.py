"""Warm processes: the vectors are the model's own, and whatever goes wrong, it is loaded here."""

import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from support.photo_library import asked_anew, photo_library

from qvsearch.cli import output
from qvsearch.cli import search as search_cli
from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.models import registry
from qvsearch.models.registry import EMBEDDER, RERANKER, resolve
from qvsearch.runtime import client as warm
from qvsearch.runtime import loading as fingerprint
from qvsearch.runtime import manager as processes
from qvsearch.runtime import server as keeper
from qvsearch.runtime.client import (
    Peer,
    ServerKey,
    WarmEmbedder,
    WarmReranker,
    find_server,
    make_socket_folder,
)
from qvsearch.runtime.loading import Choice, find_reranker, load_embedder
from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.types import Detail, EmbedInput, Frames
from qvsearch.wire import receive, send

DIM = 64
CPU = Choice(device="cpu")
ACTED = Choice(device="cpu", dtype="float32")  # of which there is no real process


@pytest.fixture(scope="module")
def runtime():
    """A folder for sockets: its name has to be shorter than pytest's are on some systems."""
    folder = Path(tempfile.mkdtemp(prefix="qv-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _own_sockets(runtime, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_runtime_path", lambda *_, **__: runtime / "qvsearch")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))


def made_with(model, dim=DIM):
    weights = resolve(str(model))
    return replace(registry.fingerprint(weights, DIM, Detail.LOW), dim=dim)


def kept(model, dtype=None, role=EMBEDDER):
    return ServerKey(role, resolve(str(model)).revision, "cpu", dtype)


def acted(model):
    return kept(model, ACTED.dtype)


@pytest.fixture(scope="module")
def local(tiny):
    return LocalEmbedder(tiny, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def library(tiny, tmp_path_factory):
    return photo_library(tmp_path_factory.mktemp("library"), made_with(tiny))


def inputs():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (32, 64, 3), np.uint8) for _ in range(3)]
    yield EmbedInput("a dog", instruction="Find it.")
    yield EmbedInput("a cat", (pictures[0], pictures[1][:, ::-1]))
    yield EmbedInput(video=Frames(np.stack(pictures), (0.0, 1.0, 2.0)))


def forbidden():
    raise AssertionError("the model is loaded here")


# ------------------------------------------------------------------ a real process


@pytest.fixture(scope="module")
def process(tiny, runtime):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platformdirs, "user_runtime_path", lambda *_, **__: runtime / "qvsearch")
        patch.setattr(platformdirs, "user_cache_path", lambda *_, **__: runtime / "cache")
        found = processes.start(kept(tiny), str(tiny), 600)
        yield found
        processes.stop(found)
        assert find_server(kept(tiny)) is None


@pytest.mark.parametrize("dim", [DIM, 32])
def test_its_vectors_are_those_of_the_model(process, tiny, local, dim):
    with closing(find_server(kept(tiny))) as connection:
        embedder = WarmEmbedder(connection, dim, forbidden)
        found = embedder.embed(list(inputs()))
        assert found.dtype == np.float32
        expected = local.embed(list(inputs()))[:, :dim]
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        assert np.abs(found - expected).max() < 1e-5
        assert embedder.embed([]).shape == (0, dim)
        asked = embedder.embed_query("a dog", instruction="Find it.")
        assert np.abs(asked - found[0]).max() < 1e-5
        with pytest.raises(QvsearchError, match="an input of .* tokens is over the model's 8192"):
            embedder.embed([EmbedInput(images=(np.zeros((4096, 4096, 3), np.uint8),))])
        assert np.abs(embedder.embed(list(inputs())[:1]) - expected[:1]).max() < 1e-5


def test_whoever_asks_for_the_same_model_gets_it_without_torch(
    process, tiny, library, monkeypatch, capsys
):
    assert isinstance(load_embedder(made_with(tiny), CPU), WarmEmbedder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(library.parent / "cache"))
    query = ["search", "-l", str(library), "a tree", "--device", "cpu", "--paths", "--all"]
    hits, loaded = asked_anew(*query)
    assert loaded == ["0"]
    nowhere = library.parent / "nowhere" / "qvsearch"
    monkeypatch.setattr(platformdirs, "user_runtime_path", lambda *_, **__: nowhere)
    assert not isinstance(load_embedder(made_with(tiny), CPU), WarmEmbedder)
    assert main(query) == 0
    assert capsys.readouterr().out.splitlines() == hits


@pytest.mark.parametrize(
    "other",
    [
        {"revision": "other"},
        {"role": RERANKER},
        {"device": None},
        {"dtype": "bfloat16"},
        {"version": "0.0.0"},
        {"prompt_layout": 0},
        {"preprocessing": 0},
    ],
)
def test_whoever_asks_for_another_does_not(process, tiny, other):
    another = replace(kept(tiny), **other)
    assert another.socket != process.socket
    assert find_server(another) is None
    another.socket.symlink_to(process.socket)  # and not even where it lies in its place
    assert find_server(another) is None
    another.socket.unlink()


def test_it_is_there_once_and_status_tells(process, tiny, library, capsys):
    arguments = ["--model", str(tiny), "--device", "cpu", "--json"]
    assert main(["warm", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["pid"] == process.pid
    assert main(["status", "-l", str(library), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["warm"]
    assert said.pop("idle") >= 0
    assert said.pop("memory", 10**9) > 10**7
    assert said.pop("since").endswith("Z")
    assert said == {
        "pid": process.pid,
        "model": str(tiny),
        "role": EMBEDDER,
        "revision": resolve(str(tiny)).revision,
        "device": "cpu",
        "version": kept(tiny).version,
        "limit": 600.0,
        "socket": str(process.socket),
    }
    assert main(["status", "-l", str(library)]) == 0
    assert f"process {process.pid} since" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "darwin", reason="its runtime folder is not chosen by name")
def test_two_started_at_once_are_one(runtime):
    command = [sys.executable, "-m", "qvsearch", "warm", "--model", "demo", "--json"]
    environment = os.environ | {"XDG_CACHE_HOME": str(runtime / "cache")}
    pair = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    ended = [(*each.communicate(), each.returncode) for each in pair]
    try:
        assert [(error, code) for _, error, code in ended] == [(b"", 0)] * 2
        first, second = (json.loads(said) for said, _, _ in ended)
        assert first["state"] == second["state"] == "running"
        assert first["pid"] == second["pid"]
    finally:
        for each in processes.running():
            if each.model == "demo":
                processes.stop(each)


def test_it_belongs_to_no_terminal_and_to_nobody_else(process):
    assert os.getsid(process.pid) == process.pid
    for descriptor in (0, 1):
        assert os.readlink(f"/proc/{process.pid}/fd/{descriptor}") == os.devnull
    assert stat.S_IMODE(process.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(process.socket.parent.stat().st_mode) == 0o700


def test_one_that_hangs_is_given_up_and_can_be_ended(process, tiny, local, monkeypatch):
    monkeypatch.setattr(warm, "HELLO_SECONDS", 0.2)
    monkeypatch.setattr(warm, "SILENCE", 0.2)
    connection = find_server(kept(tiny))
    asked = WarmEmbedder(connection, DIM, lambda: local)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        here = asked.embed([EmbedInput("a dog")])
        np.testing.assert_allclose(here, local.embed([EmbedInput("a dog")]), atol=1e-6)
        assert find_server(kept(tiny)) is None
        (found,) = processes.running()
        assert found == processes.Running(process.socket, process.pid)
        with pytest.raises(QvsearchError, match=r"another process keeps .*qvsearch warm --stop"):
            processes.start(kept(tiny), str(tiny), 600)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert len(processes.running()) == 1


def test_a_model_whose_files_change_is_given_up(process, tiny, local, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "copy")
    mine = kept(folder, "bfloat16")  # else it would be the other process, of the same weights
    found = processes.start(mine, str(folder), 600)
    alive = os.pidfd_open(found.pid)
    asked = WarmEmbedder(find_server(mine), DIM, lambda: local)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    vectors = asked.embed(list(inputs()))
    np.testing.assert_allclose(vectors, local.embed(list(inputs())), atol=1e-6)
    assert select.select([alive], [], [], 30)[0], "it has ended"
    os.close(alive)


def test_a_model_that_cannot_be_loaded_is_said(tiny):
    other = replace(kept(tiny), revision="other")
    with pytest.raises(QvsearchError, match="is now at revision .*, not other"):
        processes.start(other, str(tiny), 600)
    assert not other.socket.exists()


def test_interrupting_the_wait_leaves_no_process(tiny, monkeypatch):
    started = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)
            pipe = self.stdout
            self.stdout = pipe and closing_pipe(pipe)

    class closing_pipe:
        def __init__(self, pipe):
            self.pipe = pipe

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.pipe.close()

        def readline(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    assert main(["warm", "--model", str(tiny), "--dtype", "float16"]) == 130
    (child,) = started
    assert child.returncode == -signal.SIGKILL


def test_what_asks_for_nothing_sensible_is_refused(tiny, tmp_path, capsys):
    for arguments, said in [
        (["--idle", "0"], "it must be from 1s"),
        (["--idle", "99999m"], "it must be from 1s"),
        (["--idle", "soon"], "--idle 'soon' is no time"),
        (["--reranker", str(tiny)], "two models"),
    ]:
        assert main(["warm", "--model", str(tiny), *arguments]) == 2
        assert said in capsys.readouterr().err
    assert main(["warm", "--reranker", "demo"]) == 2
    assert "demo is no reranker" in capsys.readouterr().err
    assert main(["warm", "-l", str(tmp_path / "none")]) == 2
    assert "no library" in capsys.readouterr().err


# ------------------------------------------------------------------ whoever connects


@contextmanager
def keeping(tiny, compute, role=EMBEDDER):
    """Run a keeper in a thread, whose model is a function."""
    mine = kept(tiny, ACTED.dtype, role)
    make_socket_folder()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(mine.socket))
    listener.listen()
    order = keeper.Order(mine, "some/model", str(mine.socket), 600)
    made = keeper.Server(order, compute)
    thread = threading.Thread(target=made.serve, args=(listener,))
    thread.start()
    try:
        yield mine
    finally:
        made._order = replace(order, idle=0)
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(mine.socket))
        thread.join()
        listener.close()
        mine.socket.unlink()


def ones(header, inputs):
    return np.full((len(inputs), header["dim"]), header["dim"] ** -0.5, np.float32)


def asks(mine, load=forbidden):
    with closing(find_server(mine)) as connection:
        return WarmEmbedder(connection, 4, load).embed([EmbedInput("a dog")])


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"qvs1" + b"\xff" * 12,
        b"qvs1\0\0\0\x02\0\0\0\0\0\0\0\0{}",
        b"qvs1\0\0\0\x0e\0\0\0\0\0\0\0\0" + b'{"arrays": []}',
        b"qvs1\0\0\0",
    ],
)
def test_a_client_that_sends_rubbish_or_leaves_harms_nobody(tiny, rubbish):
    with keeping(tiny, ones) as mine:
        with closing(find_server(mine)) as connection:
            connection.sendall(rubbish)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(60)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b"", "it is cut off"
        assert asks(mine).tolist() == [[0.5] * 4]


def test_a_client_that_stops_in_a_message_is_cut_off_and_nobody_waits(tiny, monkeypatch):
    with keeping(tiny, ones) as mine, closing(find_server(mine)) as slow:
        monkeypatch.setattr(keeper, "MESSAGE_SECONDS", 0.2)
        slow.sendall(b"qvs1")
        assert asks(mine).tolist() == [[0.5] * 4]
        slow.settimeout(60)
        assert slow.recv(1) == b""


def test_a_killed_client_is_not_waited_for(tiny, monkeypatch):
    monkeypatch.setattr(keeper, "BEAT", 0.05)
    begun, go = threading.Event(), threading.Event()

    def slow(header, inputs):
        begun.set()
        go.wait(60)
        return ones(header, inputs)

    with keeping(tiny, slow) as mine:
        code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from qvsearch.runtime.client import WarmEmbedder
from qvsearch.runtime.client import ServerKey, find_server
from qvsearch.types import EmbedInput
connection = find_server(ServerKey({mine.role!r}, {mine.revision!r}, "cpu", {mine.dtype!r}))
WarmEmbedder(connection, 4, None).embed([EmbedInput("a dog")])
"""
        client = subprocess.Popen([sys.executable, "-c", code])
        assert begun.wait(60)
        client.kill()
        client.wait()
        go.set()
        assert asks(mine).tolist() == [[0.5] * 4]


def test_questions_are_computed_one_after_the_other(tiny):
    inside = threading.Lock()

    def alone(header, inputs):
        assert inside.acquire(blocking=False)
        found = ones(header, inputs)
        inside.release()
        return found

    with keeping(tiny, alone) as mine:
        answers = []
        clients = [
            threading.Thread(target=lambda: answers.append(asks(mine).tolist())) for _ in range(20)
        ]
        for each in clients:
            each.start()
        for each in clients:
            each.join()
    assert answers == [[[0.5] * 4]] * 20


def test_clients_beyond_the_most_are_turned_away(tiny, monkeypatch):
    monkeypatch.setattr(keeper, "MOST_CLIENTS", 2)
    with keeping(tiny, ones) as mine, closing(find_server(mine)), closing(find_server(mine)):
        assert find_server(mine) is None


def test_nobody_else_is_served_or_asked(tiny, runtime, monkeypatch):
    other = Peer(1, os.getuid() + 1)
    with keeping(tiny, ones) as mine:
        with monkeypatch.context() as patch:
            patch.setattr(keeper, "peer", lambda _: other)
            assert find_server(mine) is None
        with monkeypatch.context() as patch:
            patch.setattr(warm, "peer", lambda _: other)
            assert find_server(mine) is None
        mine.socket.parent.chmod(0o750)
        assert find_server(mine) is None
        mine.socket.parent.chmod(0o700)
        asks(mine)


def test_a_keeper_ends_when_nobody_asks_any_more(tiny, monkeypatch):
    with keeping(tiny, ones) as mine, closing(find_server(mine)) as connection:
        WarmEmbedder(connection, 4, forbidden).embed([EmbedInput("a dog")])
    # `keeping` waits for its end, which a client that asks nothing does not put off


def test_a_reranker_is_kept_as_well(tiny, monkeypatch):
    mine = kept(tiny, ACTED.dtype, RERANKER)
    assert fingerprint.reranker_key(str(tiny), ACTED) == (mine, resolve(str(tiny)))
    compute = keeper.load(keeper.Order(mine, str(tiny), "", 600))
    query, *documents = inputs()
    with keeping(tiny, compute, RERANKER):
        reranker = find_reranker(str(tiny), made_with(tiny), ACTED)()
        assert isinstance(reranker, WarmReranker)
        found = reranker.score(query, documents)
    expected = LocalReranker(tiny, "cpu", "float32").score(query, documents)
    assert found == pytest.approx(expected, abs=1e-6)


def test_without_a_private_runtime_folder_the_cache_has_the_sockets(tmp_path, monkeypatch):
    cache = platformdirs.user_cache_path()
    shared = tmp_path / "shared"
    monkeypatch.setattr(platformdirs, "user_runtime_path", lambda *_, **__: shared / "qvsearch")
    assert make_socket_folder() == cache / "run"
    assert stat.S_IMODE((cache / "run").stat().st_mode) == 0o700
    shared.mkdir(mode=0o755)
    assert warm.socket_folder() == cache / "run"
    shared.chmod(0o700)
    assert warm.socket_folder() == shared / "qvsearch"


# ------------------------------------------------------------------ whatever answers


@contextmanager
def answering(tiny, *steps):
    """Be a warm process that takes these steps with each client."""
    mine = acted(tiny)
    make_socket_folder()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(mine.socket))
        listener.listen()
        ended = threading.Event()

        def serve():
            while True:
                connection, _ = listener.accept()
                with connection:
                    if ended.is_set():
                        return
                    for step in steps:
                        step(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield mine
        finally:
            ended.set()
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(mine.socket))
            thread.join()
            mine.socket.unlink()


def hello(tiny, **other):
    said = {"kept": vars_of(replace(acted(tiny), **other))}
    return lambda connection: send(connection, said)


def vars_of(record):
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def says(header, *arrays):
    return lambda connection: send(connection, header, arrays)


def waits_for_the_end(connection):
    connection.settimeout(60)
    while connection.recv(1 << 16):
        pass


DONE = {"state": "done"}
UNIT = np.full((1, DIM), DIM**-0.5, np.float32)
ANSWERS = {
    "none": [],
    "rubbish": [lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")],
    "half of it": [lambda connection: connection.sendall(b"qvs1\0\0\0\x20")],
    "a huge one": [lambda connection: connection.sendall(b"qvs1" + b"\xff" * 12)],
    "no state": [says({})],
    "no vectors": [says(DONE)],
    "too many": [says(DONE, np.concatenate([UNIT, UNIT]))],
    "short ones": [says(DONE, UNIT[:, 1:])],
    "other numbers": [says(DONE, UNIT.astype(np.float64))],
    "bytes": [says(DONE, UNIT.view(np.uint8)[:, :DIM])],
    "no unit vectors": [says(DONE, UNIT * 2)],
    "no numbers": [says(DONE, UNIT * np.float32("nan"))],
    "a busy one that leaves": [says({"state": "busy"})] * 3,
    "silence": [waits_for_the_end],
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_none_costs_time_only(tiny, local, monkeypatch, answer):
    monkeypatch.setattr(warm, "SILENCE", 0.2)
    loaded = []

    def load():
        loaded.append(True)
        return local

    with answering(tiny, hello(tiny), receive, *answer) as mine:
        embedder = WarmEmbedder(find_server(mine), DIM, load)
        for _ in range(2):
            found = embedder.embed([EmbedInput("a dog")])
            np.testing.assert_allclose(found, local.embed([EmbedInput("a dog")]), atol=1e-6)
    assert loaded == [True]


@pytest.mark.parametrize("scores", [[0.5], [0.5, 1.5], [0.5, float("nan")], [-0.1, 0.5]])
def test_scores_that_are_none_cost_time_only(tiny, scores):
    class Here:
        def score(self, query, documents):
            return [0.25] * len(documents)

    with answering(tiny, hello(tiny), receive, says(DONE, np.array(scores))) as mine:
        reranker = WarmReranker(find_server(mine), Here)
        assert reranker.score(EmbedInput("a"), [EmbedInput("b")] * 2) == [0.25, 0.25]


GREETINGS = {
    "nothing": lambda _: [],
    "rubbish": lambda _: [lambda connection: connection.sendall(b"hello, world\r\n" * 9)],
    "another version": lambda tiny: [hello(tiny, version="0.0.0"), waits_for_the_end],
    "another model": lambda tiny: [hello(tiny, revision="other"), waits_for_the_end],
    "another device": lambda tiny: [hello(tiny, device="cuda"), waits_for_the_end],
    "silence": lambda _: [waits_for_the_end],
}


@pytest.mark.parametrize("greeting", GREETINGS.values(), ids=GREETINGS)
def test_another_greeting_is_left_alone(tiny, monkeypatch, greeting):
    monkeypatch.setattr(warm, "HELLO_SECONDS", 0.2)
    with answering(tiny, *greeting(tiny)) as mine:
        assert find_server(mine) is None
        assert isinstance(load_embedder(made_with(tiny), ACTED), LocalEmbedder)


def test_a_system_without_unix_sockets_keeps_no_model_and_loads_it_here(tiny, monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX")
    monkeypatch.delattr(os, "getuid")  # such a system has neither of these
    monkeypatch.setitem(sys.modules, "fcntl", None)
    mine = acted(tiny)
    assert find_server(mine) is None
    assert processes.running() == []
    assert isinstance(load_embedder(made_with(tiny), ACTED), LocalEmbedder)
    with pytest.raises(QvsearchError, match="this system has no Unix sockets"):
        processes.start(mine, str(tiny), 600)


def test_modules_load_without_unix_sockets():
    program = """
import socket, sys
del socket.AF_UNIX
sys.modules["fcntl"] = None
import qvsearch.runtime.client, qvsearch.runtime.manager, qvsearch.runtime.llama.process
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_stale_socket_is_no_process_and_gives_way(tiny, local):
    mine = acted(tiny)
    make_socket_folder()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(mine.socket))
    assert find_server(mine) is None
    assert mine.socket not in [each.socket for each in processes.running()]
    ended = []

    def ready():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(mine.socket))
        ended.append(True)
        raise SystemExit

    order = keeper.Order(mine, str(tiny), str(mine.socket), 600)
    with pytest.raises(SystemExit):
        keeper.run(order, ready)
    assert ended
    assert not mine.socket.exists()


def test_a_socket_that_cannot_be_is_said(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "load", lambda _: ones)
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    order = keeper.Order(acted(tiny), str(tiny), str(folder / "a.sock"), 600)
    with pytest.raises(QvsearchError, match=r"cannot listen at .*too long; set XDG_RUNTIME_DIR"):
        keeper.run(order, forbidden)


def test_what_is_too_large_to_be_sent_is_embedded_here(tiny, local, monkeypatch):
    monkeypatch.setattr("qvsearch.wire.LARGEST_BODY", 1000)
    with answering(tiny, hello(tiny), waits_for_the_end) as mine:
        embedder = WarmEmbedder(find_server(mine), DIM, lambda: local)
        found = embedder.embed(list(inputs()))
        np.testing.assert_allclose(found, local.embed(list(inputs())), atol=1e-6)


# ------------------------------------------------------------------ the hint


def test_a_slow_start_is_told_once_of_the_way_out(monkeypatch):
    said = []
    monkeypatch.setattr(output, "hint", lambda text, *_: said.append(text))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    search_cli._hint_warm(2.0, quiet=False)
    search_cli._hint_warm(9.0, quiet=True)
    assert said == []
    search_cli._hint_warm(9.4, quiet=False)
    search_cli._hint_warm(9.4, quiet=False)
    assert said == ["loading the model took 9 s; `qvsearch warm` keeps it loaded"]


def test_no_slow_start_is_told_to_a_file(monkeypatch, capsys):
    search_cli._hint_warm(9.0, quiet=False)
    assert capsys.readouterr().err == ""
    assert not (platformdirs.user_cache_path() / "warm-hint").exists()


# ------------------------------------------------------------------ the end of the real one


def test_stop_ends_all_that_run(process, tiny, capsys):
    assert main(["warm", "--stop"]) == 0
    assert f"ended: {tiny}, process {process.pid} since" in capsys.readouterr().out
    assert processes.running() == []
    assert not process.socket.exists()
    assert main(["warm", "--stop"]) == 0
    assert capsys.readouterr().out == "no warm process is running\n"
