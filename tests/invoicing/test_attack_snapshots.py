"""Attacks from an older snapshot of the database, under another year's numbers, and on whose a draft is: by raw SQL, the guards alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection

from invoicing.invoices.models import Invoice
from invoicing.workflows.run_billing import draft_billing
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, use
from tests.invoicing.selling import item, once, paid
from tests.invoicing.test_attack_credit_notes import forged
from tests.invoicing.test_attack_guards import run_sql

ISSUE = (
    "UPDATE invoicing_invoice SET status = 'issued', number = '{series}-00001', issued_at = '2026-08-02', due_date = '2026-08-16',"
    " series_id = (SELECT id FROM invoicing_invoiceseries WHERE prefix = '{series}'), previous_seal = '', seal = 'x'"
    " WHERE status = 'draft'"
)


@pytest.fixture
def draft(transactional_db: None) -> Invoice:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    [invoice] = draft_billing(as_of=AUGUST, at=AUGUST + timedelta(days=1)).invoices
    return invoice


@contextmanager
def an_older_snapshot(level: str) -> Iterator[Any]:
    """A session whose snapshot is from before what follows."""
    with psycopg.connect(**connection.get_connection_params()) as session:
        session.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        session.execute("SELECT count(*) FROM invoicing_invoiceline")
        yield session


def a_series(prefix: str) -> None:
    run_sql(
        "INSERT INTO invoicing_invoiceseries (legal_entity_id, prefix, next_number, last_seal)"
        f" SELECT key, '{prefix}', 1, '' FROM invoicing_legalentity"
    )


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_who_does_not_see_a_line_that_was_added_meanwhile_issues_nothing(draft: Invoice, level: str) -> None:
    a_series("INV-2026")

    with (
        an_older_snapshot(level) as session,
        pytest.raises(psycopg.IntegrityError, match="invoices are issued under READ"),
    ):
        session.execute(ISSUE.format(series="INV-2026"))

    draft.refresh_from_db()
    assert draft.number is None


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_who_does_not_see_what_was_credited_meanwhile_credits_nothing(transactional_db: None, level: str) -> None:
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"))
    paid(invoice, "100", at=AUGUST + timedelta(days=3))
    a_series("CN-2026")

    with (
        an_older_snapshot(level) as session,
        pytest.raises(psycopg.IntegrityError, match="credit notes are written under READ"),
    ):
        session.execute(forged(invoice, offset="0", refund="10").replace("00002", "00001"))


def test_an_invoice_takes_no_number_of_another_year(draft: Invoice) -> None:
    a_series("INV-2031")

    with pytest.raises(IntegrityError, match="INV-2031-00001 is not a new number of its seller"):
        run_sql(ISSUE.format(series="INV-2031"))


def test_a_draft_does_not_become_another_customers(draft: Invoice) -> None:
    other = a_customer("cust_other")

    with pytest.raises(IntegrityError, match=r"customer_id of invoice \d+ cannot be changed"):
        run_sql(f"UPDATE invoicing_invoice SET customer_id = {other.pk}")
