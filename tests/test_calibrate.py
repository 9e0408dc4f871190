"""What the cut shows: recorded scores of the real model, made-up libraries, the drawn world."""

import sys
from pathlib import Path

import numpy as np
import pytest

from qvsearch.calibrate import MATCHED, calibrate, relevance
from qvsearch.types import Kind

IMAGE, VIDEO, TEXT = range(3)
NO_ROW = 255

# The 2B model's recorded cosines of two captions with ten photos, by photo.
MOPED = [0.5218, 0.0084, 0.2429, -0.1016, -0.0178, -0.0302, 0.0113, -0.0145, 0.1239, -0.0262]
BATHROOM = [0.0246, -0.1286, 0.0376, 0.2554, 0.0534, 0.0565, 0.5184, 0.4750, 0.0129, 0.4571]
# And of two questions with passages: the relevant ones, then the best of 821 that are not.
STORES = [0.7988, 0.7901, 0.7709, 0.7281, 0.7001], [0.5364, 0.4827, 0.4624, 0.4388, 0.4316]
BARTENDERS = (
    [0.8609, 0.8311, 0.8224, 0.8169, 0.8081, 0.8054, 0.7991, 0.7916],
    [0.5518, 0.5246],
)
PASSAGES = 821


def backgrounds(mean, spread, rows):
    return np.stack([np.broadcast_to(mean, rows), np.full(rows, spread)], 1).astype(np.float32)


def unknown(rows):
    return np.full((rows, 2), np.nan, np.float32)


def evidence(scores, known=None, kind=IMAGE, **options):
    scores = np.asarray(scores, np.float32)
    kinds = np.broadcast_to(np.uint8(kind), len(scores))
    known = unknown(len(scores)) if known is None else known
    return calibrate(scores, kinds, known, **options).evidence


def shown(*arguments, **options):
    return set(np.flatnonzero(evidence(*arguments, **options) >= 0).tolist())


# ------------------------------------------------------------------ recorded scores


def photo_backgrounds(other, spread):
    """Assumed: the bank has the other recorded query, and 63 with which a photo scores as most do.

    So a row's mean moves by a 64th of what the record says. How wide a bank's scores are it does
    not say; those recorded of unrelated photos are 0.1 wide, and a range from there up is tried.
    """
    other = np.array(other)
    return backgrounds(np.median(other) + (other - np.median(other)) / 64, spread, len(other))


@pytest.mark.parametrize("spread", [0.1, 0.12, 0.14])
def test_photos_that_the_real_model_was_asked_for(spread):
    moped, bathroom = photo_backgrounds(BATHROOM, spread), photo_backgrounds(MOPED, spread)
    assert shown(MOPED, moped) == {0}
    assert shown(BATHROOM, bathroom) == {6, 7, 9}
    others = [1, 3, 4, 5, 6, 7, 9]  # no moped, no bicycles
    assert shown(np.array(MOPED)[others], moped[others]) == set()
    others = [0, 1, 2, 4, 5, 8]  # no bathroom, no kitchen
    assert shown(np.array(BATHROOM)[others], bathroom[others]) == set()


def test_photos_in_a_library_without_a_bank():
    assert shown(MOPED) == {0}
    assert shown(np.array(MOPED)[[1, 3, 4, 5, 6, 7, 9]]) == set()


def passages(relevant, best, centre, seed):
    """Assumed: the rest of the passages lie below the last recorded one, normally spread."""
    rng = np.random.default_rng(seed)
    count = PASSAGES - len(relevant) - len(best)
    rest = centre + (best[-1] - centre) / 2.3 * rng.standard_normal(count)  # 1 % lie above that
    return np.concatenate([relevant, best, np.minimum(rest, best[-1])])


@pytest.mark.parametrize("centre", [0.15, 0.2, 0.25])
@pytest.mark.parametrize(("relevant", "best"), [STORES, BARTENDERS])
def test_passages_that_the_real_model_was_asked_for(relevant, best, centre):
    scores = passages(relevant, best, centre, 1)
    rng = np.random.default_rng(2)
    known = backgrounds(centre + 0.02 * rng.standard_normal(PASSAGES), 0.08, PASSAGES)
    for each in (known, None):
        assert shown(scores, each, TEXT) == set(range(len(relevant)))
    answer_gone = slice(len(relevant), None)
    assert shown(scores[answer_gone], known[answer_gone], TEXT) == set()


def test_photos_and_passages_of_one_library_come_in_one_order():
    texts = passages(*STORES, 0.2, 1)
    scores = np.concatenate([MOPED, texts]).astype(np.float32)
    kinds = np.repeat(np.uint8([IMAGE, TEXT]), [10, PASSAGES])
    known = np.concatenate([photo_backgrounds(BATHROOM, 0.1), backgrounds(0.2, 0.08, PASSAGES)])
    found = calibrate(scores, kinds, known)
    best = set(np.argsort(-found.evidence)[:6].tolist())
    assert best == {0, *range(10, 15)}, "a photo at 0.52 is among texts at 0.8, before 0.54"
    assert found.evidence[1] < 0
    assert found.evidence[15] < 0


# ------------------------------------------------------------------ how many match


def library(rows, share, seed, *, level=0.1, spread=0.1, match=0.6, width=0.05):
    """Scores of a kind of which a share matches, around `match`; and which rows these are."""
    rng = np.random.default_rng(seed)
    matches = np.arange(rows) < round(share * rows)
    scores = np.where(matches, rng.normal(match, width, rows), rng.normal(level, spread, rows))
    known = backgrounds(level + 0.02 * rng.standard_normal(rows), spread, rows)
    return scores.clip(-1, 1).astype(np.float32), known, matches


@pytest.mark.parametrize("rows", [50, 500, 20_000])
@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8, 1.0])
def test_any_share_of_a_library_may_match(rows, share):
    for seed in range(5):
        scores, known, matches = library(rows, share, seed)
        found = evidence(scores, known) >= 0
        assert (found & matches).sum() >= 0.95 * matches.sum()
        assert (found & ~matches).sum() <= 0.02 * rows


@pytest.mark.parametrize("rows", [1, 2, 5, 50, 500, 20_000])
def test_where_nothing_matches_nothing_is_shown(rows):
    wrong = 0
    for seed in range(40):
        scores, known, _ = library(rows, 0, seed)
        wrong += bool(shown(scores, known)) + bool(shown(scores))
    assert wrong <= 8, "of 80"


@pytest.mark.parametrize("rows", [1, 2, 5, 50, 500, 20_000])
def test_a_single_match_is_shown_alone(rows):
    beside = 0
    for seed in range(20):
        scores, known, _ = library(rows, 0, seed)
        scores[0] = 0.75
        found = shown(scores, known)
        assert 0 in found
        beside += len(found) - 1
    assert beside <= 2


def test_a_query_that_says_nothing_shows_nothing_however_narrow_its_scores():
    rng = np.random.default_rng(1)
    scores = rng.normal(0.16, 0.01, 500)
    scores[:3] = 0.22  # six of its own spreads, half of one of the bank's
    assert shown(scores, backgrounds(0.1, 0.1, 500)) == set()


def test_the_tail_of_what_does_not_match_is_no_match():
    rng = np.random.default_rng(1)
    for steps in (1, 2, 4):  # from an exponential tail to a shorter one
        skewed = 0.05 * rng.gamma(steps, size=5000)
        known = backgrounds(0.05 * steps, 0.05 * steps**0.5, 5000)
        assert len(shown(skewed.clip(0, 1), known)) <= 50


def test_a_row_that_scores_high_with_everything_is_held_back():
    scores, known, _ = library(500, 0, 3)
    hub, own = 5, 6
    known[hub, 0] = 0.45
    scores[[hub, own]] = 0.62
    assert shown(scores, known) == {own}


# ------------------------------------------------------------------ odd libraries and queries


@pytest.mark.parametrize("score", [-1.0, 0.0, 0.2, 0.25])
@pytest.mark.parametrize("rows", [1, 2, 7, 3000])
def test_equal_scores_at_the_level_of_other_queries_are_no_answers(score, rows):
    assert shown(np.full(rows, score), backgrounds(0.2, 0.1, rows)) == set()
    assert shown(np.full(rows, score)) == set()


def test_a_library_of_one_row_answers_where_it_stands_far_above_the_bank():
    assert shown([0.9], backgrounds(0.1, 0.1, 1)) == {0}
    assert shown([0.25], backgrounds(0.1, 0.1, 1)) == set()
    assert shown([1.0], backgrounds(0.1, 0.1, 1), worded=False) == {0}
    assert shown([0.4], backgrounds(0.1, 0.1, 1), worded=False) == set()


@pytest.mark.parametrize("few", [1, 2, 5])
def test_a_kind_with_few_rows_among_thousands_is_judged_by_the_bank(few):
    scores, known, _ = library(5000, 0.01, 1)
    texts = np.linspace(0.4, 0.45, few)
    kinds = np.repeat(np.uint8([IMAGE, TEXT]), [5000, few])
    both = np.concatenate([known, backgrounds(0.4, 0.08, few)])
    found = calibrate(np.float32([*scores, *texts]), kinds, both).evidence
    assert (found[5000:] < 0).all()
    texts[0] = 0.9
    found = calibrate(np.float32([*scores, *texts]), kinds, both).evidence
    assert (np.flatnonzero(found[5000:] >= 0) == [0]).all()


def test_a_picture_is_not_held_to_the_level_of_words():
    """Two pictures are more alike than a picture and words: their level is the query's own."""
    rng = np.random.default_rng(1)
    scores = rng.normal(0.45, 0.06, 1000)
    known = backgrounds(0.05 + 0.02 * rng.standard_normal(1000), 0.1, 1000)
    scores[[3, 4]] = 0.98, 0.8
    assert shown(scores, known, worded=False) == {3, 4}
    assert shown(np.delete(scores, [3, 4]), np.delete(known, [3, 4], 0), worded=False) == set()


def test_dead_rows_have_no_evidence_and_count_for_nothing():
    scores, known, _ = library(200, 0.1, 1)
    expected = evidence(scores, known)
    at = np.sort(np.random.default_rng(1).permutation(300)[:200])
    all_scores, kinds = np.full(300, -np.inf, np.float32), np.full(300, NO_ROW, np.uint8)
    all_known = unknown(300)
    all_scores[at], kinds[at], all_known[at] = scores, IMAGE, known
    found = calibrate(all_scores, kinds, all_known)
    np.testing.assert_allclose(found.evidence[at], expected, rtol=1e-5)
    assert np.isneginf(np.delete(found.evidence, at)).all()
    assert (np.delete(found.relevance, at) == 0).all()


def test_an_empty_library_has_no_evidence():
    assert evidence([]).shape == (0,)


def test_rows_without_a_background_beside_rows_with_one():
    scores, known, matches = library(500, 0.1, 1)
    known[::2] = np.nan
    found = evidence(scores, known) >= 0
    assert (found & matches).sum() >= 0.95 * matches.sum()
    assert (found & ~matches).sum() <= 5


# ------------------------------------------------------------------ the scale


def test_evidence_is_graded_and_in_the_order_of_scores_for_equal_rows():
    scores, _, matches = library(1000, 0.1, 1)
    found = evidence(scores, backgrounds(0.1, 0.1, 1000))
    order = np.argsort(scores)
    assert (np.diff(found[order]) >= 0).all()
    shares = relevance(found[matches])
    assert 0.9 < np.median(shares) < 0.98
    assert len(set(shares.round(3).tolist())) > 20
    assert relevance(np.float32([0, np.log(19), -np.inf])).tolist() == pytest.approx([0.5, 0.95, 0])


def test_a_kind_means_the_same_wherever_its_scores_lie():
    scores, known, _ = library(1000, 0.1, 1)
    expected = evidence(scores, known)
    moved = evidence(scores * 0.5 + 0.4, known * [0.5, 0.5] + [0.4, 0])
    np.testing.assert_allclose(moved, expected, atol=0.05)


def test_a_rows_account_adds_up():
    scores, known, _ = library(500, 0.1, 2)
    kinds = np.repeat(np.uint8([IMAGE, TEXT]), 250)
    found = calibrate(scores, kinds, known)
    for row in (0, 100, 300):
        told = found.row(row)
        assert told.score == pytest.approx(scores[row])
        assert told.background == pytest.approx(tuple(known[row]))
        assert told.evidence == found.evidence[row]
        assert told.relevance == pytest.approx(found.relevance[row])
        level = told.kind
        assert level is found.levels[kinds[row]]
        assert told.deviations == pytest.approx((told.adjusted - level.centre) / level.spread)
        step = (told.adjusted - level.cut) / (level.middle - level.cut)
        assert told.evidence == pytest.approx(MATCHED * step, abs=1e-4)
        assert told.own_deviations == pytest.approx((scores[row] - known[row, 0]) / known[row, 1])
    assert 45 <= found.levels[IMAGE].matching <= 55
    assert found.levels[TEXT].matching == 0
    bare = calibrate(scores, kinds, unknown(500)).row(0)
    assert bare.background is None
    assert bare.own_deviations is None


def test_kinds_are_places_in_the_table_of_kinds():
    assert [list(Kind)[place] for place in (IMAGE, VIDEO, TEXT)] == ["image", "video", "text"]


# ------------------------------------------------------------------ the drawn world


def test_the_cut_beats_the_best_fixed_one_on_the_drawn_world(monkeypatch, tmp_path):
    """The benchmark in small; its own figures are printed by tests/bench/relevance.py."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent / "bench"), *sys.path])
    import relevance as bench

    pool = bench.make_pool("demo", items=200, asked=8)
    found = list(bench.cases(pool, (50, 400), 8, gap=True))
    counts = {
        name: bench.mean_of_groups(
            found, np.array([bench.value(s, c.matches) for s, c in zip(cut, found, strict=True)])
        )
        for name, cut in bench.ways(found).items()
    }
    ours, one, _ = counts.values()
    assert ours > one + 0.05
    assert ours > 0.6
