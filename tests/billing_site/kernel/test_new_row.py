"""Rows that are made by the thousand are those that their constructor makes."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import models
from moneyed import Money

from billing_site.kernel.new_row import new_row
from invoicing.catalog.models import Price
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.subscriptions.models import Subscription

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOTHING, MUCH = Money("0", "EUR"), Money("12.34", "EUR")
CUSTOMER = Customer(id=7, currency="EUR")
INVOICE = {
    "customer": CUSTOMER,
    "period_start": NOON,
    "period_end": NOON,
    "drafted_at": NOON,
    "currency": "EUR",
    "amount_paid": NOTHING,
    "amount_credited": NOTHING,
    "amount_written_off": NOTHING,
}
LINE = {
    "position": 1,
    "subscription": Subscription(id=3, key="main"),
    "price": Price(id=4),
    "description": "Calls",
    "quantity": Decimal("1.5"),
    "currency": "EUR",
    "amount": MUCH,
    "service_start": NOON,
    "service_end": NOON,
    "rated": {"inputs": {}},
}


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Invoice, INVOICE),
        (InvoiceLine, {**LINE, "invoice_id": 5}),
        (InvoiceLine, {**LINE, "invoice": Invoice(**INVOICE), "price": None}),
        (JournalEntry, {"kind": "issue", "reference": "1", "currency": "JPY", "description": "", "occurred_at": NOON}),
        (Posting, {"entry_id": 1, "account_id": 2, "legal_entity_id": 3, "currency": "EUR", "amount": MUCH}),
    ],
)
def test_a_row_made_at_once_is_the_row_of_its_constructor(model: type[models.Model], values: dict[str, Any]) -> None:
    at_once, constructed = new_row(model, **values), model(**values)
    assert _said_of(at_once) == _said_of(constructed)
    assert at_once._state.adding
    assert at_once._state.fields_cache == constructed._state.fields_cache


def test_rows_made_at_once_share_nothing_that_one_of_them_could_change() -> None:
    one, other = (new_row(Invoice, **INVOICE) for _ in range(2))
    one.total, one.customer = MUCH, Customer(id=8, currency="EUR")
    assert (other.total, other.customer_id, other.customer) == (None, 7, CUSTOMER)
    shared = [
        name for name, value in vars(one).items() if isinstance(value, dict | list) and value is vars(other)[name]
    ]
    assert not shared


def test_a_row_made_at_once_names_a_column_that_is_none() -> None:
    with pytest.raises(TypeError, match="InvoiceLine has no column 'sum'"):
        new_row(InvoiceLine, sum=1)


def _said_of(row: models.Model) -> dict[str, Any]:
    """Return what the columns of a row hold; what the database will fill in is told by its expression."""
    return {
        name: value if not isinstance(value, models.expressions.DatabaseDefault) else repr(value.expression)
        for name, value in vars(row).items()
        if name != "_state"
    }
