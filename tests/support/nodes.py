"""Nodes of a cluster in this process, as the driver sees them."""

from qvsearch.distributed.blocks import BlockEmbedder, job_baseline
from qvsearch.distributed.cluster import Pool
from qvsearch.distributed.messages import items_of
from qvsearch.errors import QvsearchError


class Nodes:
    """Embeds blocks one after another; `given` are the names of files in each block.

    After `fails_after` blocks the model fails.
    """

    def __init__(self, actors=1, fails_after=None):
        self.pool = Pool(actors, cpus=1, gpus=0)
        self.given = []
        self.fails_after = fails_after

    def baseline(self, job, stop):
        vectors = job_baseline(job)
        assert not isinstance(vectors, str)
        return vectors

    def outcomes(self, job, blocks, stop):
        with BlockEmbedder(job) as embedder:
            for number, block in enumerate(blocks):
                if stop():
                    return
                if number == self.fails_after:
                    raise QvsearchError("the Ray cluster failed: no memory")
                self.given.append([item.path.decode() for item in items_of(block)])
                yield embedder(block)
