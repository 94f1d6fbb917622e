"""Columns of amounts: whole minor units of the row's currency, and always the same text, since seals of evidence are made of it."""

from decimal import Decimal

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from moneyed import Money

from billing_site.kernel.history import save_with_reason
from billing_site.kernel.model import AmountColumn
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, a_customer, a_plan, a_subscription
from tests.invoicing.selling import paid

pytestmark = pytest.mark.django_db

# What a live balance was seen to be is told, and asked of nobody.
UNBOUNDED = {"invoicing_topuprule.seen_balance", "invoicing_progressivethreshold.seen_amount"}


@pytest.mark.parametrize(
    ("currency", "amount"),
    [
        ("EUR", "0.001"),
        ("JPY", "0.1"),
        ("KWD", "0.0001"),
        ("CLF", "0.00001"),
        ("EUR", "NaN"),
        ("CLF", "Infinity"),
        ("EUR", "10000000000000000"),
        ("CLF", "-10000000000000000"),
    ],
)
@pytest.mark.requirement("S0-107")
def test_the_database_refuses_an_amount_that_its_currency_cannot_pay(currency: str, amount: str) -> None:
    a_customer(currency=currency)

    with pytest.raises(IntegrityError, match="late_materiality_fits_its_currency"), transaction.atomic():
        stored(amount)


@pytest.mark.parametrize(
    ("currency", "amount"),
    [("EUR", "9999999999999999.99"), ("JPY", "9999999999999999"), ("KWD", "0.001"), ("CLF", "9999999999999999.9999")],
)
def test_the_database_holds_every_amount_up_to_sixteen_digits(currency: str, amount: str) -> None:
    a_customer(currency=currency)

    stored(amount)

    assert Customer.objects.get().late_materiality == Decimal(amount)


def test_every_column_of_amounts_is_bounded_by_its_currency() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'"
        )
        bounds: dict[str, str] = {}
        for table, definition in cursor.fetchall():
            bounds[table] = bounds.get(table, "") + definition
    columns = [
        (model._meta.db_table, field.column)
        for model in apps.get_models()
        for field in model._meta.local_fields
        # Rows of history are what their objects were.
        if isinstance(field, AmountColumn) and not hasattr(model, "history_type")
    ]

    assert len(columns) >= 45
    assert {
        f"{table}.{column}" for table, column in columns if f"round({column}, 4)" not in bounds.get(table, "")
    } == UNBOUNDED


@pytest.mark.parametrize(
    ("amount", "written"),
    [("12.3", "12.300"), ("12.3000", "12.300"), ("0.0001", "0.0001"), ("0", "0.000"), ("7", "7.000")],
)
def test_an_amount_is_the_same_text_however_often_it_is_written(amount: str, written: str) -> None:
    customer = a_customer(currency="CLF")

    for _ in range(2):
        customer.late_materiality = Decimal(amount)
        save_with_reason(customer, actor="test", reason="a test")
        assert texts("SELECT late_materiality::text FROM invoicing_customer") == [written]
        customer = Customer.objects.get()


@pytest.mark.requirement("S0-107")
def test_an_invoice_in_units_of_account_is_billed_paid_and_proven_to_four_decimals() -> None:
    a_plan("uf", {"key": "base", "currency": "CLF", "model": "flat", "unit_amount": "12.34565"})
    a_subscription(a_customer(currency="CLF"), plan="uf")

    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    before = texts("SELECT total::text FROM invoicing_invoice")
    paid(invoice)

    assert Invoice.objects.get().total == Money("12.3457", "CLF")
    assert before == texts("SELECT total::text FROM invoicing_invoice") == ["12.3457"]
    assert texts("SELECT DISTINCT abs(amount)::text FROM invoicing_posting") == ["12.3457"]
    assert Invoice.objects.get().status == "paid"
    assert verify() == []


def stored(amount: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE invoicing_customer SET late_materiality = %s::numeric", [amount])


def texts(query: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return [row[0] for row in cursor.fetchall()]
