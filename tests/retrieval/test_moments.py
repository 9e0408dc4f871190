import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvsearch.retrieval.calibration import relevance_of
from qvsearch.retrieval.hits import GAP, SHOWN, Scored, moments
from qvsearch.types import Item, Kind, Segment

FILM = Item(b"/films", b"a.mp4", Kind.VIDEO, 1, 1)
BOOK = Item(b"/books", b"a.txt", Kind.TEXT, 1, 1)


def frame(start, end, evidence, *, clip=False):
    return Scored(evidence, evidence / 100, Segment(FILM, "00", start, end, clip=clip))


def spans(found):
    return [(each.start, each.end) for each in found]


def test_neighbours_that_answer_are_one_moment_and_the_rest_stay_apart():
    film = [frame(0, 2, -4), frame(2, 4, 3), frame(4, 6, 5), frame(6, 8, 2), frame(8, 10, -1)]
    best, *others = moments(film)
    assert (best.start, best.end) == (2, 8)
    assert (best.segment.start, best.relevance, best.score) == (4, relevance_of(5), 0.05)
    assert spans(others) == [(8, 10), (0, 2)]


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    near = [frame(0, 2, 3), frame(2, 2 + GAP, -1), frame(2 + GAP, 5, 3)]
    far = [frame(0, 2, 3), frame(2, 3 + GAP, -1), frame(3 + GAP, 5, 3)]
    assert spans(moments(near))[0] == (0, 5)
    assert set(spans(moments(far))[:2]) == {(0, 2), (3 + GAP, 5)}


def test_where_nothing_answers_nothing_is_joined():
    film = [frame(n, n + 1, -5.0 - n) for n in range(4)]
    assert spans(moments(film)) == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_clip_is_narrowed_to_its_best_frame():
    frames = [frame(n, n + 1, -3.0 if n != 7 else -1.0) for n in range(10)]
    clips = [frame(0, 5, -4, clip=True), frame(5, 10, 6, clip=True)]
    best, *others = moments(frames + clips)
    assert (best.start, best.end) == (7, 8)
    assert best.relevance == relevance_of(6)
    assert best.segment.clip
    assert len(others) == 9  # the other frames; the clip that does not answer is none of its own


def test_a_clip_raises_the_stretch_that_shows_it():
    frames = [frame(0, 1, -3), frame(1, 2, 2), frame(2, 3, 3), frame(3, 4, -3)]
    best = moments([*frames, frame(0, 4, 8, clip=True)])[0]
    assert (best.start, best.end, best.relevance) == (1, 3, relevance_of(8))


def test_clips_alone_are_joined_as_frames_are():
    clips = [frame(0, 5, 3, clip=True), frame(5, 10, 4, clip=True), frame(10, 15, -4, clip=True)]
    assert spans(moments(clips)) == [(0, 10), (10, 15)]


def test_passages_stay_apart_and_have_no_times():
    passages = [Scored(e, 0.1, Segment(BOOK, "00", lines=(n, n + 1))) for n, e in enumerate((3, 5))]
    found = moments(passages)
    assert [each.segment.lines for each in found] == [(1, 2), (0, 1)]
    assert spans(found) == [(None, None)] * 2


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.5, 20), st.floats(-9, 9)), min_size=1, max_size=30),
    st.lists(st.floats(-9, 9), max_size=5),
)
def test_moments_never_overlap_lose_a_second_or_hide_the_best(frames, clips):
    ends = list(itertools.accumulate(length for length, _ in frames))
    film = [
        frame(start, end, evidence)
        for start, end, (_, evidence) in zip([0.0, *ends], ends, frames, strict=False)
    ]
    edges = [ends[-1] * n / max(1, len(clips)) for n in range(len(clips) + 1)]
    film += [
        frame(a, b, evidence, clip=True)
        for a, b, evidence in zip(edges, edges[1:], clips, strict=False)
    ]
    found = moments(film)
    ordered = sorted(spans(found))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ordered))
    assert sum(end - start for start, end in ordered) == pytest.approx(ends[-1])
    best = max(each.evidence for each in film if not each.segment.clip or each.evidence >= SHOWN)
    assert found[0].relevance == pytest.approx(relevance_of(best))


def test_a_photo_stays_apart_from_the_moments_of_its_film():
    photo = Item(b"/photos", b"a.jpg", Kind.IMAGE, 1, 1)
    found = moments(
        Scored(evidence, 0.1, Segment(photo, "00", start, end))
        for start, end, evidence in ((None, None, 3), (0, 2, 2), (2, 4, 5))
    )
    assert spans(found) == [(0, 4), (None, None)]
