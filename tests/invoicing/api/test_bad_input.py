"""Bad input is told by field, over every address that takes a body; never a 500 (issue 2, must show 6)."""

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import a_customer, a_plan, a_subscription

pytestmark = pytest.mark.django_db

CUSTOMER = {"key": "c", "name": "C", "email": "c@example.com", "currency": "EUR"}
SUBSCRIPTION = {"customer_id": "cust_idle", "plan": "pro", "started_at": "2026-07-01T00:00:00Z"}
END = {"ended_at": "2026-08-01T00:00:00Z", "reason": "moved"}
CHANGE = {"change": "plan", "plan": "pro", "at": "2026-07-15T00:00:00Z", "reason": "more"}
CHANGES = "/api/v1/subscriptions/sub_cust_acme/changes"
PLAN = {
    "key": "p",
    "product": {"key": "platform"},
    "prices": [
        {
            "key": "u",
            "meter": "actions",
            "currency": "USD",
            "model": "graduated",
            "tiers": [{"up_to": "10", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}],
        }
    ],
}
PREVIEW = {"customer_id": "cust_acme", "as_of": "2026-07-15T00:00:00Z"}
PRICE = {"price": {"model": "per_unit", "unit_amount": "0.01"}, "quantity": "21", "currency": "USD"}
MATRIX = {"model": "matrix", "dimensions": ["region"], "cells": [{"values": ["eu"], "unit_amount": "1"}]}
EU_GROUP, US_GROUP = {"values": ["eu"], "quantity": "2"}, {"values": ["us"], "quantity": "2"}
METER = {"key": "m", "event_type": "m.used"}
BUDGET = {"customer_id": "cust_acme", "name": "Cap", "amount": {"amount": "100.00", "currency": "USD"}}
USD_10 = {"amount": "10.00", "currency": "USD"}
GRANT = {
    "key": "welcome",
    "customer_id": "cust_acme",
    "kind": "promotional",
    "name": "Welcome",
    "amount": USD_10,
    "effective_at": "2026-07-01T00:00:00Z",
    "reason": "asked",
}
COMMITMENT = {
    "starts_at": "2026-07-01T00:00:00Z",
    "payment": "in_advance",
    "tranches": [{"periods": 2, "amount": USD_10}, {"periods": 1, "amount": USD_10}],
    "rolls_over": True,
    "rollover_max": USD_10,
    "overage_rate": "0.9",
    "reason": "order 4711",
}
COMMITMENTS = "/api/v1/subscriptions/sub_cust_acme/commitments"
COUPON = {"code": "LESS", "percent_off": "20", "duration": "repeating", "periods": 3}
EVENT = {
    "event_id": "e",
    "idempotency_key": "e",
    "event_type": "action.consumed",
    "timestamp": "2026-07-15T00:00:00.000Z",
    "customer_id": "cust_acme",
    "quantity": "1",
}
GOOD: dict[str, dict[str, Any]] = {
    "/api/v1/customers": CUSTOMER,
    "/api/v1/subscriptions": SUBSCRIPTION,
    "/api/v1/subscriptions/sub_cust_acme/end": END,
    "/api/v1/subscriptions/sub_cust_acme/changes": CHANGE,
    "/api/v1/plans": PLAN,
    "/api/v1/invoices/preview": PREVIEW,
    "/api/v1/prices/preview": PRICE,
    "/api/v1/meters": METER,
    "/api/v1/budgets": BUDGET,
    "/api/v1/events": EVENT,
    "/api/v1/credit-grants": GRANT,
    COMMITMENTS: COMMITMENT,
    "/api/v1/coupons": COUPON,
}
NUL, LONG = "a\x00b", "x" * 5000
# address, members to change ("..." drops one), field that must be told
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("/api/v1/customers", {"late_materiality": "1"}, "late_materiality"),
    ("/api/v1/budgets", {"customer_id": ...}, "customer_id"),
    ("/api/v1/budgets", {"customer_id": "nobody"}, "customer_id"),
    ("/api/v1/budgets", {"name": ""}, "name"),
    ("/api/v1/budgets", {"key": "no spaces"}, "key"),
    ("/api/v1/budgets", {"amount": "100"}, "amount"),
    ("/api/v1/budgets", {"amount": {"amount": "0.00", "currency": "USD"}}, "amount"),
    ("/api/v1/budgets", {"amount": {"amount": "1.00", "currency": "EUR"}}, "amount"),
    ("/api/v1/budgets", {"amount": {"amount": "1.001", "currency": "USD"}}, "amount"),
    ("/api/v1/budgets", {"thresholds": [0]}, "thresholds"),
    ("/api/v1/budgets", {"projected_thresholds": [1001]}, "projected_thresholds"),
    ("/api/v1/budgets", {"at_limit": "explode"}, "at_limit"),
    ("/api/v1/budgets", {"threshold": [50]}, "threshold"),
    ("/api/v1/customers", {"key": ...}, "key"),
    ("/api/v1/customers", {"key": ""}, "key"),
    ("/api/v1/customers", {"key": "a b"}, "key"),
    ("/api/v1/customers", {"key": "x" * 101}, "key"),
    ("/api/v1/customers", {"key": 5}, "key"),
    ("/api/v1/customers", {"key": None}, "key"),
    ("/api/v1/customers", {"name": ["a"]}, "name"),
    ("/api/v1/customers", {"name": "   "}, "name"),
    ("/api/v1/customers", {"name": NUL}, "name"),
    ("/api/v1/customers", {"name": LONG}, "name"),
    ("/api/v1/customers", {"email": "not an address"}, "email"),
    ("/api/v1/customers", {"currency": "EU"}, "currency"),
    ("/api/v1/customers", {"currency": "eur"}, "currency"),
    ("/api/v1/customers", {"timezone": "Mars/Olympus"}, "timezone"),
    ("/api/v1/customers", {"timezone": "../../etc/passwd"}, "timezone"),
    ("/api/v1/customers", {"timezone": ""}, "timezone"),
    ("/api/v1/customers", {"timezone": LONG}, "timezone"),
    ("/api/v1/customers", {"timezone": "Europe"}, "timezone"),
    ("/api/v1/customers", {"net_terms_days": -1}, "net_terms_days"),
    ("/api/v1/customers", {"net_terms_days": 366}, "net_terms_days"),
    ("/api/v1/customers", {"net_terms_days": "14"}, "net_terms_days"),
    ("/api/v1/customers", {"net_terms_days": 1.5}, "net_terms_days"),
    ("/api/v1/customers", {"net_terms_days": True}, "net_terms_days"),
    ("/api/v1/customers", {"net_terms_days": 10**30}, "net_terms_days"),
    ("/api/v1/customers", {"settlement_channel": "cash"}, "settlement_channel"),
    ("/api/v1/customers", {"settlement_channel": {}}, "settlement_channel"),
    ("/api/v1/customers", {"address": LONG}, "address"),
    ("/api/v1/customers", {"tax_id": LONG}, "tax_id"),
    ("/api/v1/customers", {"payment_method": LONG}, "payment_method"),
    ("/api/v1/customers", {"tenant": "x"}, "tenant"),
    ("/api/v1/subscriptions", {"customer_id": ...}, "customer_id"),
    ("/api/v1/subscriptions", {"customer_id": "cust_nobody"}, "customer_id"),
    ("/api/v1/subscriptions", {"customer_id": {"key": "a"}}, "customer_id"),
    ("/api/v1/subscriptions", {"plan": "nothing"}, "plan"),
    ("/api/v1/subscriptions", {"plan": ""}, "plan"),
    ("/api/v1/subscriptions", {"version": 7}, "plan"),
    ("/api/v1/subscriptions", {"version": 0}, "version"),
    ("/api/v1/subscriptions", {"version": "1"}, "version"),
    ("/api/v1/subscriptions", {"version": 2**40}, "version"),
    ("/api/v1/subscriptions", {"key": ""}, "key"),
    ("/api/v1/subscriptions", {"key": "x" * 101}, "key"),
    ("/api/v1/subscriptions", {"anchor": "monday"}, "anchor"),
    ("/api/v1/subscriptions", {"started_at": ...}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "2026-07-01T00:00:00"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "2026-07-01"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "yesterday"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "2026-02-30T00:00:00Z"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "2026-07-01T25:00:00Z"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "2026-06-30T23:59:60Z"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "2026-07-01T00:00:00+99:00"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "1999-12-31T23:59:59Z"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "9999-12-31T23:59:59-23:00"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "2026-W27-1T00:00:00Z"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": "２０２６-07-01T00:00:00Z"}, "started_at"),
    ("/api/v1/subscriptions", {"started_at": 1782864000}, "started_at"),
    ("/api/v1/subscriptions", {"trial_days": 14}, "trial_days"),
    ("/api/v1/subscriptions/sub_cust_acme/end", {"ended_at": "2026-08-01T00:00:00"}, "ended_at"),
    ("/api/v1/subscriptions/sub_cust_acme/end", {"ended_at": "2026-06-01T00:00:00Z"}, "ended_at"),
    ("/api/v1/subscriptions/sub_cust_acme/end", {"ended_at": None}, "ended_at"),
    ("/api/v1/subscriptions/sub_cust_acme/end", {"reason": ""}, "reason"),
    ("/api/v1/subscriptions/sub_cust_acme/end", {"reason": ...}, "reason"),
    ("/api/v1/subscriptions/sub_cust_acme/end", {"at": "now"}, "at"),
    ("/api/v1/plans", {"key": ...}, "key"),
    ("/api/v1/plans", {"key": 5}, "key"),
    ("/api/v1/plans", {"key": "a b/c"}, "key"),
    ("/api/v1/plans", {"key": "x" * 150}, "key"),
    ("/api/v1/plans", {"product": ...}, "product"),
    ("/api/v1/plans", {"product": "nothing"}, "product"),
    ("/api/v1/plans", {"product": {"name": "no key"}}, "product.key"),
    ("/api/v1/plans", {"product": 7}, "product"),
    (CHANGES, {"change": "upgrade"}, "change"),
    (CHANGES, {"change": ...}, "change"),
    (CHANGES, {"plan": ...}, "plan"),
    (CHANGES, {"plan": "nowhere"}, "plan"),
    (CHANGES, {"version": 7}, "plan"),
    (CHANGES, {"quantity": 3}, "quantity"),
    (CHANGES, {"change": "pause"}, "plan"),
    (CHANGES, {"change": "quantity", "plan": ..., "quantity": 0}, "quantity"),
    (CHANGES, {"change": "quantity", "plan": ..., "quantity": "3"}, "quantity"),
    (CHANGES, {"at": "2026-06-30T00:00:00Z"}, "at"),
    (CHANGES, {"at": "renewed"}, "at"),
    (CHANGES, {"at": "2026-07-15T00:00:00"}, "at"),
    (CHANGES, {"change": "resume", "plan": ..., "at": "2026-06-15T00:00:00Z"}, "at"),
    (CHANGES, {"change": "reactivate", "plan": ...}, "at"),
    (CHANGES, {"change": "trial_end", "plan": ...}, "at"),
    (CHANGES, {"change": "cancel", "plan": ..., "at": "2026-07-01T00:00:00Z"}, "at"),
    (CHANGES, {"reason": ...}, "reason"),
    (CHANGES, {"reason": " "}, "reason"),
    (CHANGES, {"digest": 5}, "digest"),
    (CHANGES, {"preview": "perhaps"}, "preview"),
    ("/api/v1/plans", {"proration": "hour"}, "proration"),
    ("/api/v1/plans", {"tiers_on_change": "keep"}, "tiers_on_change"),
    ("/api/v1/subscriptions", {"quantity": 0}, "quantity"),
    ("/api/v1/subscriptions", {"trial_ends_at": "2026-07-01T00:00:00Z"}, "trial_ends_at"),
    ("/api/v1/plans", {"cadence": "fortnight"}, "cadence"),
    ("/api/v1/plans", {"cadence": 3}, "cadence"),
    ("/api/v1/plans", {"prices": ...}, "prices"),
    ("/api/v1/plans", {"prices": []}, "prices"),
    ("/api/v1/plans", {"prices": {}}, "prices"),
    ("/api/v1/plans", {"prices": [5]}, "prices[0]"),
    ("/api/v1/plans", {"prices.0.meter": "nothing"}, "prices[0].meter"),
    ("/api/v1/plans", {"prices.0.meter": ...}, "prices[0].meter"),
    ("/api/v1/plans", {"prices.0.meter": 5}, "prices[0].meter"),
    ("/api/v1/plans", {"prices.0.currency": "USD2"}, "prices[0].currency"),
    ("/api/v1/plans", {"prices.0.currency": 978}, "prices[0].currency"),
    ("/api/v1/plans", {"prices.0.key": "x y"}, "prices[0].key"),
    ("/api/v1/plans", {"prices.0.model": "magic"}, "prices[0].model"),
    ("/api/v1/plans", {"prices.0.tiers": []}, "prices[0].tiers"),
    ("/api/v1/plans", {"prices.0.tiers.0.up_to": "NaN"}, "prices[0].tiers[0].up_to"),
    ("/api/v1/plans", {"prices.0.tiers.0.unit_amount": "-1"}, "prices[0].tiers[0].unit_amount"),
    ("/api/v1/plans", {"prices.0.tiers.0.unit_amount": "1e999999999"}, "prices[0].tiers[0].unit_amount"),
    ("/api/v1/plans", {"prices.0.tiers.1.up_to": "5"}, "prices[0].tiers[1].up_to"),
    ("/api/v1/plans", {"prices.0.unit_price": "1"}, "prices[0].unit_price"),
    ("/api/v1/plans", {"owner": "x"}, "owner"),
    ("/api/v1/invoices/preview", {"customer_id": "cust_nobody"}, "customer_id"),
    ("/api/v1/invoices/preview", {"customer_id": ...}, "customer_id"),
    ("/api/v1/invoices/preview", {"as_of": "2026-07-15T00:00:00"}, "as_of"),
    ("/api/v1/invoices/preview", {"as_of": "2026-01-01T00:00:00Z"}, "as_of"),
    ("/api/v1/invoices/preview", {"as_of": ""}, "as_of"),
    ("/api/v1/invoices/preview", {"period": "2026-07"}, "period"),
    ("/api/v1/prices/preview", {"quantity": "-1"}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": "NaN"}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": "Infinity"}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": "1e400000000"}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": "9" * 27}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": 10**150}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": "0.0000000000001"}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": "many"}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": True}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": None}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": []}, "quantity"),
    ("/api/v1/prices/preview", {"quantity": ...}, "quantity"),
    ("/api/v1/prices/preview", {"currency": "XX"}, "currency"),
    ("/api/v1/prices/preview", {"currency": 5}, "currency"),
    ("/api/v1/prices/preview", {"currency": ["USD"]}, "currency"),
    ("/api/v1/prices/preview", {"price": "cheap"}, "price"),
    ("/api/v1/prices/preview", {"price": {}}, "price.model"),
    ("/api/v1/prices/preview", {"price": {"model": "percentage", "rate": "2.9"}}, "price.rate"),
    ("/api/v1/prices/preview", {"price": {"model": "volume", "tiers": 5}}, "price.tiers"),
    ("/api/v1/prices/preview", {"price": {"model": "volume", "tiers": [{"up_to": None}] * 101}}, "price.tiers"),
    ("/api/v1/prices/preview", {"price.package_size": "0"}, "price.package_size"),
    ("/api/v1/prices/preview", {"discount": "1"}, "discount"),
    ("/api/v1/prices/preview", {"groups": []}, "groups"),
    ("/api/v1/prices/preview", {"price": MATRIX}, "groups"),
    ("/api/v1/prices/preview", {"price": MATRIX, "groups": 5}, "groups"),
    ("/api/v1/prices/preview", {"price": MATRIX, "groups": [{}] * 1001}, "groups"),
    ("/api/v1/prices/preview", {"price": MATRIX, "groups": ["eu"]}, "groups[0]"),
    ("/api/v1/prices/preview", {"price": MATRIX, "groups": [{"values": ["eu"]}]}, "groups[0].quantity"),
    (
        "/api/v1/prices/preview",
        {"price": MATRIX, "groups": [{"values": ["eu", "x"], "quantity": "1"}]},
        "groups[0].values",
    ),
    ("/api/v1/prices/preview", {"price": MATRIX, "groups": [{"values": [1], "quantity": "1"}]}, "groups[0].values[0]"),
    ("/api/v1/prices/preview", {"price": MATRIX, "groups": [EU_GROUP, EU_GROUP]}, "groups[1].values"),
    ("/api/v1/prices/preview", {"price": MATRIX, "groups": [EU_GROUP | {"rate": "1"}]}, "groups[0].rate"),
    ("/api/v1/prices/preview", {"price": MATRIX, "groups": [EU_GROUP]}, "quantity"),
    ("/api/v1/prices/preview", {"price": MATRIX, "quantity": ..., "groups": [US_GROUP]}, "cells"),
    (
        "/api/v1/plans",
        {"prices": [{"key": "u", "meter": "actions", "currency": "USD", **MATRIX}]},
        "prices[0].dimensions[0]",
    ),
    ("/api/v1/meters", {"key": "a b"}, "key"),
    ("/api/v1/meters", {"key": 5}, "key"),
    ("/api/v1/meters", {"event_type": ...}, "event_type"),
    ("/api/v1/meters", {"event_type": []}, "event_type"),
    ("/api/v1/meters", {"aggregation": "median"}, "aggregation"),
    ("/api/v1/meters", {"unit": LONG}, "unit"),
    ("/api/v1/meters", {"colour": "red"}, "colour"),
    ("/api/v1/events", {"timestamp": "2026-07-15T00:00:00"}, "timestamp"),
    ("/api/v1/events", {"quantity": "-1"}, "quantity"),
    ("/api/v1/events", {"quantity": "NaN"}, "quantity"),
    ("/api/v1/events", {"customer_id": ...}, "customer_id"),
    ("/api/v1/events", {"event_id": 5}, "event_id"),
    ("/api/v1/credit-grants", {"amount": {"amount": "NaN", "currency": "USD"}}, "amount"),
    ("/api/v1/credit-grants", {"amount": {"amount": "1e400", "currency": "USD"}}, "amount"),
    ("/api/v1/credit-grants", {"amount": {"amount": "9" * 17, "currency": "USD"}}, "amount"),
    ("/api/v1/credit-grants", {"name": NUL}, "name"),
    ("/api/v1/credit-grants", {"key": NUL}, "key"),
    ("/api/v1/credit-grants", {"plans": [NUL]}, "plans[0]"),
    ("/api/v1/credit-grants", {"plans": "pro"}, "plans"),
    ("/api/v1/credit-grants", {"meters": [LONG]}, "meters"),
    ("/api/v1/credit-grants", {"priority": True}, "priority"),
    ("/api/v1/credit-grants", {"priority": 10**30}, "priority"),
    ("/api/v1/credit-grants", {"effective_at": "0001-01-01T00:00:00+14:00"}, "effective_at"),
    ("/api/v1/credit-grants", {"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
    ("/api/v1/credit-grants", {"reason": NUL}, "reason"),
    (COMMITMENTS, {"tranches": []}, "tranches"),
    (COMMITMENTS, {"tranches": [None]}, "tranches[0]"),
    (COMMITMENTS, {"tranches.1.periods": 10**30}, "tranches[1].periods"),
    (COMMITMENTS, {"tranches.0.amount": {"amount": "NaN", "currency": "USD"}}, "tranches[0].amount"),
    (COMMITMENTS, {"tranches.0.amount": {"amount": "1.005", "currency": "USD"}}, "tranches[0].amount"),
    (COMMITMENTS, {"rollover_max": {"amount": "-1", "currency": "USD"}}, "rollover_max"),
    (COMMITMENTS, {"overage_rate": "NaN"}, "overage_rate"),
    (COMMITMENTS, {"overage_rate": "0.0000000000001"}, "overage_rate"),
    (COMMITMENTS, {"starts_at": "9999-12-31T23:59:59-12:00"}, "starts_at"),
    ("/api/v1/coupons", {"percent_off": "NaN"}, "percent_off"),
    ("/api/v1/coupons", {"percent_off": "1e400"}, "percent_off"),
    ("/api/v1/coupons", {"code": NUL}, "code"),
    ("/api/v1/coupons", {"periods": 10**30}, "periods"),
    ("/api/v1/coupons", {"redeem_by": "0001-01-01T00:00:00+14:00"}, "redeem_by"),
]


@pytest.fixture
def house() -> Caller:
    """A plan, a customer with and one without a subscription, and a key that may do everything."""
    a_plan()
    a_subscription(a_customer("cust_acme"))
    a_customer("cust_idle")
    return Caller()


def changed(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the document with members replaced at dotted paths, or dropped where the new value is `...`."""
    result: Any = deepcopy(document)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = result
        for name in parents:
            place = place[int(name) if name.isdigit() else name]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return result


@pytest.mark.parametrize(("path", "changes", "field"), CASES, ids=str)
def test_a_wrong_field_is_told_by_its_name(house, path, changes, field):
    answer = house.post(path, changed(GOOD[path], changes))

    assert 400 <= answer.status_code < 500, answer.content
    assert field in fields_of(answer), answer.content
    assert all(error["code"] and error["message"] for error in answer.json()["errors"])


@pytest.mark.parametrize("path", GOOD)
def test_the_unchanged_request_is_accepted(house, path):
    assert house.post(path, GOOD[path]).status_code < 300


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", (400, 415, 422)),
        (b"null", (400, 422)),
        (b"[]", (400, 422)),
        (b'"text"', (400, 422)),
        (b"5", (400, 422)),
        (b"{}", (422,)),
        (b"{", (400,)),
        (b"\xff\xfe\x00", (400,)),
        (b'{"a": NaN}', (400, 422)),
        (b'{"a": 1, "a": 2}', (400, 422)),
        (b'{"a\\ud800": 1}', (400, 422)),
        (b'{"key": "\\u0000"}', (422,)),
        (b"[" * 100_000, (400,)),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, (400, 422)),
        (b"1" * 100_000, (400, 422)),
        (b'{"quantity": 1e999999999}', (400, 422)),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else "",
)
def test_a_body_that_makes_no_sense_is_refused(house, path, body, status):
    answer = house.send("POST", path, body)

    assert answer.status_code in status, answer.content[:300]
    fields_of(answer)


@pytest.mark.parametrize("path", GOOD)
def test_twenty_megabytes_of_nonsense_are_refused(house, path):
    assert house.send("POST", path, b"nonsense" * 2_500_000).status_code == 413


@pytest.mark.parametrize(
    "path",
    ["customers", "subscriptions", "plans", "invoices", "meters"],
)
@pytest.mark.parametrize("name", ["nothing", "%F0%9F%92%A9", "%ff", "..", "'", "x" * 3000, "%0a", "-1", "%5C"])
def test_a_name_that_nobody_has_is_a_404(house, path, name):
    answer = house.get(f"/api/v1/{path}/{name}")

    assert answer.status_code == 404
    fields_of(answer)


@pytest.mark.parametrize(
    "changes",
    [{"key": "other"}, {"currency": "USD"}, {"timezone": "UTC"}, {"net_terms_days": None}, {"name": ""}, {"name": 5}],
    ids=str,
)
def test_what_cannot_change_about_a_customer_is_told_by_field(house, changes):
    answer = house.patch("/api/v1/customers/cust_acme", changes)

    assert answer.status_code == 422
    assert set(fields_of(answer)) == set(changes)


def test_an_empty_change_changes_nothing(house):
    before = house.get("/api/v1/customers/cust_acme").json()

    assert house.patch("/api/v1/customers/cust_acme", {}).json() == before


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["cust_acme", "pro", "actions", "USD", "graduated", "1", "-1", "NaN", "2026-07-15T00:00:00Z", "\x00"]
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WITH_DATABASE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.parametrize("path", GOOD)
@WITH_DATABASE
@given(content=st.data())
def test_nothing_that_json_can_say_is_a_500(house, path, content):
    document: Any = deepcopy(GOOD[path])
    for name in content.draw(st.lists(st.sampled_from([*document, "stranger"]), min_size=1, max_size=3)):
        document[name] = content.draw(ANYTHING)

    answer = house.post(path, document)

    assert answer.status_code < 500, (document, answer.content)
    if answer.status_code >= 400:
        fields_of(answer)


@pytest.mark.parametrize("path", ["/api/v1/plans", "/api/v1/prices/preview"])
@WITH_DATABASE
@given(content=st.data())
def test_no_price_that_json_can_say_is_a_500(house, path, content):
    price = {
        name: content.draw(ANYTHING)
        for name in content.draw(
            st.lists(st.sampled_from(["unit_amount", "tiers", "package_size", "package_amount", "free_units", "rate"]))
        )
    }
    price["model"] = content.draw(st.sampled_from(["flat", "per_unit", "package", "volume", "percentage"]))
    document: dict[str, Any] = (
        {**PRICE, "price": price}
        if path.endswith("preview")
        else {**PLAN, "prices": [{"key": "u", "meter": "actions", "currency": "USD", **price}]}
    )

    answer = house.post(path, document)

    assert answer.status_code < 500, (document, answer.content)


@pytest.mark.parametrize("path", GOOD)
@WITH_DATABASE
@given(body=st.binary(max_size=200) | st.binary(max_size=50).map(lambda rest: b'{"key": ' + rest))
def test_no_bytes_are_a_500(house, path, body):
    answer = house.send("POST", path, body)

    assert 400 <= answer.status_code < 500
    json.loads(answer.content)


@WITH_DATABASE
@given(
    path=st.sampled_from(["customers", "subscriptions", "plans", "invoices", "meters", "usage"]),
    name=st.sampled_from(
        ["limit", "cursor", "customer_id", "status", "period", "meter", "start", "end", "granularity"]
    ),
    value=st.text(max_size=30),
)
def test_no_parameter_is_a_500(house, path, name, value):
    answer = house.client.get(f"/api/v1/{path}", {name: value}, headers={"Authorization": f"Bearer {house.key}"})

    assert answer.status_code < 500, (path, name, value, answer.content)
