"""The arithmetic of the figures of dunning."""

from datetime import date
from decimal import Decimal

import pytest

from dunning.core.figures import days_sales_outstanding, pace_of, share, stretches


@pytest.mark.parametrize(
    ("part", "whole", "percent"),
    [("0", "10", "0.0"), ("1", "3", "33.3"), ("2", "3", "66.7"), ("10", "10", "100.0"), ("0.125", "1", "12.5")],
)
def test_a_share_is_in_percent_to_a_tenth(part, whole, percent) -> None:
    assert share(part=Decimal(part), whole=Decimal(whole)) == Decimal(percent)


def test_there_is_no_share_of_nothing() -> None:
    assert share(part=0, whole=0) is None


@pytest.mark.parametrize(
    ("receivable", "billed", "days", "outstanding"),
    [("100", "100", 92, "92.0"), ("0", "100", 92, "0.0"), ("50", "300", 90, "15.0"), ("1", "3", 92, "30.7")],
)
def test_days_outstanding_are_what_is_open_by_what_is_billed_a_day(receivable, billed, days, outstanding) -> None:
    found = days_sales_outstanding(receivable=Decimal(receivable), billed=Decimal(billed), days=days)

    assert found == Decimal(outstanding)


def test_nothing_stands_open_for_days_where_nothing_was_billed() -> None:
    assert days_sales_outstanding(receivable=Decimal(5), billed=Decimal(0), days=90) is None


def test_a_span_is_cut_into_weeks_and_a_long_one_into_months() -> None:
    # The 2nd of November 2026 is a Monday.
    assert stretches(first=date(2026, 11, 1), last=date(2026, 11, 9)) == [
        date(2026, 10, 26), date(2026, 11, 2), date(2026, 11, 9),
    ]  # fmt: skip
    assert pace_of(first=date(2026, 1, 1), last=date(2026, 7, 1)) == "week"
    assert stretches(first=date(2025, 11, 30), last=date(2026, 7, 1))[::4] == [
        date(2025, 11, 1),
        date(2026, 3, 1),
        date(2026, 7, 1),
    ]
