"""A price by dimension from the events to the invoice and back: billed, proved, corrected, asked what if, and refused where it cannot be."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from billing_site.kernel.errors import Conflict, InvalidFields
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.mapping import core_price
from invoicing.catalog.models import Plan, PlanVersion, Price, PriceCell
from invoicing.catalog.operations import load_catalog, publish_version
from invoicing.catalog.queries import published_version
from invoicing.core.definition import price_from_definition
from invoicing.invoices.document import render_pdf
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.override import OwnPrice, override_price
from invoicing.workflows.explain_invoice import explain_invoice, prove_line
from invoicing.workflows.invoice_document import document_of
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from metering.correcting import amend_event
from metering.queries import billing_usage, usage_as_known
from metering.rollup import roll_up
from tests.factories import AUGUST, JULY, a_customer, a_subscription, settle_constraints, use
from tests.invoicing.late import BILLED_AT
from tests.invoicing.what_ifs import ask, before_and_after, in_place

pytestmark = pytest.mark.django_db

METER = {
    "key": "tokens",
    "event_type": "tokens.used",
    "unit": "token",
    "dimensions": ["namespace_id", "region", "model"],
}
MATRIX: dict[str, Any] = {
    "key": "tokens",
    "name": "Tokens",
    "meter": "tokens",
    "currency": "USD",
    "model": "matrix",
    "dimensions": ["model", "region"],
    "cells": [
        {"values": ["large", "eu"], "unit_amount": "0.03"},
        {"values": ["small", "eu"], "unit_amount": "0.01"},
        {"values": ["small", None], "unit_amount": "0.02"},
    ],
}
DEFAULT = {"default_unit_amount": "0.05"}
BY = {"actor": "fiona", "reason": "test"}


def sell(*prices: dict[str, Any], **terms: str) -> None:
    """A plan with these prices."""
    plan = {"key": "pro", "name": "Pro", "product": "platform", "prices": list(prices), **terms}
    document = {"meters": [METER], "products": [{"key": "platform", "name": "Platform"}], "plans": [plan]}
    load_catalog(document=document, at=JULY, **BY)


def used(quantity: str, *, day: int = 3, key: str = "", **properties: Any) -> None:
    """Tokens of July."""
    use("cust_acme", quantity, at=JULY + timedelta(days=day), event_type="tokens.used", key=key, **properties)


def bill() -> Invoice:
    """The issued invoice of July."""
    report = issue_billing(as_of=AUGUST, at=BILLED_AT)
    assert not report.failures, report.failures
    [invoice] = report.invoices
    return invoice


@pytest.fixture
def july() -> Invoice:
    """July of a customer who used three cells and two others, invoiced."""
    sell(MATRIX | DEFAULT)
    a_subscription(a_customer())
    used("1000", region="eu", model="large", key="wrong-region")
    used("100", region="eu", model="small")
    used("10", model="small")
    used("4", region="mars", model="large")
    used("0.5", day=30)
    return bill()


def test_usage_is_charged_by_its_values_and_proved_from_raw_events(july: Invoice) -> None:
    [line] = july.lines.all()

    assert f"{july.total.amount:.2f}" == "31.43"  # 30 + 1 + 0.20 + 4.5 x 0.05 = 31.425
    assert [(step["text"], step["amount"]) for step in line.rated["steps"]] == [
        ("1,000 tokens with model large and region eu at USD 0.03 each", "30"),
        ("100 tokens with model small and region eu at USD 0.01 each", "1"),
        ("10 tokens with model small and no region at USD 0.02 each", "0.2"),
        ("4.5 tokens with any other model and region at USD 0.05 each", "0.225"),
    ]
    explained = explain_invoice(number=july.number or "")
    assert explained["equal"], explained
    assert explained["lines"][0]["price"]["cells"] == MATRIX["cells"]
    assert verify() == []


def test_what_was_counted_by_windows_and_by_raw_events_divides_the_same(july: Invoice) -> None:
    period = preview_invoice(customer_key="cust_acme", as_of=AUGUST - timedelta(seconds=1)).contract.snapshot.period
    asked = {"customer_id": "cust_acme", "period": period}

    billed = billing_usage(meter_keys=["tokens"], **asked)["tokens"]  # type: ignore[arg-type]
    again = usage_as_known(meter_key="tokens", known_through=billed.known_through, **asked)  # type: ignore[arg-type]

    assert billed.groups is not None and billed.groups == again.groups
    assert billed.groups.by(["region"]) == {("eu",): 1100, (None,): 10.5, ("mars",): 4}
    assert billed.groups.by(["model", "region"])["small", None] == 10


def test_the_printed_invoice_names_the_values_even_where_there_is_one_cell() -> None:
    sell(MATRIX)
    a_subscription(a_customer())
    used("100", region="eu", model="small")

    document = document_of(invoice=bill())

    [step] = document.lines[0].steps
    assert step.text == "100 tokens with model small and region eu at USD 0.01 each"
    assert render_pdf(document=document).startswith(b"%PDF")


def test_nothing_used_is_billed_as_nothing(july: Invoice) -> None:
    a_subscription(a_customer("cust_idle"))

    computed = preview_invoice(customer_key="cust_idle", as_of=AUGUST - timedelta(seconds=1)).assembled

    assert (computed.total.amount, computed.lines[0].steps) == (0, ())


def test_values_without_a_price_fail_the_customers_invoice_until_somebody_acts() -> None:
    sell(MATRIX)
    subscription = a_subscription(a_customer())
    used("7", region="mars", model="large", key="to-mars")

    report = issue_billing(as_of=AUGUST, at=BILLED_AT)

    [failure] = report.failures
    assert "no cell for model large and region mars, and no default" in failure.message
    assert Invoice.objects.count() == 0

    # Somebody sells such tokens from now on, or corrects the event.
    with transaction.atomic():
        sell(MATRIX | DEFAULT)
        version = published_version(plan_key="pro")
        change_plan(subscription=subscription, plan_version=version, at=JULY, **BY)
        assert f"{bill().total.amount:.2f}" == "0.35"
        transaction.set_rollback(True)
    amend_event(
        customer_id="cust_acme",
        idempotency_key="to-mars",
        changes={"properties": {"region": "eu", "model": "large"}},
        **BY,
    )
    assert f"{bill().total.amount:.2f}" == "0.21"
    assert verify() == []


def test_an_event_that_moves_to_other_values_corrects_the_invoice_without_a_change_of_quantity(july: Invoice) -> None:
    amend_event(
        customer_id="cust_acme",
        idempotency_key="wrong-region",
        changes={"properties": {"region": "eu", "model": "small"}},
        **BY,
    )

    [change] = late_changes(at=BILLED_AT).changes
    assert (change.quantity, f"{change.effect.amount:.2f}") == (0, "-20.00")
    settle_late_changes(at=BILLED_AT)

    settle_constraints()
    assert verify() == []
    [correction] = july.lines.get().corrections.all()
    assert correction.rated["inputs"]["usage"]["groups"][0] == {"values": ["small", None], "quantity": "10"}


def test_late_usage_of_values_without_a_price_is_listed_as_a_failure() -> None:
    sell(MATRIX)
    a_subscription(a_customer())
    used("100", region="eu", model="small")
    bill()
    used("1", region="mars", model="small")

    found = late_changes(at=BILLED_AT)

    assert found.changes == ()
    assert "region mars" in found.failures[0].message


def test_a_line_that_tells_other_groups_than_its_events_is_noticed(july: Invoice) -> None:
    line = july.lines.get()
    groups = line.rated["inputs"]["usage"]["groups"]
    groups[0]["quantity"], groups[1]["quantity"] = groups[1]["quantity"], groups[0]["quantity"]

    differences = prove_line(line=line).differences

    assert "raw events divide otherwise than the line says by what its price asks for" in differences


def test_what_if_asks_the_same_cells_with_other_amounts_or_counts_others_again(july: Invoice) -> None:
    dearer = [{**cell, "unit_amount": "0.1"} for cell in MATRIX["cells"]]
    by_region = {"dimensions": ["region"], "cells": [{"values": ["eu"], "unit_amount": "1"}], **DEFAULT}
    used("5000", region="eu", model="large")  # not known then

    assert before_and_after(ask(cards=in_place(MATRIX | DEFAULT | {"cells": dearer}))) == {
        "cust_acme": ("31.43", "111.23")
    }
    assert before_and_after(ask(cards=in_place(MATRIX | by_region))) == {"cust_acme": ("31.43", "1100.73")}
    one_price = {"key": "tokens", "meter": "tokens", "currency": "USD", "model": "per_unit", "unit_amount": "1"}
    assert before_and_after(ask(cards=in_place(one_price))) == {"cust_acme": ("31.43", "1114.50")}
    unpriced = ask(cards=in_place(MATRIX))
    assert "no cell for no model and no region" in unpriced.rows.get().problem


def test_a_change_within_the_period_charges_each_part_by_its_own_matrix() -> None:
    sell(MATRIX | DEFAULT, tiers_on_change="carry")
    subscription = a_subscription(a_customer())
    used("100", region="eu", model="large", day=3)
    used("100", region="eu", model="large", day=20)
    sell(MATRIX | {"default_unit_amount": "1", "cells": MATRIX["cells"][1:]}, tiers_on_change="carry")
    version = published_version(plan_key="pro")
    change_plan(subscription=subscription, plan_version=version, at=JULY + timedelta(days=10), **BY)

    july = bill()

    assert [f"{line.amount.amount:.2f}" for line in july.lines.order_by("position")] == ["3.00", "100.00"]
    assert verify() == []


def test_a_customers_own_matrix_holds_for_its_time_and_must_fit_the_meter(july: Invoice) -> None:
    sell(MATRIX | DEFAULT, tiers_on_change="carry")
    subscription = a_subscription(a_customer("cust_own"))
    own = price_from_definition(
        {name: MATRIX[name] for name in ("model", "dimensions", "cells")} | {"default_unit_amount": "1"}
    )
    other = price_from_definition(
        {"model": "matrix", "dimensions": ["colour"], "cells": [{"values": ["red"], "unit_amount": "1"}]}
    )
    for day in (3, 20):
        use("cust_own", "2", at=JULY + timedelta(days=day), event_type="tokens.used", region="mars")

    with pytest.raises(InvalidFields) as problem:
        override_price(subscription=subscription, own=OwnPrice("tokens", other), at=JULY, **BY)
    override_price(subscription=subscription, own=OwnPrice("tokens", own), at=JULY + timedelta(days=10), **BY)
    report = issue_billing(as_of=AUGUST, at=BILLED_AT, customer_key="cust_own")

    assert [error.field for error in problem.value.errors] == ["definition.dimensions[0]"]
    assert not report.failures
    assert [f"{line.amount.amount:.2f}" for line in report.invoices[0].lines.order_by("position")] == ["0.10", "2.00"]
    assert verify() == []


def test_a_draft_copies_the_cells_and_publishes_what_the_file_would_say(july: Invoice) -> None:
    draft = draft_next_version(plan_id=Plan.objects.get().pk, **BY)
    published = published_version(plan_key="pro")

    assert core_price(price=draft.prices.get()) == core_price(price=published.prices.get())
    assert publish_version(version_id=draft.pk, at=AUGUST, **BY).digest == published.digest


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"first_dimension": "colour"}, "plans[0].prices[0].dimensions[0]", "unknown"),
        ({"first_dimension": ""}, "plans[0].prices[0].dimensions[0]", "unknown"),
        ({"second_dimension": ""}, "plans[0].prices[0].cells[0].values", "wrong_length"),
    ],
)
def test_a_draft_that_cannot_be_rated_is_not_published(
    july: Invoice, change: dict[str, str], field: str, code: str
) -> None:
    draft = draft_next_version(plan_id=Plan.objects.get().pk, **BY)
    if change.get("first_dimension") == "":
        change = {"first_dimension": "colour", "second_dimension": "region"}
    draft.prices.update(**change)

    with pytest.raises(InvalidFields) as problem:
        publish_version(version_id=draft.pk, at=AUGUST, **BY)

    assert (field, code) in [(error.field, error.code) for error in problem.value.errors]


@pytest.mark.parametrize(
    ("meter", "price", "mistake"),
    [
        (
            {},
            {"dimensions": ["colour"], "cells": [{"values": ["red"], "unit_amount": "1"}]},
            ("dimensions[0]", "unknown"),
        ),
        ({"dimensions": []}, {}, ("dimensions[0]", "unknown")),
        ({"aggregation": "max"}, {}, ("dimensions", "not_additive")),
        ({"aggregation": "time_weighted_sum"}, {}, ("dimensions", "not_additive")),
    ],
)
def test_a_matrix_that_does_not_fit_its_meter_is_refused_and_nothing_is_saved(
    meter: dict[str, Any], price: dict[str, Any], mistake: tuple[str, str]
) -> None:
    plan = {"key": "pro", "product": "platform", "prices": [MATRIX | price]}
    document = {"meters": [METER | meter], "products": [{"key": "platform"}], "plans": [plan]}

    with pytest.raises(InvalidFields) as problem:
        load_catalog(document=document, at=JULY, **BY)

    first = problem.value.errors[0]
    assert (first.field, first.code) == (f"plans[0].prices[0].{mistake[0]}", mistake[1])
    assert PlanVersion.objects.count() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_pricecell SET unit_amount = 0",
        "DELETE FROM invoicing_pricecell",
        "TRUNCATE invoicing_pricecell",
        "INSERT INTO invoicing_pricecell (price_id, position, first_value, unit_amount)"
        " SELECT id, 9, 'mars', 0 FROM invoicing_price LIMIT 1",
        "UPDATE invoicing_price SET default_unit_amount = 0",
        "UPDATE invoicing_price SET first_dimension = 'region', second_dimension = 'model'",
    ],
)
def test_raw_sql_does_not_change_the_cells_of_a_published_price(july: Invoice, statement: str) -> None:
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_pricecell SET unit_amount = -1",
        "UPDATE invoicing_pricecell SET first_value = ''",
        "UPDATE invoicing_pricecell SET first_value = 'small', second_value = NULL",
        "UPDATE invoicing_price SET default_unit_amount = -1",
        "UPDATE invoicing_price SET first_dimension = ''",
        "UPDATE invoicing_price SET first_dimension = second_dimension",
    ],
)
def test_raw_sql_cannot_make_nonsense_of_a_draft(july: Invoice, statement: str) -> None:
    draft = draft_next_version(plan_id=Plan.objects.get().pk, **BY)
    of_draft = "price_id" if "pricecell" in statement else "id"
    prices = Price.objects.filter(plan_version=draft).values_list("pk", flat=True)

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"{statement} WHERE {of_draft} = {prices[0]}")
    assert PriceCell.objects.filter(price__in=prices).count() == len(MATRIX["cells"])


def test_a_meter_keeps_its_dimensions_so_that_published_prices_stay_ratable(july: Invoice) -> None:
    with pytest.raises(Conflict):
        load_catalog(document={"meters": [{**METER, "dimensions": ["region"]}]}, at=AUGUST, **BY)
    roll_up()
    assert InvoiceLine.objects.count() == 1
