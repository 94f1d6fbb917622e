"""Policies as data: what is stored is read again, and what makes no sense is refused in words."""

from typing import Any

import pytest

from dunning.core.case_life import CASE_MOVES, CLOSED, LIVE, CaseState
from dunning.core.policy import SHORT, STANDARD, PolicyTerms, TermsMistake, read_terms, terms_stored


@pytest.mark.requirement("S2-020")
@pytest.mark.parametrize("terms", [STANDARD, SHORT])
def test_terms_are_read_as_they_were_stored(terms: PolicyTerms) -> None:
    assert read_terms(terms_stored(terms)) == terms


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": []}, "1 to 40 steps"),
        ({"steps": [{"day": 4, "act": "notice", "notice": "warning"}, {"day": 1, "act": "retry"}]}, "never backwards"),
        ({"steps": [{"day": -1, "act": "retry"}]}, "never backwards"),
        ({"steps": [{"day": 1, "act": "notice"}]}, "say which notice"),
        ({"steps": [{"day": 1, "act": "suspend", "notice": "suspended"}]}, "without a notice on a day before it"),
        (
            {"steps": [{"day": 1, "act": "notice", "notice": "reminder"}, {"day": 1, "act": "suspend"}]},
            "without a notice on a day before it",
        ),
        (
            {"steps": [{"day": 1, "act": "notice", "notice": "reminder"}, {"day": 9, "act": "close"}]},
            "was suspended before",
        ),
        (
            {
                "steps": [
                    {"day": 1, "act": "notice", "notice": "reminder"},
                    {"day": 9, "act": "hand_over"},
                    {"day": 9, "act": "retry"},
                ]
            },
            "is the last step",
        ),
        ({"steps": [{"day": 1, "act": "shout"}]}, "cannot be read"),
        ({"weekend": [0, 1, 2, 3, 4, 5, 6]}, "a weekend is days"),
        ({"minimums": {"USD": "NaN"}}, "a minimum is an amount"),
        ({"retries_max": 99}, "at most 8 times"),
        ({"at_hour": "half past"}, "cannot be read"),
    ],
)
def test_terms_that_make_no_sense_are_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TermsMistake, match=words):
        read_terms(terms_stored(SHORT) | changes)


def test_a_live_case_leads_to_a_closed_one_and_a_closed_one_nowhere() -> None:
    assert {row.start for row in CASE_MOVES} == set(LIVE)
    assert all(any(row.start is state and row.to in CLOSED for row in CASE_MOVES) for state in LIVE)
    assert set(CaseState) == {*LIVE, *CLOSED}
