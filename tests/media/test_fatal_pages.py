"""A page that crashes the process is lost alone; its document and the files behind it are not."""

import pytest
from support import fatal_pages
from support.images import item_of
from support.pdf_files import drawn, lines

from qvsearch.media.pages import with_losses
from qvsearch.media.workers import Decoders
from qvsearch.types import DecodeOptions, Kind, Skipped

pytestmark = pytest.mark.faults

SMALL = DecodeOptions(16 * 32 * 32)


def outcomes(tmp_path, name, pages):
    """The results of a document, and of one behind it."""
    for each, count in ((name, pages), ("whole.pdf", 1)):
        (tmp_path / each).write_bytes(drawn(lines("number {}"), pages=count))
    jobs = [(item_of(tmp_path / each, Kind.DOCUMENT), "") for each in (name, "whole.pdf")]
    with Decoders(1, decode=fatal_pages.decode) as decoders:
        *own, behind = decoders.decode(jobs, SMALL, in_parts=True)
    assert [segment.words for segment, _ in behind.segments] == ["number 1"]
    return own


@pytest.mark.parametrize(
    ("name", "pages", "left"),
    [
        ("1.pdf", 4, [2, 3, 4]),
        ("3.pdf", 4, [1, 2, 4]),
        ("2-5.pdf", 5, [1, 3, 4]),
    ],
)
def test_only_pages_that_crash_the_process_are_lost(tmp_path, name, pages, left):
    own = outcomes(tmp_path, name, pages)
    segments = [segment for part in own for segment, _ in part.segments]
    assert [segment.page for segment in segments] == left
    assert [part.more for part in own] == [True] * (len(own) - 1) + [False]
    lost = f"{pages - len(left)} of its pages cannot be read: the decoder crashed (SIGSEGV)"
    assert with_losses(segments, own[-1].lost)[0].metadata.damaged == lost


def test_a_document_that_crashes_on_every_page_is_given_up(tmp_path):
    own = outcomes(tmp_path, "3-4-5-6-7-8-9.pdf", 9)
    assert [segment.page for part in own for segment, _ in part.segments] == [1, 2]
    assert own[-1].lost == "the decoder crashed (SIGSEGV)"


def test_a_document_that_cannot_be_opened_is_skipped(tmp_path):
    [skipped] = outcomes(tmp_path, "opening.pdf", 3)
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "the decoder crashed (SIGSEGV)"
