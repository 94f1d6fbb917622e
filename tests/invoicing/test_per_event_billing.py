"""A percentage of each event from the events to the invoice and back: billed, proved, corrected, asked what if, refused where it cannot be."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from billing_site.kernel.errors import InvalidFields
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.mapping import core_price
from invoicing.catalog.models import Plan, PlanVersion
from invoicing.catalog.operations import load_catalog
from invoicing.catalog.queries import published_version
from invoicing.invoices.models import Invoice
from invoicing.workflows.explain_invoice import explain_invoice, prove_line
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from metering.correcting import amend_event, cancel_event
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, JULY, a_customer, a_subscription, settle_constraints, use
from tests.invoicing.late import BILLED_AT
from tests.invoicing.what_ifs import ask, before_and_after, in_place

pytestmark = pytest.mark.django_db

METER = {"key": "sales", "event_type": "sale", "value_property": "amount", "unit": "dollar"}
CARD: dict[str, Any] = {
    "key": "sales",
    "name": "Card fees",
    "meter": "sales",
    "currency": "USD",
    "model": "percentage",
    "rate": "0.029",
    "fixed_amount_per_event": "0.3",
    "minimum_amount_per_event": "0.5",
    "maximum_amount_per_event": "5",
}
BY = {"actor": "fiona", "reason": "test"}
PER_EVENT = [name for name in CARD if name.endswith("per_event")]


def sell(price: dict[str, Any], **meter: Any) -> None:
    """A plan with this price."""
    plan = {"key": "pro", "name": "Pro", "product": "platform", "prices": [price]}
    document = {"meters": [METER | meter], "products": [{"key": "platform"}], "plans": [plan]}
    load_catalog(document=document, at=JULY, **BY)


def sale(amount: str, *, day: int = 3, key: str = "") -> None:
    """A sale of July."""
    use("cust_acme", "1", at=JULY + timedelta(days=day), event_type="sale", key=key, amount=amount)


@pytest.fixture
def july() -> Invoice:
    """July of a customer with small, middling and great sales, invoiced."""
    sell(CARD)
    a_subscription(a_customer())
    sale("1", key="small")
    sale("99", key="middling")
    sale("50", day=20)
    sale("1000", day=30)
    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    return invoice


def test_each_event_is_charged_by_itself_and_proved_from_raw_events(july: Invoice) -> None:
    [line] = july.lines.all()

    assert f"{july.total.amount:.2f}" == "10.42"  # 0.50 + (149 x 0.029 = 4.321) + 2 x 0.30 + 5
    assert line.rated["inputs"]["usage"]["by_size"]["between"] == {"count": 2, "quantity": "149"}
    assert explain_invoice(number=july.number or "")["equal"]
    assert verify() == []


def test_two_events_that_change_places_within_an_hour_are_a_late_change_although_no_sum_moves(july: Invoice) -> None:
    for key, amount in (("small", "50"), ("middling", "50")):
        amend_event(customer_id="cust_acme", idempotency_key=key, changes={"properties": {"amount": amount}}, **BY)

    [change] = late_changes(at=BILLED_AT).changes
    assert change.before.windows_digest == change.after.windows_digest
    assert (change.quantity, f"{change.effect.amount:.2f}") == (0, "-0.17")
    settle_late_changes(at=BILLED_AT)

    settle_constraints()
    assert late_changes(at=BILLED_AT).changes == ()
    assert verify() == []


def test_late_and_cancelled_events_correct_what_their_own_sizes_cost(july: Invoice) -> None:
    sale("2000")
    settle_late_changes(at=BILLED_AT)
    cancel_event(customer_id="cust_acme", idempotency_key="small", **BY)
    settle_late_changes(at=BILLED_AT)

    effects = [f"{one.effect.amount:.2f}" for one in july.lines.get().corrections.order_by("id")]
    assert effects == ["5.00", "-0.50"]
    settle_constraints()
    assert verify() == []


def test_a_line_that_tells_other_sizes_than_its_events_is_noticed(july: Invoice) -> None:
    line = july.lines.get()
    sizes = line.rated["inputs"]["usage"]["by_size"]
    sizes["below"]["count"], sizes["between"]["count"] = 2, 1

    assert (
        "raw events divide otherwise than the line says by what its price asks for" in prove_line(line=line).differences
    )


def test_what_if_takes_the_sizes_of_the_line_or_counts_the_events_again(july: Invoice) -> None:
    sale("3000")  # not known then
    without_bounds = {name: value for name, value in CARD.items() if name not in PER_EVENT[1:]}

    assert before_and_after(ask(cards=in_place(CARD | {"name": "The same"}))) == {"cust_acme": ("10.42", "10.42")}
    assert before_and_after(ask(cards=in_place(CARD | {"maximum_amount_per_event": "10"}))) == {
        "cust_acme": ("10.42", "15.42")
    }
    assert before_and_after(ask(cards=in_place(without_bounds))) == {"cust_acme": ("10.42", "34.55")}


def test_nothing_sold_costs_nothing_and_a_running_period_is_previewed_up_to_now(july: Invoice) -> None:
    a_subscription(a_customer("cust_idle"))
    idle = preview_invoice(customer_key="cust_idle", as_of=AUGUST - timedelta(seconds=1)).assembled
    early = preview_invoice(customer_key="cust_acme", as_of=JULY + timedelta(days=10)).assembled

    assert idle.total.amount == 0
    assert f"{early.total.amount:.2f}" == "3.67"


@pytest.mark.parametrize("aggregation", ["count", "max", "time_weighted_sum"])
def test_only_a_meter_of_sums_has_amounts_of_events(aggregation: str) -> None:
    with pytest.raises(InvalidFields) as problem:
        sell(CARD, aggregation=aggregation, value_property="" if aggregation == "count" else "amount")

    assert [(error.field, error.code) for error in problem.value.errors] == [
        ("plans[0].prices[0].fixed_amount_per_event", "not_a_sum")
    ]
    assert PlanVersion.objects.count() == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"minimum_amount_per_event": "6"}, "minimum_amount_per_event"),
        ({"fixed_amount_per_event": "6"}, "fixed_amount_per_event"),
        ({"fixed_amount_per_event": "-1"}, "fixed_amount_per_event"),
        ({"rate": "0"}, "rate"),
        ({"free_units": "3"}, "free_units"),
    ],
)
def test_the_api_and_the_form_of_a_draft_tell_a_mistake_alike(
    change: dict[str, str], field: str, july: Invoice, admin_client: Client
) -> None:
    draft = draft_next_version(plan_id=Plan.objects.get().pk, **BY)
    price = draft.prices.get()
    right = {name: value for name, value in CARD.items() if name != "meter"} | {
        "plan_version": draft.pk,
        "meter": price.meter_id,
        "position": "0",
        "free_units": "0",
        "reason": "set up",
        **{f"{rows}-{total}_FORMS": "0" for rows in ("tiers", "cells") for total in ("TOTAL", "INITIAL")},
    }
    address = reverse("admin:invoicing_price_change", args=[price.pk])

    answer = Caller().post("/api/v1/plans", {"key": "x", "product": {"key": "x"}, "prices": [CARD | change]})
    page = admin_client.post(address, right | change)

    assert [error["field"] for error in answer.json()["errors"]] == [f"prices[0].{field}"]
    assert list(page.context["adminform"].form.errors) == [field]
    assert admin_client.post(address, right).status_code == 302
    assert core_price(price=price) == core_price(price=published_version(plan_key="pro").prices.get())
    tried = admin_client.get(reverse("admin:invoicing_price_preview", args=[price.pk]), {"events": "1 100 1,000"})
    assert "USD 8.70" in tried.content.decode()


def test_a_price_of_each_event_is_tried_out_with_events() -> None:
    price = {name: value for name, value in CARD.items() if name not in ("key", "name", "meter", "currency")}
    events = [{"quantity": "1", "count": 10}, {"quantity": "100"}]

    answer = Caller("prices:read").post(
        "/api/v1/prices/preview", {"price": price, "currency": "USD", "events": events, "quantity": "110"}
    )
    asked = {"price": price, "currency": "USD", "events": [{"quantity": "1", "count": 0}, {"amount": "1"}, 5]}
    wrong = Caller("prices:read").post("/api/v1/prices/preview", asked)

    assert answer.json()["amount"] == "8.20"
    assert [error["field"] for error in wrong.json()["errors"]] == [
        "events[0].count",
        "events[1].amount",
        "events[1].quantity",
        "events[2]",
    ]


@pytest.mark.parametrize(
    "columns",
    [
        "fixed_amount_per_event = -1",
        "minimum_amount_per_event = 6",
        "fixed_amount_per_event = 6",
        "model = 'per_unit', unit_amount = 1",
    ],
)
def test_raw_sql_cannot_make_nonsense_of_a_draft_nor_touch_what_is_published(columns: str, july: Invoice) -> None:
    draft = draft_next_version(plan_id=Plan.objects.get().pk, **BY)

    for condition in (f"plan_version_id = {draft.pk}", f"plan_version_id <> {draft.pk}"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE invoicing_price SET {columns} WHERE {condition}")
