"""Customers, plans, subscriptions and prices over HTTP."""

from datetime import UTC, datetime

import pytest

from invoicing.catalog.operations import load_catalog
from invoicing.customers.models import Customer
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import JULY, a_customer, a_plan, a_subscription

pytestmark = pytest.mark.django_db

ACME = {
    "key": "cust_acme",
    "name": "Acme GmbH",
    "legal_entity": "main",
    "email": "billing@acme.example",
    "currency": "EUR",
    "timezone": "Europe/Berlin",
    "address": "Hauptstraße 1\n10115 Berlin",
    "tax_id": "DE123456789",
    "language": "de",
    "settlement_channel": "manual",
    "net_terms_days": 30,
    "payment_method": "",
    "late_usage_policy": "ask",
    "late_materiality": {"amount": "2.50", "currency": "EUR"},
    "grace_hours": 48,
}
PRO = {
    "key": "pro",
    "name": "Pro",
    "product": {"key": "platform", "name": "Platform"},
    "cadence": "month",
    "prices": [{"key": "base", "name": "Base fee", "currency": "EUR", "model": "flat", "unit_amount": "49"}],
}


@pytest.mark.requirement("S1-098")
def test_a_customer_is_created_read_listed_and_changed_with_the_key_as_its_author():
    caller = Caller()

    created = caller.post("/api/v1/customers", ACME)
    changed = caller.patch("/api/v1/customers/cust_acme", {"name": "Acme AG", "net_terms_days": 0})

    assert created.status_code == 201
    assert created.json() == ACME | {"billed_to": "", "state": "trial", "created_at": created.json()["created_at"]}
    assert created.json()["created_at"].endswith("Z")
    assert changed.status_code == 200
    assert changed.json() == created.json() | {"name": "Acme AG", "net_terms_days": 0}
    assert caller.get("/api/v1/customers/cust_acme").json() == changed.json()
    assert caller.get("/api/v1/customers").json()["data"] == [changed.json()]
    reasons = list(Customer.history.order_by("history_id").values_list("history_change_reason", flat=True))
    assert reasons == ["API key a test: created over the API", "API key a test: changed over the API"]


def test_only_key_name_email_and_currency_must_be_given():
    response = Caller().post("/api/v1/customers", {"key": "c", "name": "C", "email": "", "currency": "JPY"})

    assert response.status_code == 201
    assert response.json()["timezone"] == "UTC"
    assert response.json()["net_terms_days"] == 14


def test_an_existing_customer_is_returned_for_the_same_content_and_a_conflict_for_another():
    caller = Caller()
    first = caller.post("/api/v1/customers", ACME)

    assert caller.post("/api/v1/customers", ACME).json() == first.json()
    other = caller.post("/api/v1/customers", ACME | {"name": "Other"})
    assert other.status_code == 409
    assert fields_of(other) == {"key": "conflict"}


def test_a_plan_is_loaded_in_the_shape_of_a_catalog_file_and_gets_a_version_for_every_change():
    caller = Caller()

    created = caller.post("/api/v1/plans", PRO)
    again = caller.post("/api/v1/plans", PRO | {"product": "platform"})
    dearer = caller.post("/api/v1/plans", PRO | {"prices": [PRO["prices"][0] | {"unit_amount": "59.5"}]})

    assert created.status_code == 201
    assert again.json() == created.json()
    assert [version["number"] for version in dearer.json()["versions"]] == [2, 1]
    assert dearer.json()["product"] == "platform"
    assert dearer.json()["versions"][0]["prices"] == [PRO["prices"][0] | {"meter": None, "unit_amount": "59.5"}]
    newer, older = dearer.json()["versions"]
    assert older == created.json()["versions"][0] | {"effective_to": newer["effective_from"]}
    assert (older["effective_from"], newer["effective_from"]) == (None, newer["published_at"])
    assert caller.get("/api/v1/plans/pro").json() == dearer.json()
    assert caller.get("/api/v1/plans").json()["data"] == [dearer.json()]


def test_a_page_of_plans_costs_the_same_queries_for_one_and_for_many(django_assert_num_queries):
    caller = Caller()
    a_plan("one")
    caller.get("/api/v1/plans")
    with django_assert_num_queries(8):
        caller.get("/api/v1/plans")

    for key in ("two", "three", "four"):
        a_plan(key)
    with django_assert_num_queries(8):
        assert len(caller.get("/api/v1/plans").json()["data"]) == 4


@pytest.mark.requirement("S1-002")
@pytest.mark.requirement("S1-099")
def test_a_subscription_begins_with_a_trial_and_is_managed_and_cancelled() -> None:
    caller = Caller()
    a_plan("pro")
    a_customer("cust_acme")
    trial = {"customer_id": "cust_acme", "plan": "pro", "trial_ends_at": "2026-07-15T00:00:00Z"}

    started = caller.post("/api/v1/subscriptions", trial | {"started_at": "2026-07-01T00:00:00Z"}).json()
    changes = f"/api/v1/subscriptions/{started['key']}/changes"
    seats = {"change": "quantity", "quantity": 3, "at": "2026-08-01T00:00:00Z"}
    cancel = {"change": "cancel", "at": "2026-09-01T00:00:00Z"}
    for change in (seats, cancel):
        seen = caller.post(changes, change | {"preview": True}).json()
        made = caller.post(changes, change | {"reason": "asked for", "digest": seen["digest"]}).json()

    assert [phase["kind"] for phase in started["phases"]] == ["trial", "active"]
    assert [(one["kind"], one["quantity"], one["ends_at"]) for one in made["subscription"]["phases"]] == [
        ("trial", 1, "2026-07-15T00:00:00Z"),
        ("active", 1, "2026-08-01T00:00:00Z"),
        ("active", 3, "2026-09-01T00:00:00Z"),
    ]


@pytest.mark.requirement("S1-099")
def test_a_subscription_is_started_read_listed_and_ended():
    caller = Caller()
    a_plan("pro")
    a_customer("cust_acme")

    started = caller.post(
        "/api/v1/subscriptions",
        {"customer_id": "cust_acme", "plan": "pro", "version": 1, "started_at": "2026-07-01T02:00:00+02:00"},
    )
    assert started.status_code == 201
    key = started.json()["key"]
    assert started.json() | {"key": "", "created_at": ""} == {
        "key": "",
        "customer_id": "cust_acme",
        "plan": "pro",
        "version": 1,
        "quantity": 1,
        "state": "running",
        "anchor": "calendar",
        "started_at": "2026-07-01T00:00:00Z",
        "ended_at": None,
        "created_at": "",
        "phases": [
            {
                "starts_at": "2026-07-01T00:00:00Z",
                "ends_at": None,
                "plan": "pro",
                "version": 1,
                "quantity": 1,
                "kind": "active",
            }
        ],
        "overrides": [],
        "held_in_advance": None,
        "parent": None,
    }
    assert caller.get(f"/api/v1/subscriptions/{key}").json() == started.json()
    assert caller.get("/api/v1/subscriptions?customer_id=cust_acme").json()["data"] == [started.json()]
    assert caller.get("/api/v1/subscriptions?customer_id=cust_other").json()["data"] == []

    end = {"ended_at": "2026-08-15T12:00:00.5Z", "reason": "moved away"}
    ended = caller.post(f"/api/v1/subscriptions/{key}/end", end)
    assert ended.status_code == 200
    assert ended.json()["ended_at"] == "2026-08-15T12:00:00.500000Z"
    assert caller.post(f"/api/v1/subscriptions/{key}/end", end).json() == ended.json()
    other = caller.post(f"/api/v1/subscriptions/{key}/end", end | {"ended_at": "2026-09-01T00:00:00Z"})
    assert (other.status_code, fields_of(other)) == (409, {"ended_at": "conflict"})


def test_an_end_before_the_start_is_told_by_field():
    a_plan()
    a_subscription(a_customer(), key="sub", started_at=JULY)

    response = Caller().post("/api/v1/subscriptions/sub/end", {"ended_at": "2026-07-01T00:00:00Z", "reason": "x"})

    assert (response.status_code, set(fields_of(response))) == (422, {"ended_at"})


def test_a_subscription_key_that_is_used_is_a_conflict_unless_all_is_the_same():
    caller = Caller()
    a_plan()
    a_customer("cust_acme")
    wanted = {"key": "s", "customer_id": "cust_acme", "plan": "pro", "started_at": "2026-07-01T00:00:00Z"}

    first = caller.post("/api/v1/subscriptions", wanted)

    assert caller.post("/api/v1/subscriptions", wanted).json() == first.json()
    other = caller.post("/api/v1/subscriptions", wanted | {"started_at": "2026-07-02T00:00:00Z"})
    assert (other.status_code, fields_of(other)) == (409, {"key": "conflict"})


def test_a_price_preview_answers_exactly_what_the_interface_says():
    tiers = [
        {"up_to": "10", "unit_amount": "10", "flat_amount": "0"},
        {"up_to": "20", "unit_amount": "6", "flat_amount": "0"},
        {"up_to": None, "unit_amount": "3", "flat_amount": "0"},
    ]
    response = Caller("prices:read").post(
        "/api/v1/prices/preview",
        {"price": {"model": "graduated", "tiers": tiers}, "quantity": "21", "currency": "USD"},
    )

    assert response.status_code == 200
    answer = response.json()
    assert answer["amount"] == "163.00"
    assert answer["unrounded_amount"] == "163"
    assert [line["amount"] for line in answer["lines"]] == ["100", "60", "3"]


def test_a_matrix_is_tried_out_with_the_groups_that_its_usage_divides_into():
    price = {
        "model": "matrix",
        "dimensions": ["region", "model"],
        "cells": [{"values": ["eu", "large"], "unit_amount": "0.03"}],
        "default_unit_amount": "0.04",
    }
    groups = [{"values": ["eu", "large"], "quantity": "100"}, {"values": ["eu", None], "quantity": "1.5"}]

    answer = Caller("prices:read").post(
        "/api/v1/prices/preview", {"price": price, "currency": "USD", "groups": groups, "quantity": "101.5"}
    )

    assert answer.status_code == 200
    assert answer.json()["unrounded_amount"] == "3.06"
    assert [line["text"] for line in answer.json()["lines"]] == [
        "100 with region eu and model large at 0.03 each",
        "1.5 with any other region and model at 0.04 each",
    ]


def test_a_plan_with_a_matrix_is_answered_as_it_was_sent():
    meter = {"key": "gb", "event_type": "gb", "dimensions": ["region"]}
    load_catalog(document={"meters": [meter]}, at=datetime(2026, 1, 1, tzinfo=UTC), actor="test", reason="test")
    price = {
        "key": "gb",
        "name": "GB",
        "meter": "gb",
        "currency": "USD",
        "model": "matrix",
        "dimensions": ["region"],
        "cells": [{"values": ["eu"], "unit_amount": "0.03"}, {"values": [None], "unit_amount": "0.01"}],
        "default_unit_amount": "0.04",
        "maximum_amount": "9",
    }
    plan = {"key": "pro", "product": {"key": "platform", "name": "Platform"}, "prices": [price]}

    answer = Caller("plans:write", "plans:read").post("/api/v1/plans", plan)

    assert answer.status_code == 201
    assert answer.json()["versions"][0]["prices"] == [price]


@pytest.mark.parametrize(
    ("quantity", "amount", "unrounded"), [('"0.5"', "1", "0.5"), ("0.5", "1", "0.5"), ("3", "3", "3")]
)
def test_a_quantity_may_be_an_exact_number_too(quantity, amount, unrounded):
    body = f'{{"price": {{"model": "per_unit", "unit_amount": 1}}, "quantity": {quantity}, "currency": "JPY"}}'

    answer = Caller().send("POST", "/api/v1/prices/preview", body).json()

    assert (answer["amount"], answer["unrounded_amount"]) == (amount, unrounded)


def test_a_preview_with_an_idempotency_key_is_answered_twice_the_same():
    caller = Caller()
    question = {"price": {"model": "flat", "unit_amount": "5"}, "quantity": "0", "currency": "EUR"}

    first = caller.post("/api/v1/prices/preview", question, Idempotency_Key="a")

    assert first.status_code == 200
    assert caller.post("/api/v1/prices/preview", question, Idempotency_Key="a").content == first.content


def test_times_are_answered_in_utc_to_the_microsecond():
    a_plan()
    a_subscription(a_customer(), key="sub", started_at=datetime(2026, 7, 1, 12, 30, 0, 1, tzinfo=UTC))

    assert Caller().get("/api/v1/subscriptions/sub").json()["started_at"] == "2026-07-01T12:30:00.000001Z"
