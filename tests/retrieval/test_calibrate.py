"""Which rows are shown: recorded scores of the real model, made-up libraries, the drawn world."""

import sys
from pathlib import Path

import numpy as np
import pytest

from qvsearch.retrieval.calibration import (
    ANSWERED,
    CUT,
    Baseline,
    baseline_between,
    baseline_of,
    calibrate,
    central_moments,
    evidence_by_kind,
    evidence_of,
    highest,
)
from qvsearch.types import Kind

IMAGE, VIDEO, TEXT = range(3)
NO_ROW = 255
GENERIC = Baseline(0.1, 0.1)  # of the made-up libraries below

# The 2B model's recorded cosines of two captions with ten photos, by photo.
MOPED = [0.5218, 0.0084, 0.2429, -0.1016, -0.0178, -0.0302, 0.0113, -0.0145, 0.1239, -0.0262]
BATHROOM = [0.0246, -0.1286, 0.0376, 0.2554, 0.0534, 0.0565, 0.5184, 0.4750, 0.0129, 0.4571]
NOT_BATHROOM = [0, 1, 2, 4, 5, 8]  # photo 3 is a kitchen
NOT_MOPED = [1, 3, 4, 5, 6, 7, 9]  # photos 2 and 8 have bicycles
# And of two questions with passages: the relevant ones, then the best of 821 that are not.
STORES = [0.7988, 0.7901, 0.7709, 0.7281, 0.7001], [0.5364, 0.4827, 0.4624, 0.4388, 0.4316]
BARTENDERS = (
    [0.8609, 0.8311, 0.8224, 0.8169, 0.8081, 0.8054, 0.7991, 0.7916],
    [0.5518, 0.5246],
)
PASSAGES = 821
SPREADS = (0.08, 0.1, 0.12)  # assumed of a baseline: those of unrelated photos are 0.1


def evidence(scores, baseline=GENERIC, kind=IMAGE, **options):
    scores = np.asarray(scores, np.float32)
    kinds = np.full(len(scores), kind, np.uint8)
    return calibrate(scores, kinds, {kind: baseline}, **options).evidence


def relevance(found):
    return 1 / (1 + np.exp(-found.astype(np.float64)))


def shown(*arguments, **options):
    found = evidence(*arguments, **options)
    if found.max(initial=-np.inf) < evidence_of(ANSWERED):
        return set()
    return set(np.flatnonzero(found >= evidence_of(CUT)).tolist())


# ------------------------------------------------------------------ recorded scores


@pytest.mark.parametrize("spread", SPREADS)
def test_photos_that_the_real_model_was_asked_for(spread):
    """Assumed: the baseline's centre is the median of the other caption's scores."""
    moped = Baseline(float(np.median(BATHROOM)), spread)
    bathroom = Baseline(float(np.median(MOPED)), spread)
    assert shown(MOPED, moped) == {0}
    found = evidence(BATHROOM, bathroom)
    kitchen = 3
    assert shown(BATHROOM, bathroom) - {kitchen} == {6, 7, 9}
    assert relevance(found)[[6, 7, 9]].min() > relevance(found)[kitchen] + 0.1


def test_photos_of_which_the_right_ones_are_gone_are_mostly_not_shown():
    silent = [
        not shown(np.array(scores)[rest], Baseline(float(np.median(other)), spread))
        for spread in SPREADS
        for scores, other, rest in (
            (MOPED, BATHROOM, NOT_MOPED),
            (BATHROOM, MOPED, NOT_BATHROOM),
        )
    ]
    assert np.mean(silent) > 0.6


def passages(relevant, best, centre, seed):
    """Assumed: the rest of the passages lie below the last recorded one, normally spread."""
    rng = np.random.default_rng(seed)
    count = PASSAGES - len(relevant) - len(best)
    rest = centre + (best[-1] - centre) / 2.3 * rng.standard_normal(count)  # 1 % lie above that
    return np.concatenate([relevant, best, np.minimum(rest, best[-1])])


@pytest.mark.parametrize(("relevant", "best"), [STORES, BARTENDERS])
def test_passages_that_the_real_model_was_asked_for(relevant, best):
    """Over the centres and spreads that the baseline may have; a near-miss may be shown as well."""
    recall, nearest = [], []
    for centre in (0.15, 0.2, 0.25):
        for spread in (0.08, 0.1):
            scores = passages(relevant, best, centre, 1)
            share = relevance(evidence(scores, Baseline(centre, spread), TEXT))
            recall.append(np.mean(share[: len(relevant)] >= CUT))
            nearest.append(share[len(relevant)] < share[: len(relevant)].min() - 0.1)
    assert np.mean(recall) > 0.7
    assert np.mean(nearest) > 0.7


def test_passages_of_which_the_right_ones_are_gone_are_mostly_not_shown():
    silent = [
        not shown(passages([], best, centre, 1), Baseline(centre, spread), TEXT)
        for _, best in (STORES, BARTENDERS)
        for centre in (0.15, 0.2, 0.25)
        for spread in (0.08, 0.1)
    ]
    assert np.mean(silent) > 0.5


def test_photos_and_passages_of_one_library_come_in_one_order():
    texts = passages(*STORES, 0.2, 1)
    scores = np.concatenate([MOPED, texts]).astype(np.float32)
    kinds = np.repeat(np.uint8([IMAGE, TEXT]), [10, PASSAGES])
    baselines = {IMAGE: Baseline(float(np.median(BATHROOM)), 0.1), TEXT: Baseline(0.2, 0.08)}
    found = calibrate(scores, kinds, baselines).evidence
    best = np.argsort(-found)[:8].tolist()
    assert {0, *range(10, 15)} <= set(best), "a photo at 0.52 is among texts at 0.8, 0.54 is not"
    assert (found[[0, *range(10, 15)]] >= evidence_of(CUT)).all()
    assert np.argmax(found[:10]) == 0


# ------------------------------------------------------------------ how many match


def library(rows, share, seed, *, level=0.1, spread=0.1, match=0.6, width=0.05):
    """Scores of a kind of which a share matches, around `match`; and which rows these are."""
    rng = np.random.default_rng(seed)
    matches = np.arange(rows) < round(share * rows)
    scores = np.where(matches, rng.normal(match, width, rows), rng.normal(level, spread, rows))
    return scores.clip(-1, 1).astype(np.float32), matches


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2, 0.5, 0.8, 1.0])
def test_any_share_of_a_library_may_match(share):
    recall = []
    for rows in (50, 500, 20_000):
        for seed in range(5):
            scores, matches = library(rows, share, seed)
            found = evidence(scores) >= evidence_of(CUT)
            recall.append((found & matches).sum() / matches.sum())
    assert np.mean(recall) > 0.8


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2, 0.8])
def test_few_others_are_shown_beside_a_share_that_matches(share):
    others = []
    for rows in (50, 500, 20_000):
        for seed in range(5):
            scores, matches = library(rows, share, seed)
            found = evidence(scores) >= evidence_of(CUT)
            others.append((found & ~matches).sum() / rows)
    assert np.mean(others) < 0.08


def test_nothing_is_shown_where_nothing_matches():
    sizes = (1, 2, 5, 50, 500, 20_000)
    found = [not shown(library(rows, 0, seed)[0]) for rows in sizes for seed in range(40)]
    silent = np.reshape(found, (len(sizes), 40)).mean(axis=1)
    assert silent.mean() >= 0.8
    assert silent.min() >= 0.6


@pytest.mark.parametrize("rows", [1, 2, 5, 50, 500, 20_000])
def test_a_single_far_match_is_shown_mostly_alone(rows):
    alone = 0
    for seed in range(20):
        scores, _ = library(rows, 0, seed)
        scores[0] = 0.8
        found = shown(scores)
        assert 0 in found
        alone += len(found) == 1
    assert alone >= 14, "of 20"


@pytest.mark.parametrize("level", [0.35, 0.45])
@pytest.mark.parametrize("rows", [50, 500, 5000])
def test_in_a_library_of_one_subject_its_queries_show_what_stands_out(rows, level):
    """Real models score all rows of such libraries 2.4 to 3.6 spreads above generic queries."""
    recall, others = [], []
    for seed in range(5):
        scores, matches = library(
            rows, 3 / rows, seed, level=level, spread=0.05, match=level + 0.35
        )
        found = evidence(scores) >= evidence_of(CUT)
        recall.append((found & matches).sum() / matches.sum())
        others.append((found & ~matches).sum() / rows)
    assert np.mean(recall) > 0.9
    assert np.mean(others) < 0.1


@pytest.mark.parametrize("rows", [50, 500, 5000])
def test_a_high_level_alone_is_no_certainty(rows):
    """All rows may match, or only be of the query's subject."""
    best = [evidence(library(rows, 0, seed, level=0.4, spread=0.05)[0]).max() for seed in range(5)]
    assert np.mean(relevance(np.array(best))) < 0.9


def test_the_tail_of_what_does_not_match_is_no_match():
    for steps in (1, 2, 4):  # from an exponential tail to a shorter one
        skewed = 0.05 * np.random.default_rng(1).gamma(steps, size=5000)
        baseline = Baseline(0.05 * steps, 0.05 * steps**0.5)
        assert len(shown(skewed.clip(0, 1), baseline)) <= 250


# ------------------------------------------------------------------ odd libraries and queries


@pytest.mark.parametrize("score", [-1.0, 0.0, 0.1, 0.2])
@pytest.mark.parametrize("rows", [1, 2, 7, 3000])
def test_equal_scores_at_the_level_of_generic_queries_are_no_answers(score, rows):
    assert shown(np.full(rows, score), Baseline(0.2, 0.1)) == set()


def test_a_library_of_one_row_answers_if_it_stands_far_above_generic_queries():
    for words in (1, 0.5, 0):
        assert shown([0.9], words=words) == {0}
        assert shown([0.1], words=words) == set()
        assert shown([-0.2], words=words) == set()


def test_a_kind_with_few_rows_among_thousands_is_measured_by_its_own_baseline():
    for few in (1, 2, 5):
        scores, _ = library(5000, 0.01, 1)
        texts = np.linspace(0.4, 0.45, few)
        kinds = np.repeat(np.uint8([IMAGE, TEXT]), [5000, few])
        baselines = {IMAGE: GENERIC, TEXT: Baseline(0.4, 0.08)}
        found = calibrate(np.float32([*scores, *texts]), kinds, baselines).evidence
        assert (found[5000:] < evidence_of(CUT)).all()
        texts[0] = 0.9
        found = calibrate(np.float32([*scores, *texts]), kinds, baselines).evidence
        assert np.flatnonzero(found[5000:] >= evidence_of(CUT)).tolist() == [0]


def test_a_picture_is_measured_against_pictures():
    """Two pictures are more alike than a picture and words."""
    rng = np.random.default_rng(1)
    scores = rng.normal(0.45, 0.06, 1000)
    pictures = Baseline(0.45, 0.06)
    assert len(shown(scores, pictures, words=0)) <= 5
    scores[3] = 0.98
    assert shown(scores, pictures, words=0) == {3}


def test_dead_rows_have_no_evidence_and_count_for_nothing():
    scores, _ = library(200, 0.1, 1)
    expected = evidence(scores)
    at = np.sort(np.random.default_rng(1).permutation(300)[:200])
    all_scores, kinds = np.full(300, -np.inf, np.float32), np.full(300, NO_ROW, np.uint8)
    all_scores[at], kinds[at] = scores, IMAGE
    found = calibrate(all_scores, kinds, {IMAGE: GENERIC}).evidence
    np.testing.assert_allclose(found[at], expected, atol=1e-4)
    assert np.isneginf(np.delete(found, at)).all()


def test_an_empty_library_has_no_evidence():
    assert evidence([]).shape == (0,)
    assert calibrate(np.empty(0, np.float32), np.empty(0, np.uint8), {}).levels == {}


# ------------------------------------------------------------------ the baseline


def test_a_baseline_is_taken_from_the_rows_that_have_one():
    known = np.float32([[0.1, 0.06], [np.nan, np.nan], [0.3, 0.08]])
    centre, spread = baseline_of(known)
    assert centre == pytest.approx(0.2)
    assert spread == pytest.approx(np.sqrt((0.06**2 + 0.08**2) / 2))
    assert baseline_of(np.full((3, 2), np.nan, np.float32)) is None
    assert baseline_of(np.float32([[0.1, 0]])).spread > 0


def test_a_file_says_nothing_of_itself_as_a_baseline():
    rng = np.random.default_rng(1)
    scores = rng.normal(0.3, 0.1, (200, 64)).astype(np.float32)
    same = np.zeros(scores.shape, np.bool_)
    plain = baseline_between(scores, same)
    assert plain.centre == pytest.approx(0.3, abs=0.01)
    assert plain.spread == pytest.approx(0.1, abs=0.01)
    same[np.arange(64), np.arange(64)] = True
    scores[same] = 1
    assert baseline_between(scores, same) == pytest.approx(plain, abs=0.002)
    assert baseline_between(np.float32([[1]]), np.array([[True]])) is None


def test_one_file_as_a_baseline_says_little_of_the_spread():
    scores = np.float32([[0.3], [0.31], [1]])
    centre, spread = baseline_between(scores, np.array([[False], [False], [True]]))
    assert centre == pytest.approx(0.305)
    assert 0.08 < spread < 0.12


@pytest.mark.parametrize("rows", [5, 50, 1000])
def test_without_a_baseline_scores_that_are_all_high_are_no_answers(rows):
    """As the 2B model scores texts that have nothing to do with words."""
    rng = np.random.default_rng(1)
    assert sum(bool(shown(rng.normal(0.5, 0.03, rows), None, TEXT)) for _ in range(20)) <= 8


def test_scale_and_shift_of_scores_and_baseline_together_change_nothing():
    scores, _ = library(1000, 0.1, 1)
    moved = evidence(scores * 0.5 + 0.4, Baseline(0.45, 0.05))
    np.testing.assert_allclose(moved, evidence(scores), atol=1e-3)


def test_each_kind_is_measured_by_itself():
    photos, texts = library(300, 0.1, 1)[0], library(200, 0, 2, level=0.5)[0]
    kinds = np.repeat(np.uint8([IMAGE, TEXT]), [300, 200])
    baselines = {IMAGE: GENERIC, TEXT: Baseline(0.5, 0.1)}
    order = np.random.default_rng(1).permutation(500)
    scores = np.concatenate([photos, texts])
    found = calibrate(scores[order], kinds[order], baselines)
    np.testing.assert_allclose(
        found.evidence[np.argsort(order)],
        np.concatenate([evidence(photos), evidence(texts, baselines[TEXT], TEXT)]),
        atol=1e-4,
    )
    for place, row in enumerate(order.tolist()[:20]):
        assert found.levels[int(kinds[order][place])].rows == (300 if row < 300 else 200)


# ------------------------------------------------------------------ the scale


@pytest.mark.parametrize("words", [1, 0.5, 0])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_evidence_strictly_increases_with_the_score(share, words):
    scores, _ = library(500, share, 1)
    scores = np.unique(scores.round(3))  # so far apart that half precision tells them apart
    assert (np.diff(evidence(scores, words=words)) > 0).all()


def test_relevance_is_graded():
    scores, matches = library(1000, 0.1, 1, match=0.5, width=0.1)
    assert len(set(relevance(evidence(scores))[matches].round(3).tolist())) > 20


def test_the_level_of_a_kind_is_what_its_scores_say():
    scores, _ = library(999, 0.1, 2)
    level = calibrate(scores, np.full(999, TEXT, np.uint8), {TEXT: GENERIC}).levels[TEXT]
    assert level.best == scores.max()
    assert level.median == np.median(scores)
    assert level.spread == pytest.approx(scores.std(), rel=0.02)
    above = scores - scores.mean(dtype=np.float64)
    assert level.skewness == pytest.approx((above**3).mean() / scores.std() ** 3, rel=0.05)
    assert (level.rows, level.baseline, level.words) == (999, GENERIC, 1)


def test_rows_taken_in_later_have_the_evidence_that_they_would_have_had():
    scores, _ = library(400, 0.1, 3)
    kinds = np.repeat(np.uint8([IMAGE, TEXT]), 200)
    baselines = {IMAGE: GENERIC, TEXT: Baseline(0.2, 0.1)}
    known = calibrate(scores, kinds, baselines)
    later = np.arange(50, 350, 7)
    rows_of = {code: np.flatnonzero(kinds[later] == code) for code in (IMAGE, TEXT)}
    again = evidence_by_kind(scores[later], rows_of, known.levels)
    np.testing.assert_allclose(again, known.evidence[later], atol=1e-4)


# ------------------------------------------------------------------ some rows for all


def test_moments_are_those_of_numpy():
    x = np.random.default_rng(1).gamma(2, size=1001).astype(np.float32)
    count, median, *central = central_moments(x, None)
    assert (count, median) == (1001, np.median(x))
    above = x - x.mean(dtype=np.float64)
    expected = [(above**order).mean() for order in range(2, 2 + len(central))]
    assert len(central) >= 2
    assert central == pytest.approx(expected, rel=1e-4)


def test_ranks_count_rows_from_the_best_and_end_with_the_last():
    scores = np.random.default_rng(1).permutation(100).astype(np.float32)
    assert highest(scores, None, [1, 5, 20, 100, 101]) == [99, 95, 80, 0, 0]
    weights = np.where(scores >= 90, 1, 5).astype(np.float32)  # 10 rows, then 5 for each score
    assert highest(scores, weights, [1, 10, 11, 15, 16, 1000]) == [99, 90, 89, 89, 88, 0]


def test_a_weight_stands_for_so_many_rows():
    rng = np.random.default_rng(1)
    x = rng.gamma(2, size=301).astype(np.float32)
    times = rng.integers(0, 5, 301)
    repeated = np.repeat(x, times)
    some = central_moments(x[times > 0], times[times > 0].astype(np.float32))
    np.testing.assert_allclose(some, central_moments(repeated, None), rtol=1e-5)
    scores = (x / 10).clip(0, 1)
    found = evidence(scores, weights=times.astype(np.float32))
    assert np.isneginf(found[times == 0]).all()
    np.testing.assert_allclose(
        np.repeat(found, times), evidence(np.repeat(scores, times)), atol=1e-4
    )


@pytest.mark.parametrize("matching", [0, 3, 50, 1000, 20_000])
def test_a_sample_and_the_best_rows_stand_for_all(matching):
    """As a large library is searched: the best rows count once, the sample for all the others."""
    rows, best, sample = 100_000, 1000, 4096
    rng = np.random.default_rng(matching)
    scores = rng.normal(0.1, 0.08, rows).astype(np.float32)
    scores[:matching] = rng.normal(0.5, 0.05, matching)
    top = np.argsort(-scores)[:best]
    rest = np.setdiff1d(rng.choice(rows, sample, replace=False), top)
    weights = np.zeros(rows, np.float32)
    weights[rest] = (rows - best) / len(rest)
    weights[top] = 1
    baseline = Baseline(0.1, 0.09)
    every = relevance(evidence(scores, baseline))
    some = evidence(scores, baseline, weights=weights)
    known = some > -np.inf
    apart = np.abs(relevance(some[known]) - every[known])
    assert apart.max() < 0.25  # the moments of a sample are noisy
    assert apart.mean() < 0.05


# ------------------------------------------------------------------ the drawn world


@pytest.mark.quality
def test_relevance_beats_one_threshold_on_the_drawn_world(monkeypatch, tmp_path):
    """The benchmark in small; tests/bench/relevance.py prints the figures of the whole."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "bench"), *sys.path])
    import relevance as bench

    pool = bench.make_pool(count=100, seed=8)
    found = list(bench.cases(pool, bench.WORLDS, (50, 400), 3))
    scored = [bench.relevance(case) for case in found]
    ours, best, everywhere, _ = (np.array(values) for values in bench.ways(found, scored).values())
    cells = list(bench.by_cell(found).values())

    for case in found[::50]:  # the thresholds of the hindsight, one by one
        z = bench.standardised(case)
        expected = [bench.value(z >= threshold, case.matches) for threshold in bench.THRESHOLDS]
        assert bench.at_thresholds(z, case.matches) == pytest.approx(expected)

    def mean(values, *, matching):
        some = [each for each in cells if found[each[0]].matches.any() in matching]
        return np.mean([values[each].mean() for each in some])

    assert mean(ours, matching=[True]) > mean(everywhere, matching=[True]) + 0.1
    assert mean(ours, matching=[True, False]) > mean(everywhere, matching=[True, False]) + 0.05
    assert mean(ours, matching=[True]) > 0.5
    assert mean(ours, matching=[False]) > 0.5
    # kinds whose scores lie apart need several thresholds; one for all is beaten there
    alike = [each for each in cells if found[each[0]].world in ("pictures", "copies", "twins")]
    assert np.mean([(best - ours)[each].mean() for each in alike]) > 0
    assert bench.calibration_error(bench.reliability(found, scored)) < 0.1


def test_kinds_are_places_in_the_table_of_kinds():
    assert [list(Kind)[place] for place in (IMAGE, VIDEO, TEXT)] == ["image", "video", "text"]
