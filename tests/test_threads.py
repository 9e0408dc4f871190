import os
import subprocess
import sys

import pytest

SETTLE = """
import torch
from qvsearch.models.threads import settle_threads
{after}
settle_threads()
print(torch.get_num_threads())
"""


def settled(environment, after=""):
    done = subprocess.run(
        [sys.executable, "-c", SETTLE.format(after=after)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return dict(os.environ)


def test_it_is_the_most_or_halved(environment):
    most = settled(environment, after="settle_threads = lambda: None")
    assert settled(environment) in [most >> halvings for halvings in range(most.bit_length())]


def test_what_the_caller_chose_stays(environment):
    assert settled(environment, after="torch.set_num_threads(3)") == 3
    chosen = environment | {"OMP_NUM_THREADS": "2"}
    assert settled(chosen) == settled(chosen, after="settle_threads = lambda: None")
