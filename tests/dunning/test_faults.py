"""What verify says of dunning is read in queries that do not grow with the cases."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dunning.faults import check_dunning_holds
from tests.dunning.chasing import by_policy, chase, late_customer, local

pytestmark = pytest.mark.django_db


def suspended(key: str) -> None:
    """Somebody who was told on two days, then restricted and suspended."""
    customer = late_customer(key).customer
    by_policy("short", customer)
    for day in (16, 19, 22, 23):
        chase(local(f"2026-08-{day} 09:00", customer))


def test_steps_of_many_that_nobody_was_told_of_are_found_in_queries_that_do_not_grow() -> None:
    def found() -> tuple[int, list[str]]:
        with CaptureQueriesContext(connection) as seen:
            findings = list(check_dunning_holds())
        return len(seen), [f"{one.subject}: {one.message}" for one in findings]

    suspended("cust_first")
    few, nothing = found()
    for key in ("cust_second", "cust_third"):
        suspended(key)
    many, still_nothing = found()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "UPDATE dunning_notice SET sending_at = sending_at + interval '60 days', settled_at = settled_at + interval '60 days'"
            " WHERE customer_id = (SELECT id FROM invoicing_customer WHERE key = 'cust_second')"
        )
        cursor.execute(
            "DELETE FROM dunning_casestep WHERE act = 'suspend' AND case_id = (SELECT max(id) FROM dunning_dunningcase)"
        )
        cursor.execute("SET session_replication_role = origin")
    forged, told = found()

    assert (nothing, still_nothing, few) == ([], [], many)
    assert [one.partition(", ")[2] for one in told if "cust_second" in one] == [
        f"step {number}: it was taken by itself though nobody was told before" for number in (3, 4)
    ]
    assert "customer cust_third: dunning has made it suspended without a step" in told and forged == few
