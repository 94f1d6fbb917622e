"""POST /api/v1/usage/report: the count of a running period is set, never added twice."""

from datetime import UTC, datetime

import pytest

from billing_site.kernel import clock
from invoicing.catalog.operations import load_catalog
from metering.correcting import cancel_event
from metering.models import UsageEvent
from tests.billing_site.api.caller import Caller
from tests.factories import a_customer, a_plan, a_subscription, usd_per_action, use
from tests.races import at_once

PATH = "/api/v1/usage/report"
AT = datetime(2026, 7, 10, 12, tzinfo=UTC)
BODY = {"tenant_id": "cust_acme", "subscription_id": "sub_cust_acme", "query_count": "100"}


@pytest.fixture
def acme(db, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: AT)
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    return customer


def report(query_count, **members):
    return Caller("events:write").post(PATH, BODY | {"query_count": query_count} | members)


@pytest.mark.requirement("S1-100")
def test_the_count_is_set_the_same_changes_nothing_and_a_larger_one_adds_the_difference(acme):
    use("cust_acme", "30", at=AT)

    answers = [report(count).json() for count in ("100", "100", "130.5")]

    assert [answer["added"] for answer in answers] == ["70", "0", "30.5"]
    assert answers[0]["period"] == {"start": "2026-07-01T00:00:00Z", "end": "2026-08-01T00:00:00Z"}
    assert answers[0]["idempotency_key"] == "count:sub_cust_acme:actions:20260701T0000:100"
    assert answers[1]["idempotency_key"] == ""
    assert UsageEvent.objects.count() == 3


def test_a_smaller_count_is_refused_and_told_how_to_correct(acme):
    report("100")

    answer = report("99")

    assert answer.status_code == 409
    assert "POST /api/v1/events/corrections" in answer.json()["detail"]


def test_a_count_that_was_corrected_away_can_be_set_again(acme):
    key = report("100").json()["idempotency_key"]
    cancel_event(customer_id="cust_acme", idempotency_key=key, actor="ada", reason="by mistake")

    assert report("100").json()["idempotency_key"] == f"{key}~2"


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"query_count": "-1"}, 422),
        ({"query_count": "NaN"}, 422),
        ({"subscription_id": "sub_of_nobody"}, 404),
        ({"tenant_id": "nobody"}, 404),
        ({"meter": "another"}, 422),
    ],
)
def test_what_cannot_be_is_refused_at_its_field(acme, members, status):
    answer = report("100", **members) if "query_count" not in members else report(members["query_count"])

    assert answer.status_code == status, answer.json()
    assert not UsageEvent.objects.exists()


def test_of_several_meters_one_is_named(acme):
    other = {"key": "tokens", "name": "Tokens", "event_type": "tokens.used", "unit": "token"}

    load_catalog(document={"meters": [other]}, at=AT, actor="test", reason="set up")
    a_plan("both", usd_per_action(), usd_per_action() | {"key": "tokens", "meter": "tokens"})
    a_subscription(a_customer("cust_two"), plan="both")
    both = {"tenant_id": "cust_two", "subscription_id": "sub_cust_two"}

    assert "actions, tokens" in str(report("5", **both).json())
    assert report("5", **both, meter="tokens").json()["added"] == "5"


@pytest.mark.django_db(transaction=True)
def test_the_same_count_at_the_same_moment_counts_once(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: AT)
    a_plan()
    a_subscription(a_customer())
    caller = Caller("events:write")

    answers = at_once(*[lambda: caller.post(PATH, BODY)] * 4)
    added = [one.json()["added"] for one in answers]

    assert sorted(added) == ["0", "0", "0", "100"]
