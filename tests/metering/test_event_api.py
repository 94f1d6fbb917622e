"""Over the API an event is read with what became of it, cancelled and amended; what counts nowhere is listed."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from metering.ingest import accept_events
from metering.models import UsageEvent
from metering.operations import create_meter
from metering.rollup import roll_up
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import a_customer, an_event

NOON = datetime(2026, 7, 9, 12, tzinfo=UTC)
CORRECTIONS = "/api/v1/events/corrections"
CANCEL = {"customer_id": "cust_acme", "idempotency_key": "key-1", "action": "cancel", "reason": "sent twice"}
AMEND = CANCEL | {"action": "amend", "changes": {"quantity": "7.25"}}

pytestmark = pytest.mark.django_db


@pytest.fixture
def event() -> UsageEvent:
    create_meter(key="actions", name="Actions", event_type="action.consumed", unit="action", actor="t", reason="t")
    accept_events(events=[an_event("cust_acme", "5", at=NOON, key="key-1")])
    roll_up()
    return UsageEvent.objects.get()


def test_an_event_is_read_with_the_hour_that_holds_it(event: UsageEvent) -> None:
    document = Caller("events:read").get("/api/v1/events/key-1?customer_id=cust_acme").json()

    assert (document["number"], document["state"], document["quantity"]) == (event.pk, "applied", "5")
    assert document["meters"] == [
        {
            "meter": "actions",
            "state": "applied",
            "hour": "2026-07-09T12:00:00Z",
            "grouping": "",
            "counted": "5",
            "window_value": "5",
        }
    ]
    assert (document["cancellation"], document["replaced_by"], document["replaces"]) == (None, None, None)


@pytest.mark.requirement("S4-041")
def test_an_amendment_answers_with_both_events(event: UsageEvent) -> None:
    answer = Caller("events:write").post(CORRECTIONS, AMEND)

    assert answer.status_code == 201, answer.content
    document = answer.json()
    assert document["event"]["state"] == "replaced"
    assert document["event"]["replaced_by"] == document["replacement"]["idempotency_key"] == "key-1~amended-1"
    assert document["replacement"]["replaces"] == "key-1"
    assert document["replacement"]["quantity"] == "7.25"
    assert document["correction"]["number"] == document["replacement"]["number"]
    assert document["correction"]["actor"] == "API key a test"


def test_a_cancellation_twice_is_the_same_with_and_without_a_key(event: UsageEvent) -> None:
    caller = Caller("events:write")

    answers = [caller.post(CORRECTIONS, CANCEL), caller.post(CORRECTIONS, CANCEL)]
    answers += [caller.post(CORRECTIONS, CANCEL, Idempotency_Key="one") for _ in range(2)]

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["correction"]["number"] for answer in answers}) == 1
    assert answers[-1].headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "action"),
        ([], "body"),
        (CANCEL | {"action": "undo"}, "action"),
        (CANCEL | {"reason": " "}, "reason"),
        (CANCEL | {"reason": 5}, "reason"),
        (CANCEL | {"changes": {}}, "changes"),
        (CANCEL | {"force": True}, "force"),
        (AMEND | {"changes": {}}, "changes"),
        (AMEND | {"changes": []}, "changes"),
        (AMEND | {"changes": {"quantity": "x"}}, "changes.quantity"),
        (AMEND | {"changes": {"customer_id": "x"}}, "changes.customer_id"),
        (AMEND | {"changes": {"quantity": "5"}}, "changes"),
    ],
)
def test_a_correction_that_cannot_be_is_told_by_field(event: UsageEvent, body: Any, field: str) -> None:
    answer = Caller("events:write").post(CORRECTIONS, body)

    assert answer.status_code == 422
    assert field in fields_of(answer)


def test_unknown_events_are_not_found_and_cancelled_ones_not_amended(event: UsageEvent) -> None:
    caller = Caller()

    assert caller.post(CORRECTIONS, CANCEL | {"idempotency_key": "key-2"}).status_code == 404
    assert caller.get("/api/v1/events/key-2?customer_id=cust_acme").status_code == 404
    assert caller.post(CORRECTIONS, CANCEL).status_code == 201
    refused = caller.post(CORRECTIONS, AMEND)
    assert refused.status_code == 409
    assert "was cancelled by API key a test" in refused.json()["detail"]


def test_a_key_of_one_customer_corrects_and_reads_only_its_own(event: UsageEvent) -> None:
    for key in ("cust_acme", "cust_other"):
        a_customer(key)
    own, other = Caller(customer="cust_acme"), Caller(customer="cust_other")
    with_slash = an_event("cust_acme", "1", at=NOON, key="a/b c~ä")
    accept_events(events=[with_slash])

    assert other.post(CORRECTIONS, CANCEL).status_code == 404
    assert other.get("/api/v1/events/key-1?customer_id=cust_acme").status_code == 404
    assert other.get("/api/v1/events/key-1").status_code == 404
    assert other.get("/api/v1/events/unapplied?customer_id=cust_acme").status_code == 404
    assert own.get("/api/v1/events/key-1").json()["state"] == "applied"
    assert own.get(f"/api/v1/events/{quote('a/b c~ä')}").json()["state"] == "waiting"
    assert own.post(CORRECTIONS, CANCEL).status_code == 201


def test_keys_of_replacements_are_refused_at_ingest(event: UsageEvent) -> None:
    body = {
        "event_id": "e",
        "idempotency_key": "key-1~amended-1",
        "event_type": "action.consumed",
        "timestamp": "2026-07-09T12:00:00Z",
        "customer_id": "cust_acme",
        "quantity": "1",
    }

    answer = Caller().post("/api/v1/events", body)

    assert answer.status_code == 422
    assert fields_of(answer) == {"idempotency_key": "reserved"}


def test_contradictions_are_listed_with_both_contents(event: UsageEvent) -> None:
    for quantity in ("6", "7", "8"):
        accept_events(events=[an_event("cust_acme", quantity, at=NOON, key="key-1")])
    caller = Caller("events:read")

    first = caller.get("/api/v1/events/conflicts?customer_id=cust_acme&settled=false&limit=2").json()
    second = caller.get(f"/api/v1/events/conflicts?settled=false&limit=2&cursor={first['next']}").json()

    assert [row["refused"]["quantity"] for row in first["data"] + second["data"]] == ["8", "7", "6"]
    assert {row["accepted"]["quantity"] for row in first["data"]} == {"5"}
    assert caller.get("/api/v1/events/conflicts?settled=true").json()["data"] == []
    assert caller.get("/api/v1/events/conflicts?settled=maybe").status_code == 422
    a_customer("cust_other")
    assert Caller(customer="cust_other").get("/api/v1/events/conflicts").json()["data"] == []


def test_events_in_no_window_are_listed_with_the_reason(event: UsageEvent) -> None:
    accept_events(events=[an_event("cust_acme", "1", at=NOON, event_type="dance")])
    roll_up()
    caller = Caller("events:read")

    (row,) = caller.get("/api/v1/events/unapplied?reason=no_meter").json()["data"]

    assert (row["event_type"], row["message"]) == ("dance", "no meter counts this event type")
    assert row["idempotency_key"] == UsageEvent.objects.get(event_type="dance").idempotency_key
    assert caller.get("/api/v1/events/unapplied?reason=no_value").json()["data"] == []
    assert caller.get("/api/v1/events/unapplied?reason=odd").status_code == 422
