"""Unusual usage is found by customer, meter and day, told once, and shown where people look."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, NotSupportedError, connection, transaction
from django.test import Client

from billing_site.kernel.money import plain
from invoicing.customers.models import Customer
from invoicing.spend.models import UsageAnomaly
from invoicing.workflows.find_anomalies import sweep_anomalies
from tests.billing_site.api.caller import Caller
from tests.factories import JULY, a_customer, a_plan, a_subscription, settle_constraints, use

pytestmark = pytest.mark.django_db
# Wednesday, 19 August, noon in Berlin.
NOON = datetime(2026, 8, 19, 10, tzinfo=UTC)


@pytest.fixture
def acme() -> Customer:
    """Acme in Berlin, with 100 actions at eleven each night of the last 28 days."""
    a_plan()
    customer = a_customer(timezone="Europe/Berlin")
    a_subscription(customer, started_at=JULY - timedelta(hours=2))
    for number in range(1, 29):
        # 21:30 UTC is half past eleven of the same day in Berlin.
        use("cust_acme", "100", at=NOON.replace(hour=21, minute=30) - timedelta(days=number))
    return customer


def told(at: datetime = NOON) -> list[tuple[str, str, str, str]]:
    return [(row.meter, row.day.isoformat(), row.direction, plain(row.quantity)) for row in sweep_anomalies(at=at)]


@pytest.mark.requirement("S0-142")
@pytest.mark.requirement("S3-018")
def test_a_leap_is_told_on_its_day_once_with_what_would_have_been_usual(acme: Customer, admin_client: Client) -> None:
    assert told() == []
    use("cust_acme", "900", at=NOON - timedelta(hours=1))

    assert told() == [("actions", "2026-08-19", "above", "900")]
    use("cust_acme", "900", at=NOON)
    assert told(NOON + timedelta(hours=1)) == told(NOON + timedelta(days=1)) == []

    [row] = Caller(customer="cust_acme").get("/api/v1/anomalies").json()["data"]
    assert (row["customer_id"], row["meter"], row["quantity"]) == ("cust_acme", "actions", "900")
    assert row["usual"] == {"low": "100", "high": "100", "middle": "100", "day_count": 20}
    page = admin_client.get(f"/admin/invoicing/customer/{acme.pk}/change/").content.decode()
    assert "More of actions than usual: usually 100 a day, in the middle 100 (of 20 days alike)" in page
    assert "900 actions" in admin_client.get("/admin/invoicing/usageanomaly/").content.decode()


def test_a_day_without_usage_is_told_when_it_is_over_although_no_event_says_so(acme: Customer) -> None:
    assert told() == []
    assert told(NOON + timedelta(hours=12)) == []

    assert told(NOON + timedelta(days=1)) == [("actions", "2026-08-19", "below", "0")]


def test_raw_sql_cannot_bend_what_was_told(acme: Customer) -> None:
    use("cust_acme", "900", at=NOON - timedelta(hours=1))
    told()
    settle_constraints()

    for statement in (
        "UPDATE invoicing_usageanomaly SET quantity = 901",
        "DELETE FROM invoicing_usageanomaly",
        "TRUNCATE invoicing_usageanomaly",
        "INSERT INTO invoicing_usageanomaly (customer_id, meter, unit, day, direction, quantity, usual_low, usual_high, usual,"
        " day_count, noticed_at) SELECT customer_id, meter, unit, day + 1, 'below', quantity, usual_low, usual_high, usual,"
        " day_count, noticed_at FROM invoicing_usageanomaly",
    ):
        with pytest.raises((IntegrityError, NotSupportedError)), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert UsageAnomaly.objects.count() == 1
