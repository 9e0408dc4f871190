"""Documents that are damaged, lie or ask for too much: each is decoded or refused with a reason.

No worker crashes, hangs, holds a gigabyte, writes, starts a process or opens a socket over any of a
thousand damaged documents (ten thousand in the soak test), nor over the bombs.
"""

import sys

import pytest
from support import hostile_office
from support.watching import Watch, is_a_reason, is_no_surprise, sort

from qvsearch.types import Kind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FORMATS = 12


def decode_damaged(tmp_path, tally, numbers):
    found = sort(tmp_path, Kind.TEXT, map(hostile_office.damaged, numbers), most=50)
    tally["damaged documents"] += sum(each.total() for each in found)
    return found


def test_a_thousand_damaged_documents(tmp_path, tally):
    assert len(hostile_office.seeds()) == FORMATS
    decoded, refused = decode_damaged(tmp_path, tally, range(1000))
    assert decoded.total() + refused.total() == 1000
    assert decoded.total() > 300  # damage beyond the packing is looked at, too
    assert len(decoded) == FORMATS


@pytest.mark.soak
def test_ten_thousand_damaged_documents(tmp_path, tally):
    decoded, refused = decode_damaged(tmp_path, tally, range(1000, 11_000))
    assert decoded.total() + refused.total() == 10_000
    assert len(decoded) == FORMATS


def test_bombs_are_refused_and_heavy_documents_are_read(tmp_path, tally):
    bombs, heavy = hostile_office.bombs(), hostile_office.heavy()
    files = {name: data for name, (data, _) in bombs.items()} | heavy
    with Watch(tmp_path, Kind.TEXT) as watch:
        outcomes = dict(watch.outcomes(files.items()))
    for name, (_, reason) in bombs.items():
        assert str(outcomes[name]).startswith(reason), (name, outcomes[name])
        assert is_a_reason(outcomes[name])
        assert is_no_surprise(outcomes[name])
    for name in heavy:
        assert isinstance(outcomes[name], int), (name, outcomes[name])
    assert watch.peak < 1_500_000_000
    tally["documents that lie or ask for too much"] += len(outcomes)
