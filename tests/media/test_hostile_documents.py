"""PDF files, and TIFF files of several pages, that are damaged, lie or ask for too much.

Each is drawn or refused with a reason. No worker crashes, hangs, holds a gigabyte, writes, starts a
process or opens a socket over any of a thousand damaged files (ten thousand in the soak test), nor
over the bombs.
"""

import os
import sys

import pytest
from support import hostile_documents
from support.images import item_of
from support.pdf_files import one_page, shown, stream
from support.watching import Watch, is_a_reason, sort

from qvsearch.media.workers import Decoders
from qvsearch.types import DecodeOptions, Kind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SORTS = 22


def decode_damaged(tmp_path, tally, numbers):
    found = sort(tmp_path, Kind.DOCUMENT, map(hostile_documents.damaged, numbers), most=5)
    tally["damaged documents"] += sum(each.total() for each in found)
    return found


def test_every_seed_is_a_document(tmp_path):
    seeds = hostile_documents.seeds()
    assert len(seeds) == SORTS
    with Watch(tmp_path, Kind.DOCUMENT) as watch:
        outcomes = dict(watch.outcomes(seeds.items()))
    several = {"text as it is": 2, "pages": 5, "outline": 3, "tiff": 3}
    assert outcomes == dict.fromkeys(seeds, 1) | several


def test_a_thousand_damaged_documents(tmp_path, tally):
    decoded, refused = decode_damaged(tmp_path, tally, range(1000))
    assert decoded.total() + refused.total() == 1000
    assert decoded.total() > 300  # damage beyond the header is looked at, too
    assert len(refused) > SORTS - 5


@pytest.mark.soak
def test_ten_thousand_damaged_documents(tmp_path, tally):
    decoded, refused = decode_damaged(tmp_path, tally, range(1000, 11_000))
    assert decoded.total() + refused.total() == 10_000
    assert len(decoded) == len(refused) == SORTS


def test_bombs_cost_little(tmp_path, tally):
    bombs = {name: draw() for name, draw in hostile_documents.BOMBS.items()}
    assert all(len(data) < 2_000_000 for data in bombs.values())
    with Watch(tmp_path, Kind.DOCUMENT) as watch:
        outcomes = dict(watch.outcomes(bombs.items()))
    for name, outcome in outcomes.items():
        if not isinstance(outcome, int):
            assert is_a_reason(outcome), (name, outcome)
            assert "crashed" not in outcome, (name, outcome)
    assert watch.peak < 1_500_000_000
    tally["documents that lie or ask for too much"] += len(outcomes)


@pytest.mark.parametrize("name", hostile_documents.ENDLESS)
def test_one_that_would_never_end_is_given_up(tmp_path, tally, name):
    path = tmp_path / "a.pdf"
    path.write_bytes(hostile_documents.ENDLESS[name]())
    jobs = [(item_of(path, Kind.DOCUMENT), "")]
    with Decoders(1, patience=lambda item: 1.0) as decoders:
        [outcome] = decoders.decode(jobs, DecodeOptions(1024))
    assert outcome.reason == "took longer than 1 s"
    tally["documents that lie or ask for too much"] += 1


def test_no_other_file_is_opened(tmp_path):
    """Whoever opens this pipe waits for ever, because nobody writes into it."""
    pipe = os.fsencode(tmp_path / "pipe")
    os.mkfifo(pipe)
    target = b"/F (%s) /FS /URL /UF (%s)" % (pipe, pipe)
    actions = [
        b"<< /S /Launch %s >>" % target,
        b"<< /S /GoToR %s /D [0 /Fit] >>" % target,
        b"<< /S /ImportData %s >>" % target,
        b"<< /S /URI /URI (file://%s) >>" % pipe,
        b"<< /S /SubmitForm /F << %s >> >>" % target,
    ]
    annotations = b" ".join(
        b"<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /A %s >>" % each for each in actions
    )
    data = one_page(
        shown(b"words") + b"q 90 0 0 90 5 5 cm /X Do Q",
        stream(b"", b"/Type /XObject /Subtype /Image /Width 8 /Height 8 " + target),
        page=b"/Annots [%s]" % annotations,
        catalog=b"/OpenAction [%s] /AcroForm << /Fields [] /XFA [%s] >>"
        % (b" ".join(actions), target),
    )
    with Watch(tmp_path, Kind.DOCUMENT, seconds=60.0) as watch:
        assert dict(watch.outcomes([("links", data)])) == {"links": 1}
