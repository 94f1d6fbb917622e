"""Every address of the API, whoever wrote it: a scope for every method, and nothing of another customer."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from moneyed import Money
from rest_framework.settings import api_settings

from billing_site.api.scopes import SCOPES
from invoicing.customers.models import Customer
from invoicing.spend.operations import set_budget
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, use

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SECRET = "cust_other"


def routes(patterns: list[Any] | None = None, prefix: str = "/") -> Iterator[tuple[str, Any]]:
    """Yield the path and view class of every route under /api/v1/."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if path.startswith("/api/v1/") or "/api/v1/".startswith(path):
                yield from routes(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern) and path.startswith("/api/v1/"):
            yield path, pattern.callback.cls


ROUTES = sorted(routes(), key=lambda route: route[0])


def test_the_walk_sees_the_routes():
    paths = {path for path, _ in ROUTES}

    assert {"/api/v1/events", "/api/v1/usage", "/api/v1/customers/<str:key>", "/api/v1/invoices/preview"} <= paths


@pytest.mark.parametrize(("path", "view"), ROUTES, ids=[path for path, _ in ROUTES])
def test_every_method_declares_a_known_scope_and_nothing_is_left_open(path, view):
    methods = {method for method in METHODS if hasattr(view, method.lower())}

    assert methods
    assert set(view.scopes) == methods
    assert set(view.scopes.values()) <= set(SCOPES)
    assert set(getattr(view, "customer_bound", ())) <= methods
    assert list(view.permission_classes) == list(api_settings.DEFAULT_PERMISSION_CLASSES)
    assert list(view.authentication_classes) == list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "view"), ROUTES, ids=[path for path, _ in ROUTES])
def test_every_method_refuses_without_a_key_and_without_its_scope(path, view):
    for method, scope in view.scopes.items():
        concrete = re.sub(r"<[^>]+>", "x", path)
        nobody, lacking = Caller(), Caller(*(other for other in SCOPES if other != scope))
        nobody.key = "bbk_nobody"

        assert nobody.send(method, concrete, "{}").status_code == 401
        refused = lacking.send(method, concrete, "{}")
        assert refused.status_code == 403
        assert scope in refused.json()["detail"]


@pytest.fixture
def two_customers() -> str:
    """Two customers with a usage plan and an issued invoice each; returns the number of the other one's."""
    a_plan()
    numbers = {}
    for key in ("cust_acme", SECRET):
        a_subscription(a_customer(key, name=f"Name of {key}", email=f"{key}@example.com"), key=f"sub_{key}")
        use(key, "250", at=JULY + timedelta(days=3))
    for invoice in issue_billing(as_of=AUGUST, at=AUGUST).invoices:
        numbers[invoice.customer.key] = str(invoice.number)
    set_budget(
        key=f"budget_{SECRET}",
        customer=Customer.objects.get(key=SECRET),
        name="A cap",
        amount=Money("100", "USD"),
        actor="test",
        reason="set up",
    )
    return numbers[SECRET]


BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PATCH", "/api/v1/customers/<str:key>"): {"name": "Taken over"},
    ("POST", "/api/v1/customers"): {"key": "cust_new", "name": "New", "email": "", "currency": "USD"},
    ("POST", "/api/v1/subscriptions"): {"customer_id": SECRET, "plan": "pro", "started_at": "2026-09-01T00:00:00Z"},
    ("POST", "/api/v1/subscriptions/<str:key>/end"): {"ended_at": "2026-09-01T00:00:00Z", "reason": "malice"},
    ("POST", "/api/v1/subscriptions/<str:key>/commitments"): {
        "starts_at": "2026-09-01T00:00:00Z",
        "payment": "in_advance",
        "tranches": [{"periods": 1, "amount": {"amount": "1.00", "currency": "USD"}}],
        "reason": "malice",
    },
    ("POST", "/api/v1/subscriptions/<str:key>/changes"): {
        "change": "pause",
        "at": "2026-09-01T00:00:00Z",
        "reason": "malice",
    },
    ("POST", "/api/v1/budgets"): {
        "customer_id": SECRET,
        "name": "Mine",
        "amount": {"amount": "1.00", "currency": "USD"},
    },
    ("PATCH", "/api/v1/budgets/<str:key>"): {"name": "Taken over"},
    ("POST", "/api/v1/budgets/<str:key>/retire"): {"reason": "malice"},
    ("POST", "/api/v1/usage/report"): {
        "tenant_id": SECRET,
        "subscription_id": f"sub_{SECRET}",
        "query_count": "1000000",
    },
    ("POST", "/api/v1/coupons"): {"code": "MINE", "percent_off": "100", "duration": "forever"},
    ("POST", "/api/v1/coupons/<str:code>/close"): {},
    ("POST", "/api/v1/discounts"): {"code": "LAUNCH", "customer_id": SECRET},
    ("POST", "/api/v1/discounts/<str:number>/end"): {},
    ("POST", "/api/v1/credit-grants"): {"customer_id": SECRET, "kind": "promotional"},
    ("POST", "/api/v1/credit-grants/<str:key>/void"): {"reason": "malice"},
    ("POST", "/api/v1/invoices"): {
        "key": "mine",
        "customer_id": SECRET,
        "lines": [{"description": "x", "quantity": "1", "unit_amount": {"amount": "1.00", "currency": "USD"}}],
        "reason": "malice",
    },
    ("POST", "/api/v1/invoices/<str:number>/void"): {"reason": "malice"},
    ("POST", "/api/v1/invoices/<str:number>/write-off"): {"reason": "malice"},
    ("POST", "/api/v1/invoices/<str:number>/write-off/reversal"): {"reason": "malice"},
    ("POST", "/api/v1/invoices/<str:number>/reissue"): {"reason": "malice"},
    ("POST", "/api/v1/bank-statements"): {"name": "x", "format": "camt053", "content": "eA=="},
    ("POST", "/api/v1/disputes/<str:stripe_id>/decision"): {"kind": "accept", "reason": "malice"},
    ("POST", "/api/v1/invoices/<str:number>/credit-notes"): {
        "key": "mine",
        "disposition": "refund",
        "reason": "malice",
    },
    ("POST", "/api/v1/credit-notes/<str:number>/refunds/<str:refund>/paid"): {"reference": "mine"},
    ("POST", "/api/v1/top-up-rules"): {
        "key": "mine",
        "customer_id": SECRET,
        "threshold": {"amount": "1.00", "currency": "USD"},
        "amount": {"amount": "1.00", "currency": "USD"},
        "max_per_month": 1,
        "reason": "malice",
    },
    ("POST", "/api/v1/progressive-thresholds"): {
        "key": "mine",
        "customer_id": SECRET,
        "amount": {"amount": "1.00", "currency": "USD"},
        "reason": "malice",
    },
    ("POST", "/api/v1/dunning/process"): {
        "tenant_id": SECRET,
        "failure_count": 1,
        "invoice_amount": {"amount": "1.00", "currency": "USD"},
    },
    ("POST", "/api/v1/progressive-thresholds/<str:key>/retire"): {"reason": "malice"},
    ("POST", "/api/v1/billing-runs"): {"as_of": "2026-08-01T00:00:00Z", "reason": "malice"},
    ("POST", "/api/v1/billing-runs/<str:number>/issue"): {"digest": "x"},
    ("POST", "/api/v1/held-invoices/<str:number>/release"): {"digest": "x", "reason": "malice"},
    ("POST", "/api/v1/approvals/<str:number>/decision"): {"decision": "approved", "digest": "x", "reason": "malice"},
    ("POST", "/api/v1/top-up-rules/<str:key>/retire"): {"reason": "malice"},
    ("POST", "/api/v1/top-ups"): {
        "key": "mine",
        "customer_id": SECRET,
        "amount": {"amount": "1.00", "currency": "USD"},
        "reason": "malice",
    },
    ("PUT", "/api/v1/customers/<str:key>/tax"): {"country": "DE", "reason": "malice"},
    ("POST", "/api/v1/legal-entities"): {
        "key": "mine",
        "name": "Mine Ltd.",
        "invoice_prefix": "MINE",
        "credit_note_prefix": "MINE-CN",
        "reason": "malice",
    },
    ("PATCH", "/api/v1/legal-entities/<str:key>"): {"bank": "mine", "reason": "malice"},
    ("POST", "/api/v1/tax/settings"): {"valid_from": "2026-01-01", "country": "DE", "reason": "malice"},
    ("POST", "/api/v1/tax/registrations"): {"jurisdiction": "DE", "number": "1"},
    ("POST", "/api/v1/tax/registrations/<str:number>/end"): {"valid_to": None, "reason": "malice"},
    ("POST", "/api/v1/tax/rates"): {"jurisdiction": "DE", "name": "VAT", "rate": "0"},
    ("POST", "/api/v1/tax/rates/<str:number>/end"): {"valid_to": None, "reason": "malice"},
    ("POST", "/api/v1/tax/exemptions"): {"customer_id": SECRET, "jurisdiction": "DE"},
    ("POST", "/api/v1/tax/exemptions/<str:number>/end"): {"valid_to": None, "reason": "malice"},
    ("POST", "/api/v1/invoices/preview"): {"customer_id": SECRET, "as_of": "2026-07-15T00:00:00Z"},
    ("POST", "/api/v1/prices/preview"): {
        "price": {"model": "flat", "unit_amount": "1"},
        "quantity": "0",
        "currency": "USD",
    },
    ("POST", "/api/v1/plans"): {
        "key": "pro",
        "product": "platform",
        "prices": [{"key": "base", "currency": "USD", "model": "flat", "unit_amount": "0"}],
    },
    ("POST", "/api/v1/months/<str:month>/sign-offs"): {"check": "billed", "digest": "x", "reason": "malice"},
    ("POST", "/api/v1/months/<str:month>/close"): {"digest": "x", "reason": "malice"},
    ("POST", "/api/v1/months/<str:month>/reopening"): {"reason": "malice"},
    ("POST", "/api/v1/meters"): {"key": "mine", "event_type": "mine.used"},
    ("POST", "/api/v1/events/corrections"): {
        "customer_id": SECRET,
        "idempotency_key": "event-1",
        "action": "cancel",
        "reason": "malice",
    },
    ("POST", "/api/v1/events"): {
        "event_id": "e",
        "idempotency_key": "e",
        "event_type": "action.consumed",
        "timestamp": "2026-07-15T00:00:00.000Z",
        "customer_id": SECRET,
        "quantity": "1",
    },
}
QUERIES = {
    "/api/v1/usage": f"?customer_id={SECRET}&meter=actions&start=2026-07-01T00:00:00Z&end=2026-08-01T00:00:00Z",
    "/api/v1/subscriptions": f"?customer_id={SECRET}",
    "/api/v1/invoices": f"?customer_id={SECRET}",
    "/api/v1/budgets": f"?customer_id={SECRET}",
    "/api/v1/discounts": f"?customer_id={SECRET}",
    "/api/v1/credit-grants": f"?customer_id={SECRET}",
    "/api/v1/top-ups": f"?customer_id={SECRET}",
    "/api/v1/credit-notes": f"?customer_id={SECRET}",
    "/api/v1/top-up-rules": f"?customer_id={SECRET}",
    "/api/v1/progressive-thresholds": f"?customer_id={SECRET}",
    "/api/v1/tax/exemptions": f"?customer_id={SECRET}",
    "/api/v1/spend-notices": f"?customer_id={SECRET}",
    "/api/v1/anomalies": f"?customer_id={SECRET}",
}
# Methods that concern nobody in particular: a bound key may use them.
OF_NOBODY = {("POST", "/api/v1/prices/preview"), ("GET", "/api/v1/plans"), ("GET", "/api/v1/plans/<str:key>")}
OF_NOBODY |= {("GET", "/api/v1/meters"), ("GET", "/api/v1/meters/<str:key>")}
LISTS = {("GET", "/api/v1/customers"), ("GET", "/api/v1/subscriptions"), ("GET", "/api/v1/invoices")}
LISTS |= {("GET", "/api/v1/budgets"), ("GET", "/api/v1/spend-notices"), ("GET", "/api/v1/discounts")}
LISTS |= {("GET", "/api/v1/anomalies"), ("GET", "/api/v1/progressive-thresholds")}
LISTS |= {("GET", "/api/v1/credit-grants"), ("GET", "/api/v1/top-ups")}
LISTS |= {("GET", "/api/v1/top-up-rules"), ("GET", "/api/v1/credit-notes"), ("GET", "/api/v1/tax/exemptions")}
LISTS |= {("GET", "/api/v1/events/conflicts"), ("GET", "/api/v1/events/unapplied")}


def concrete_path(path: str, *, number: str) -> str:
    named = {"customers": SECRET, "subscriptions": f"sub_{SECRET}", "invoices": number, "plans": "pro"}
    named["budgets"] = f"budget_{SECRET}"
    resource = path.removeprefix("/api/v1/").split("/")[0]
    return re.sub(r"<[^>]+>", named.get(resource, "actions"), path)


@pytest.mark.django_db
def test_a_key_of_one_customer_sees_and_does_nothing_of_another(two_customers):
    bound = Caller(customer="cust_acme")

    for path, view in ROUTES:
        for method in view.scopes:
            body = BODIES.get((method, path))
            assert body is not None or method not in ("POST", "PATCH", "PUT"), f"no body for {method} {path}"
            address = concrete_path(path, number=two_customers)
            for query in {"", QUERIES.get(path, "")}:
                answer = bound.send(method, address + query, json.dumps(body) if body else "")
                told = answer.content.decode().replace(f"there is no customer '{SECRET}'", "")
                told = told.replace(f"there is no subscription 'sub_{SECRET}'", "")
                told = told.replace(f"there is no budget 'budget_{SECRET}'", "")
                told = told.replace(f"there is no invoice '{two_customers}'", "")
                assert answer.status_code < 500, (method, path, told)
                assert SECRET not in told.replace(f"sub_{SECRET}", SECRET), (method, path, told)
                assert two_customers not in told, (method, path, told)
                if (method, path) in OF_NOBODY | LISTS:
                    assert answer.status_code == 200, (method, path, told)
                else:
                    assert answer.status_code in (403, 404, 422), (method, path, told)

    unbound = Caller()
    assert unbound.get(f"/api/v1/customers/{SECRET}").json()["name"] == f"Name of {SECRET}"
    assert unbound.get(f"/api/v1/subscriptions/sub_{SECRET}").json()["ended_at"] is None
    assert len(unbound.get("/api/v1/subscriptions").json()["data"]) == 2
    assert len(unbound.get("/api/v1/plans/pro").json()["versions"]) == 1


@pytest.mark.django_db
def test_a_key_of_one_customer_sees_its_own(two_customers):
    bound = Caller(customer="cust_acme")

    assert [row["key"] for row in bound.get("/api/v1/customers").json()["data"]] == ["cust_acme"]
    assert [row["key"] for row in bound.get("/api/v1/subscriptions").json()["data"]] == ["sub_cust_acme"]
    (invoice,) = bound.get("/api/v1/invoices").json()["data"]
    assert bound.get(f"/api/v1/invoices/{invoice['number']}").json()["customer_id"] == "cust_acme"
    assert bound.get(f"/api/v1/invoices/{invoice['number']}/explain").json()["equal"] is True
    question = {"customer_id": "cust_acme", "as_of": "2026-07-15T00:00:00Z"}
    assert bound.post("/api/v1/invoices/preview", question).status_code == 200
    assert bound.patch("/api/v1/customers/cust_acme", {"address": "New street 1"}).status_code == 200
    assert bound.patch("/api/v1/customers/cust_acme", {"net_terms_days": 365}).status_code == 403


@pytest.mark.django_db
def test_an_answer_is_not_replayed_to_another_key(two_customers):
    question = {"customer_id": SECRET, "as_of": "2026-07-15T00:00:00Z"}
    assert Caller().post("/api/v1/invoices/preview", question, Idempotency_Key="k").status_code == 200

    assert (
        Caller(customer="cust_acme").post("/api/v1/invoices/preview", question, Idempotency_Key="k").status_code == 404
    )
