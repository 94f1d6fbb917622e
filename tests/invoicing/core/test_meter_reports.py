"""What Stripe has to hear: whatever is corrected and whenever, the sum there becomes what was counted."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing.core.meter_reports import (
    CANCELLABLE,
    Correction,
    Standing,
    correction,
    has_too_many_digits,
    identifier_of,
    value_text,
)

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOTHING = Decimal(0)


def standing(number, value, *, hours_ago=1):
    return Standing(number, Decimal(value), AT - timedelta(hours=hours_ago))


@pytest.mark.parametrize(
    ("counted", "told", "expected"),
    [
        ("5", [], Correction((), Decimal(5))),
        ("5", [standing(1, "5")], Correction((), NOTHING)),
        ("7", [standing(1, "5")], Correction((), Decimal(2))),
        ("3", [standing(1, "5")], Correction((1,), Decimal(3))),
        ("5", [standing(1, "5"), standing(2, "2")], Correction((2,), NOTHING)),
        ("0", [standing(1, "5"), standing(2, "2")], Correction((2, 1), NOTHING)),
        ("3", [standing(1, "5", hours_ago=24)], Correction((), Decimal(-2))),
        ("1", [standing(1, "5", hours_ago=24), standing(2, "2")], Correction((2,), Decimal(-4))),
        ("5", [standing(1, "5"), Standing(2, Decimal(2), None)], Correction((2,), NOTHING)),
    ],
)
@pytest.mark.requirement("S4-041")
def test_what_is_too_much_is_cancelled_as_long_as_stripe_cancels_and_taken_back_after(counted, told, expected):
    assert correction(counted=Decimal(counted), standing=told, settled=NOTHING, at=AT) == expected


def test_the_last_moment_at_which_a_cancel_is_relied_on():
    sent = Standing(1, Decimal(5), AT)

    assert sent.is_cancellable(at=AT + CANCELLABLE - timedelta(microseconds=1))
    assert not sent.is_cancellable(at=AT + CANCELLABLE)


@given(
    counts=st.lists(
        st.tuples(st.decimals("0", "1000000", places=3), st.integers(0, 30), st.booleans()), min_size=1, max_size=12
    )
)
@pytest.mark.requirement("S4-043")
def test_after_any_corrections_at_any_time_the_sum_at_stripe_is_what_was_counted(counts):
    at, told = AT, {}
    for number, (counted, hours_later, is_refused) in enumerate(counts):
        at += timedelta(hours=hours_later)
        wanted = correction(counted=counted, standing=list(told.values()), settled=NOTHING, at=at)
        for cancelled in wanted.cancels:
            assert at - told[cancelled].first_sent_at < timedelta(hours=24), "Stripe would not cancel it"
            del told[cancelled]
        if wanted.value and not is_refused:
            told[number] = Standing(number, wanted.value, at)

    last = correction(counted=counts[-1][0], standing=list(told.values()), settled=NOTHING, at=at)
    total = sum((one.value for one in told.values() if one.number not in last.cancels), last.value)
    assert total == counts[-1][0]
    if not counts[-1][2]:
        assert last == Correction((), NOTHING)


@pytest.mark.requirement("S4-017")
@pytest.mark.requirement("S4-049")
@pytest.mark.requirement("S4-018")
def test_an_identifier_is_the_same_for_the_same_fact_and_never_too_long():
    fact = {"meter": "api_call", "subscription": "sub_acme", "source": "2026-11-20T11", "ordinal": 1}
    long = fact | {"subscription": "s" * 100}

    assert identifier_of(**fact) == "api_call:sub_acme:2026-11-20T11:1"
    assert len(identifier_of(**long)) == 100
    assert len({identifier_of(**long | {"ordinal": number}) for number in range(50)}) == 50


@pytest.mark.requirement("S4-053")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("25", "25"),
        ("25.500000000000", "25.5"),
        ("1E+3", "1000"),
        ("-3", "-3"),
        ("0.000000000001", "0.000000000001"),
        ("100", "100"),
    ],
)
def test_a_value_is_a_numeric_string_without_an_exponent(value, text):
    assert value_text(value=Decimal(value)) == text


def test_stripe_takes_fifteen_digits():
    assert not has_too_many_digits(value=Decimal("123456789012.345"))
    assert has_too_many_digits(value=Decimal("123456789012.3456"))
    assert not has_too_many_digits(value=Decimal("-0.00000000123"))
