"""A step is taken only where it is fair: with the day on which something will follow, after the customer was told, and not for money that we hold."""

from datetime import timedelta

import pytest

from dunning.cases.models import DunningCase
from dunning.cases.operations import open_case, replan
from dunning.rehearsal import rehearse
from dunning.sweep import sweep_dunning
from tests.dunning.chasing import by_policy, late_customer, local

pytestmark = pytest.mark.django_db


def test_the_rehearsal_names_the_grave_day_that_the_notice_names() -> None:
    invoice = late_customer()
    by_policy("short", invoice.customer)
    at = local("2026-10-01 12:00", invoice.customer)

    [unopened] = rehearse(until=at + timedelta(hours=2), at=at)
    open_case(customer_id=invoice.customer_id, at=at)
    rehearsed = rehearse(until=at + timedelta(days=3), at=at)

    assert str(unopened.acts_on) == "2026-10-07"
    assert [(row.planned.number, str(row.acts_on)) for row in rehearsed] == [(1, "2026-10-07"), (2, "2026-10-07")]


def test_what_nobody_foresaw_stops_one_case_and_no_other(monkeypatch) -> None:
    first, second = late_customer(), late_customer("cust_other")
    at = local("2026-08-16 09:00", first.customer)

    def fails(*, case: DunningCase) -> None:
        if case.customer_id == first.customer_id:
            raise ZeroDivisionError("nobody foresaw this")
        replan(case=case)

    monkeypatch.setattr("dunning.cases.operations.replan", fails)
    report = sweep_dunning(at=at)

    assert [step.case.customer for step in report.steps] == [second.customer]
    assert report.failures == [(f"customer {first.customer_id}", "ZeroDivisionError: nobody foresaw this")]
