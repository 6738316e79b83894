"""Two opinions become one: places that both name, and places that one of them names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from napari_caked.opinions import Opinion, fused

NOTHING = Opinion(np.empty((0, 2)), np.empty(0), 0.0)


def opinion(places, probabilities, share=0.1):
    return Opinion(np.array(places, float).reshape(-1, 2), np.array(probabilities, float), share)


def test_where_both_see_something_it_is_the_mean_of_the_log_odds_at_the_first_ones_place():
    one, other = opinion([(10, 10)], [0.9], 0.2), opinion([(12, 10)], [0.5], 0.3)
    both = fused(one, other, 5.0)
    np.testing.assert_array_equal(both.places, one.places)
    assert both.probabilities == pytest.approx([expit((logit(0.9) + logit(0.5)) / 2)])
    assert both.share == 0.2


def test_what_one_sees_alone_is_doubted_as_the_other_doubts_its_least_likely():
    one = opinion([(10, 10), (50, 50)], [0.9, 0.02])
    other = opinion([(90, 90), (130, 10)], [0.8, 0.01])
    both = fused(one, other, 5.0)
    low_of_other = np.quantile(logit([0.8, 0.01]), 0.1)
    low_of_one = np.quantile(logit([0.9, 0.02]), 0.1)
    wanted = expit(
        [(logit(p) + low_of_other) / 2 for p in (0.9, 0.02)] + [(logit(p) + low_of_one) / 2 for p in (0.8, 0.01)]
    )
    np.testing.assert_allclose(both.probabilities, wanted)
    np.testing.assert_array_equal(both.places, np.concatenate([one.places, other.places]))


def test_nobody_is_doubted_for_the_silence_of_somebody_who_saw_nothing_at_all():
    one = opinion([(10, 10)], [0.9], 0.2)
    assert fused(one, NOTHING, 5.0) is one
    back = fused(Opinion(NOTHING.places, NOTHING.probabilities, 0.4), one, 5.0)
    np.testing.assert_array_equal(back.probabilities, one.probabilities)
    assert back.share == 0.4


def _on_a_grid(rows):
    known = {(y, x): p for y, x, p in rows}
    return opinion([(20 * y, 20 * x) for y, x in known], list(known.values()))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0, 1)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0, 1)), min_size=1, max_size=12),
)
def test_every_place_of_either_is_there_and_all_are_probabilities(first, second):
    one, other = (_on_a_grid(rows) for rows in (first, second))
    both = fused(one, other, 5.0)
    assert {*map(tuple, both.places)} == {*map(tuple, one.places)} | {*map(tuple, other.places)}
    assert len(both.places) == len(both.probabilities)
    assert ((both.probabilities >= 0) & (both.probabilities <= 1)).all()
