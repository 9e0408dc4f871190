"""Runs blocks of files on a Ray cluster; only this module calls Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from qvsearch.distributed.blocks import BlockEmbedder, Job, job_baseline
from qvsearch.errors import QvsearchError
from qvsearch.media.workers import MAX_WORKERS, STOP_SECONDS
from qvsearch.tasks.extras import needed
from qvsearch.version import __version__

if TYPE_CHECKING:
    from qvsearch.types import Vectors

AUTO = "auto"  # the cluster that this computer belongs to
CONNECT_SECONDS = 5.0
# after its process or its node died: a file of a block, or the node itself, may be the reason
ACTOR_RESTARTS = 20
BLOCKS_AT_ONCE = 2  # in an actor: one is decoded while the other is embedded
RESULTS_AHEAD = 64  # blocks that wait for the driver
# no statistics for Ray's makers, and no messages of its own
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


@dataclass(frozen=True, slots=True)
class Pool:
    """How many actors embed, and the CPUs and GPUs of each."""

    actors: int
    cpus: int
    gpus: int

    @property
    def decoders(self) -> int:
        """The decode processes of an actor; one core is the actor's own."""
        return max(1, self.cpus - 1)


def pool_of(nodes: Sequence[Mapping[str, float]], gpus: bool | None = None) -> Pool:
    """Return the pool for nodes with these resources of Ray, `CPU` and `GPU`.

    There is an actor for each GPU, with an equal share of its node's CPUs. If there are none, or
    `gpus` is False, an actor has as many CPUs as the smallest node, at most MAX_WORKERS. Raises
    QvsearchError if no node can run an actor, or if there is no GPU and `gpus` is True.
    """
    computing = [node for node in nodes if node.get("CPU", 0) >= 1]
    with_gpus = [node for node in computing if node.get("GPU", 0) >= 1]
    if with_gpus and gpus is not False:
        share = max(1, min(int(node["CPU"] // node["GPU"]) for node in with_gpus))
        actors = sum(int(min(node["GPU"], node["CPU"] // share)) for node in with_gpus)
        return Pool(actors, min(MAX_WORKERS, share), 1)
    if gpus or not computing:
        what = "GPU beside a CPU" if gpus else "CPU"
        raise QvsearchError(f"no node of the Ray cluster offers a {what}; see: ray status")
    share = int(min(MAX_WORKERS, *(node["CPU"] for node in computing)))
    return Pool(sum(int(node["CPU"] // share) for node in computing), share, 0)


@contextmanager
def connected(address: str, gpus: bool | None) -> Iterator[Cluster]:
    """Connect to a running Ray cluster by its address, HOST:PORT or AUTO, and leave it at the end.

    Raises QvsearchError without Ray, or if no cluster answers.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    ray = needed("ray", "Ray", "index --ray", "ray")
    needed("ray.data", "Ray", "index --ray", "ray")
    if address != AUTO:
        _check_reachable(address)
    # what it prints of its processes would be among the lines of --json
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    try:
        with _silent():  # Ray prints its settings
            ray.init(address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address == AUTO and isinstance(error, ConnectionError):
            raise QvsearchError(f"no Ray cluster runs on this computer; {_REMEDY}") from error
        raise QvsearchError(f"--ray {address}: {_first_line(error)}") from error
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield Cluster(ray, pool_of(nodes, gpus))
    finally:
        ray.shutdown()  # which ends what still runs for this driver


_REMEDY = "start one with `ray start --head`, and join it on each node with `ray start --address`"


def check_address(address: str) -> None:
    """Raise QvsearchError for text that is no address of a cluster."""
    host, _, port = address.rpartition(":")
    if address != AUTO and not (host and port.isdecimal() and "/" not in host):
        raise QvsearchError(f"--ray {address!r} is not an address; give HOST:PORT, or {AUTO}")


def _check_reachable(address: str) -> None:
    """Raise QvsearchError if nothing answers there; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=CONNECT_SECONDS)
    try:
        connection.connect()
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise QvsearchError(f"--ray {address} does not answer: {reason}; {_REMEDY}") from error
    finally:
        connection.close()


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what libraries write to standard error off the terminal."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _last_line(text: str) -> str:
    """Return the last line of a trace, which names the error."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no reason").strip()


class Cluster:
    """A connected cluster, and the pool of actors that it can run."""

    def __init__(self, ray: Any, pool: Pool) -> None:  # noqa: ANN401 - the module
        self._ray = ray
        self.pool = pool

    def baseline(self, job: Job, stop: Callable[[], bool]) -> Vectors | None:
        """Return the vectors of the generic queries, computed by a node; None if stopped.

        Raises QvsearchError if the model or Ray fails.
        """
        remote = self._ray.remote(
            num_cpus=self.pool.cpus,
            num_gpus=self.pool.gpus,
            max_calls=1,  # its process would keep the model
        )(job_baseline)
        future = remote.remote(job)
        with self._errors():
            while not self._ray.wait([future], timeout=STOP_SECONDS)[0]:
                if stop():
                    return None
            vectors: Vectors | str = self._ray.get(future)
        if isinstance(vectors, str):
            raise QvsearchError(vectors)
        return vectors

    def outcomes(self, job: Job, blocks: Sequence[Any], stop: Callable[[], bool]) -> Iterator[Any]:
        """Yield the outcomes of blocks as they finish, until `stop` returns True.

        A block of a process that dies is given to another one; each process is started again
        ACTOR_RESTARTS times at most. Raises QvsearchError if Ray fails.
        """
        ray = self._ray
        # Ray Data runs in a process of its own, which can be left at any time, on this computer.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        remote = ray.remote(
            num_cpus=0,
            num_returns="streaming",
            max_retries=0,
            scheduling_strategy=here,
            _generator_backpressure_num_objects=RESULTS_AHEAD,
        )(_embedded)
        results = remote.remote(job, self.pool, list(blocks))
        with self._errors():
            while not stop():
                if ray.wait([results], timeout=STOP_SECONDS)[0]:
                    try:
                        yield ray.get(next(results))
                    except StopIteration:
                        return

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise Ray's errors as one sentence."""
        try:
            yield
        except self._ray.exceptions.RayError as error:
            text = str(error)
            if "No module named 'qvsearch" in text:
                text = f"a node has no qvsearch {__version__}; install it on all nodes"
            elif "ActorDiedError" in text or "ActorUnavailableError" in text:
                text = (
                    f"a process was killed {ACTOR_RESTARTS + 1} times, e.g. for want of memory or"
                    " with its nodes; run the command again, or leave some files out with --exclude"
                )
            raise QvsearchError(f"the Ray cluster failed: {_last_line(text)}") from error


def _embedded(job: Job, pool: Pool, blocks: Sequence[Any]) -> Iterator[Any]:
    """Yield the outcomes of blocks, which Ray Data gives to a pool of actors."""
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    # These blocks need no tasks that read them. So the actors may have all CPUs of the cluster,
    # and wait for nothing that waits for a CPU.
    dataset = ray.data.from_arrow(list(blocks)).map_batches(
        BlockEmbedder,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
        # without limit: Ray would spend them all within seconds, before it knows that a node died
        max_task_retries=-1,
        max_restarts=ACTOR_RESTARTS,
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=pool.actors,
            initial_size=min(pool.actors, len(blocks)),
            max_concurrent_calls_per_actor=BLOCKS_AT_ONCE,
            enable_true_multi_threading=True,
        ),
    )
    yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
