"""What many tests need: checkpoints of the true architecture, and a count of what was tried."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest

# Before torch is loaded, here and in the processes that tests start: threads of small matrices only
# wait for one another, and where other programs have the cores, they wait long and busily.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Wherever the tests run, servers of the tests are reached without a proxy, and Ctrl-C interrupts:
# a shell that starts a program in the background has it ignore that.
for each in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(each, None)
    os.environ.pop(each.upper(), None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of processes that tests start would compile the same modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False  # which the processes of multiprocessing take over

# Processes that tests start find the tests' support package too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.faulty_disk import FaultyDisk
    from support.scheduling import OnceScheduling
    from xdist.remote import Producer

    from qvsearch.runtime.local import LocalEmbedder

TRIED: Counter[str] = Counter()
LONGEST = {
    *("test_browser_hits", "test_browser_screens", "test_corruption", "test_crash", "test_demo"),
    *("test_faults", "test_finetuning_learns", "test_lottery", "test_power_cut", "test_processes"),
    *("test_rivals", "test_warm", "test_watch"),
}
UNLIMITED = ("soak", "weights", "gpu", "server", "mteb")  # markers of tests that may take minutes
SHARING = {
    *("agents", "bench", "cli", "demo_model", "distributed", "duplicates", "freshness", "gallery"),
    *("indexing", "machine", "media", "models", "retrieval", "runtime", "tasks", "web"),
}
OWN_PROCESSES = {
    *("test_fatal_pages", "test_hostile_documents", "test_hostile_images", "test_hostile_office"),
    *("test_hostile_texts", "test_hostile_videos", "test_resources", "test_workers"),
}


@pytest.fixture(scope="session")
def tally() -> Counter[str]:
    """Count here, by what it was, each thing that was tried and went well; the run's end says it.

    Counts are kept where the thing is done, never written down: they are what the README claims.
    """
    return TRIED


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the counts of a worker process of pytest-xdist to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tried"] = dict(TRIED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Add the counts of a worker process that has ended."""
    TRIED.update(getattr(node, "workeroutput", {}).get("tried", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how often what was tried."""
    if TRIED:
        terminalreporter.section("tried")
    for name, count in TRIED.items():
        terminalreporter.line(f"{count:>9,} {name}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: at the end a worker would have nothing beside them."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
    for item in items:
        if any(item.get_closest_marker(name) for name in UNLIMITED):
            item.add_marker(pytest.mark.timeout(0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OnceScheduling:
    """Run no test again whose process has ended in it."""
    from support.scheduling import OnceScheduling

    return OnceScheduling(config, log)


def pytest_collection_finish() -> None:
    """Let garbage not be looked for among half a million objects of torch, again and again."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Take back the real-time priority that SVT-AV1 gives to its thread, if root encodes a film.

    All later processes inherit it: two browsers then leave no core to anything else.
    """
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for thousands of caches: beside them each new numbered one would read all names."""
    return tmp_path_factory.mktemp("c")  # a short name, as paths of sockets have a limit


@pytest.fixture(autouse=True)
def _own_cache(_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache and warm processes out of every test, and one test's out of others."""
    folder = Path(tempfile.mkdtemp(prefix="", dir=_caches))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: folder)
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: folder / "settings")
    monkeypatch.setattr(platformdirs, "user_runtime_path", lambda *_, **__: folder / "run" / "q")


@pytest.fixture(scope="session", autouse=True)
def _no_sync() -> Iterator[None]:
    """Wait for no disk: the power stays on, and recorded disks prove what is synced, and when."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def _workers() -> Iterator[None]:
    """End the decode processes that are still kept."""
    yield
    from support.kept_workers import end_all

    end_all()


@pytest.fixture(scope="module", autouse=True)
def _kept_workers(request: pytest.FixtureRequest, _workers: None) -> Iterator[None]:
    """Let modules share decode processes, if they prove nothing about these."""
    from support.kept_workers import end_all, kept_workers

    if request.path.parent.name not in SHARING or request.path.stem in OWN_PROCESSES:
        end_all()
        yield
        return
    with kept_workers():
        yield


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    """Record what the library does to the disk, without waiting for it."""
    from support.faulty_disk import FaultyDisk

    disk = FaultyDisk()
    monkeypatch.setattr("qvsearch.files.os", disk)
    return disk


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """Yield a folder for thousands of small files: on no disk, where the system has such a one."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.75 million parameters, the head tied to the embeddings as in the 2B models."""
    from support.reference import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_appending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a tokenizer that ends every prompt in <|endoftext|>."""
    from support.reference import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("appending"), appends_end=True)


@pytest.fixture(scope="session")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a head of its own, as in the 8B models."""
    from support.reference import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("untied"), tied=False)


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 2B model's widths, 2 of its 28 text layers and 3 of its 24 vision layers, bfloat16."""
    import torch
    from support.reference import WIDE_TEXT, WIDE_VISION, write_checkpoint

    folder = tmp_path_factory.mktemp("wide")
    return write_checkpoint(folder, WIDE_TEXT, WIDE_VISION, dtype=torch.bfloat16)


@pytest.fixture(scope="session")
def demo_embedder() -> LocalEmbedder:
    """The checkpoint in the package: where a vector's meaning matters."""
    from qvsearch.runtime.local import LocalEmbedder

    return LocalEmbedder("demo", device="cpu", dtype="float32")
