"""Hits become numbered sources: whole passages, pictures at a budget, frames of their moment."""

import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.coloured_pages import colour_of, write_pdf
from support.motion_photos import STILL, written
from support.videos import frame_of, make, number_in

from qvsearch import media
from qvsearch.cli.ask import _place
from qvsearch.errors import MediaError
from qvsearch.files import content_hash
from qvsearch.media import workers
from qvsearch.tasks.answers import evidence
from qvsearch.tasks.answers.evidence import FRAMES, LEAST_SOURCES, read_evidence
from qvsearch.tasks.answers.question import question_prompt, shown_prompt
from qvsearch.types import DecodeOptions, Detail, Hit, Item, Moment, Skipped, kind_of

RATE = 10


class DecodersHere:
    """Decodes in this process: starting another costs more than all that is tested with it."""

    def __init__(self, decode):
        self.decode_one = decode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def decode(self, jobs, options):
        for item, digest in jobs:
            try:
                yield self.decode_one(item, digest, options)
            except MediaError as error:
                yield Skipped(item.location, str(error))


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(workers, "Decoders", DecodersHere)


def segments_of(path):
    status = os.stat(path)
    location = os.fsencode(path)
    item = Item(
        os.path.dirname(location),
        os.path.basename(location),
        kind_of(location),
        status.st_size,
        status.st_mtime_ns,
    )
    digest = content_hash(location, item.size)
    return [
        each
        for each, _ in media.decode(item, digest, DecodeOptions(Detail.LOW.max_pixels)).segments
    ]


def hit(segment, rank=1, relevance=0.9, moments=(), start=None, end=None):
    return Hit(rank, relevance, 0.5, segment, start, end, tuple(moments))


def moment(segment, relevance):
    return Moment(relevance, 0.4, segment, segment.start, segment.end)


def sources_of(*hits, detail=Detail.LOW):
    found = read_evidence(hits, detail)
    assert found.skipped == ()
    return found.sources


def paragraphs(count, words=150):
    return "\n\n".join(f"Part {n}. " + "word " * words + f"end {n}" for n in range(count)) + "\n"


@pytest.mark.usefixtures("here")
def test_a_passage_is_whole(tmp_path):
    path = tmp_path / "long.md"
    path.write_text(paragraphs(9))
    segments = segments_of(path)
    assert len(segments) > 2
    (source,) = sources_of(hit(segments[1]))
    assert len(source.text) > 3 * len(segments[1].snippet)
    first, last = segments[1].lines
    lines = path.read_text().splitlines()[first - 1 : last]
    assert source.text == "\n".join(lines)
    assert (source.number, source.relevance, source.pictures) == (1, 0.9, ())


@pytest.mark.usefixtures("here")
def test_passages_of_one_long_line_are_told_apart(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text(" ".join(f"Sentence {n} is about number {n}." for n in range(400)))
    segments = segments_of(path)
    assert {each.lines for each in segments} == {(1, 1)}
    chosen = [segments[0], segments[2]]
    sources = sources_of(*(hit(each, rank) for rank, each in enumerate(chosen, start=1)))
    for source, segment in zip(sources, chosen, strict=True):
        assert source.text.startswith(segment.snippet)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("detail", Detail)
def test_a_picture_has_the_pixels_of_the_detail(tmp_path, detail):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).resize((1600, 1200)).save(tmp_path / "a.jpg")
    (segment,) = segments_of(tmp_path / "a.jpg")
    (source,) = sources_of(hit(segment), detail=detail)
    (picture,) = source.pictures
    assert 0.8 * detail.max_pixels < picture.size / 3 <= detail.max_pixels
    assert source.tokens == picture.size // 3 // 1024


def test_frames_are_those_of_the_moment(tmp_path):
    path = tmp_path / "film.mp4"
    make(str(path), [frame_of(n) for n in range(200)], rate=RATE, keyframe_every=25)
    (segment, *_) = segments_of(path)
    moments = {(3.0, 13.0): FRAMES, (7.0, 9.0): 2, (12.4, 12.6): 1, (4.0, 12.0): FRAMES}
    hits = [hit(segment, rank, start=a, end=b) for rank, (a, b) in enumerate(moments, start=1)]
    sources = sources_of(*hits)
    for source, ((start, end), count) in zip(sources, moments.items(), strict=True):
        shown = [number_in(each) / RATE for each in source.pictures]
        assert len(shown) == count
        assert shown == pytest.approx(source.times, abs=1 / RATE)
        assert all(start <= time < end for time in source.times)
        assert (source.start, source.end) == (start, end)
    # evenly spread: the middles of four equal parts
    assert sources[3].times == pytest.approx((5.0, 7.0, 9.0, 11.0))


@pytest.mark.usefixtures("here")
def test_a_photo_and_the_film_within_it_are_two_sources(tmp_path):
    (photo,) = segments_of(written(tmp_path))
    film = replace(photo, start=1.0, end=2.0)
    still, filmed = sources_of(hit(photo, moments=[moment(film, 0.8)]))
    assert abs(still.pictures[0].reshape(-1, 3).astype(int) - STILL).max() < 12
    assert (still.start, still.times) == (None, ())
    assert [number_in(each) / RATE for each in filmed.pictures] == pytest.approx(
        filmed.times, abs=1 / RATE
    )
    assert (filmed.start, filmed.end) == (1.0, 2.0)
    assert (_place(still), _place(filmed)) == ("", ", 00:01-00:02")


@pytest.mark.usefixtures("here")
def test_frames_of_a_moment_share_the_pixels_of_two_pictures(tmp_path):
    path = tmp_path / "film.mp4"
    make(str(path), [frame_of(n, (792, 600)) for n in range(50)], rate=RATE)
    (segment, *_) = segments_of(path)
    hits = [hit(segment, 1, start=0.0, end=5.0), hit(segment, 2, start=0.0, end=1.0)]
    several, one = read_evidence(hits, Detail.LOW).sources
    budget = Detail.LOW.max_pixels
    assert len(several.pictures) == FRAMES
    assert 1.6 * budget < sum(each.size // 3 for each in several.pictures) <= 2 * budget
    assert 0.8 * budget < one.pictures[0].size // 3 <= budget


@pytest.mark.usefixtures("here")
def test_a_moment_past_the_end_of_a_damaged_video_is_skipped(tmp_path):
    path = tmp_path / "film.mp4"
    make(str(path), [frame_of(n) for n in range(30)], rate=RATE)
    (segment, *_) = segments_of(path)
    found = read_evidence([hit(segment, start=50.0, end=52.0)], Detail.LOW)
    assert found.sources == ()
    assert found.skipped[0].reason == "no frame of the moment could be decoded"


@pytest.mark.usefixtures("here")
def test_few_hits_leave_room_for_other_passages_of_their_files(tmp_path):
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(paragraphs(14) + name)
    one, two = segments_of(tmp_path / "a.md"), segments_of(tmp_path / "b.md")
    others = [moment(each, 0.5 + 0.01 * n) for n, each in enumerate(one[1:6])]
    more = [moment(two[1], 0.8), moment(two[2], 0.4)]
    sources = sources_of(hit(one[0], 1, 0.9, others), hit(two[0], 2, 0.7, more))
    assert [each.number for each in sources] == list(range(1, LEAST_SOURCES + 1))
    names = [each.segment.item.path for each in sources]
    assert names == [b"a.md"] * 6 + [b"b.md"] * 2  # 0.4, the least relevant, is left out
    assert [each.segment for each in sources[6:]] == [two[0], two[1]]


@pytest.mark.usefixtures("here")
def test_what_would_make_the_prompt_too_long_is_left_out(tmp_path, monkeypatch):
    hits = []
    for rank in range(1, 5):
        path = tmp_path / f"{rank}.md"
        path.write_text(f"{rank} " + "word " * 100)
        hits.append(hit(segments_of(path)[0], rank))
    monkeypatch.setattr(evidence, "MOST_TOKENS", 400)
    found = read_evidence(hits, Detail.LOW)
    assert len(found.sources) == 2
    assert found.left_out == 2
    assert sum(each.tokens for each in found.sources) <= 400
    monkeypatch.setattr(evidence, "MOST_TOKENS", 1)
    assert len(read_evidence(hits, Detail.LOW).sources) == 1  # one is always there


def test_a_file_that_has_changed_or_gone_is_skipped_and_the_others_are_numbered_anew(tmp_path):
    hits = []
    for rank, name in enumerate(["changed.md", "gone.md", "same.md"], start=1):
        (tmp_path / name).write_text(f"about {name}")
        hits.append(hit(segments_of(tmp_path / name)[0], rank))
    (tmp_path / "changed.md").write_text("secret")
    (tmp_path / "gone.md").unlink()
    found = read_evidence(hits, Detail.LOW)
    assert [(each.number, each.text) for each in found.sources] == [(1, "about same.md")]
    assert [(os.path.basename(each.path), each.reason) for each in found.skipped] == [
        (b"changed.md", "changed since it was indexed"),
        (b"gone.md", "no longer there"),
    ]


@pytest.mark.usefixtures("here")
def test_a_link_to_another_file_in_the_place_of_a_hit_is_not_read(tmp_path):
    (tmp_path / "note.md").write_text("about a boat")
    segment = segments_of(tmp_path / "note.md")[0]
    secret = tmp_path / "secret"
    secret.write_text("a pass word!")  # of the same length
    os.utime(secret, ns=(segment.item.mtime_ns, segment.item.mtime_ns))
    (tmp_path / "note.md").unlink()
    (tmp_path / "note.md").symlink_to(secret)
    found = read_evidence([hit(segment)], Detail.LOW)
    assert found.sources == ()
    assert found.skipped[0].reason == "changed since it was indexed"


@pytest.mark.usefixtures("here")
def test_a_passage_that_this_version_cuts_otherwise_is_skipped(tmp_path):
    (tmp_path / "a.md").write_text("about a boat")
    (segment,) = segments_of(tmp_path / "a.md")
    found = read_evidence([hit(replace(segment, lines=(1, 3)))], Detail.LOW)
    assert found.sources == ()
    assert found.skipped[0].reason.startswith("an older version indexed it; bring it up to date")


@pytest.mark.usefixtures("here")
def test_the_row_keeps_its_metadata(tmp_path):
    (tmp_path / "a.md").write_text("about a boat")
    (segment,) = segments_of(tmp_path / "a.md")
    dated = replace(segment, metadata=replace(segment.metadata, taken="2023-07-04"))
    (source,) = sources_of(hit(dated))
    assert source.segment.metadata.taken == "2023-07-04"


@pytest.mark.usefixtures("here")
def test_pages_are_pictures_with_their_text(tmp_path):
    path = write_pdf(tmp_path / "a.pdf", ("red", "Invoice 17"), ("green", "Terms"), ("blue", "End"))
    segments = segments_of(path)
    second = hit(segments[1], moments=[moment(segments[2], 0.6)])
    sources = sources_of(second)
    assert [(each.segment.page, each.text) for each in sources] == [(2, "Terms"), (3, "End")]
    assert [colour_of(*each.pictures) for each in sources] == ["green", "blue"]
    assert 'part="page 2"' in shown_prompt(question_prompt("Which terms?", sources))
