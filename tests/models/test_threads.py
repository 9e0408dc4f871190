import os
import subprocess
import sys

import pytest

SETTLE = """
import torch
from qvsearch.models.devices import settle_threads
{first}
print(torch.get_num_threads())
settle_threads()
print(torch.get_num_threads())
"""


def settled(environment, first=""):
    """The number of threads before and after it is settled, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SETTLE.format(first=first)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    return before, after


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return dict(os.environ)


def test_it_is_the_most_or_halved(environment):
    most, found = settled(environment)
    assert found in [most >> halvings for halvings in range(most.bit_length())]


def test_what_the_caller_chose_stays(environment):
    assert settled(environment, first="torch.set_num_threads(3)") == (3, 3)
    most, found = settled(environment | {"OMP_NUM_THREADS": "2"})
    assert found == most
