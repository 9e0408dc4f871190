import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvsearch.retrieval.calibration import combine, evidence_of, relevance_of

log_odds = st.floats(-30, 30, width=32)


def rows(*values):
    return np.array(values, np.float32)


def test_relevance_is_the_probability_of_the_log_odds_and_back():
    assert relevance_of(0) == 0.5
    assert relevance_of(np.log(3)) == pytest.approx(0.75)
    assert evidence_of(0.75) == pytest.approx(np.log(3))
    assert (evidence_of(0), evidence_of(1)) == (-np.inf, np.inf)
    assert relevance_of(-1000) == 0


def test_one_term_is_taken_as_it_is():
    evidence = rows(-3, 0, 5, -np.inf)
    assert combine([(1.0, evidence)], []).tolist() == evidence.tolist()


def test_several_wanted_terms_count_by_their_weighted_mean():
    found = combine([(1.0, rows(4, -4)), (3.0, rows(0, 4))], [])
    assert found.tolist() == [1, 2]


@settings(deadline=None)
@given(log_odds, st.lists(st.tuples(st.floats(0.1, 3), log_odds), min_size=1, max_size=3))
def test_what_is_unwanted_takes_its_share_of_the_probability(wanted, unwanted):
    terms = [(weight, rows(evidence)) for weight, evidence in unwanted]
    found = combine([(1.0, rows(wanted))], terms)[0]
    # the formula as written, in plain probabilities
    expected = 1 / (1 + np.exp(-np.float64(wanted)))
    for weight, evidence in unwanted:
        expected *= (1 / (1 + np.exp(np.float64(evidence)))) ** weight
    assert relevance_of(float(found)) == pytest.approx(expected, rel=1e-4, abs=1e-12)
    assert found <= wanted + 1e-4


def test_an_unwanted_row_falls_below_the_cut_however_well_it_answers_and_others_keep_their_order():
    wanted, unwanted = rows(12, 9, 6, 3), rows(6, -9, -9, -9)
    found = combine([(1.0, wanted)], [(1.0, unwanted)])
    assert found[0] < 0
    assert (np.diff(found[1:]) < 0).all()
    assert (found[1:] > 0).all()


def test_rows_that_are_not_there_stay_out():
    gone = rows(-np.inf, 1)
    assert combine([(1.0, gone)], [(1.0, gone)])[0] == -np.inf
