"""Prepaid credit that is sold: owed from the issue of its invoice on, granted when that is paid in full, and once."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection

from billing_site.kernel.errors import BillingError, Conflict
from invoicing.credits.models import CreditEntry, CreditGrant
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.invoices.one_off import assembled_once, save_once
from invoicing.reports.faults import report_faults
from invoicing.top_ups.models import TopUp
from invoicing.workflows.credit_balance import credit_balance
from invoicing.workflows.expire_credits import expire_credits
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, settle_constraints, use
from tests.invoicing.selling import books, item, owed_for_credit, paid, sold
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql

pytestmark = pytest.mark.django_db

NOON = JULY + timedelta(days=15, hours=12)


@pytest.fixture
def acme() -> Customer:
    """Owes USD 44.00 for July."""
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    return customer


def test_credit_is_owed_from_the_issue_on_granted_when_paid_and_earned_when_drawn(acme: Customer) -> None:
    top_up = sold(acme, "100", at=NOON)
    assert books() == {"1200": "100.00", "2110": "-100.00"}
    assert credit_balance(customer=acme, at=NOON).lots == []

    payment = paid(top_up.invoice, at=NOON)
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    top_up.refresh_from_db()
    assert top_up.grant is not None
    assert (top_up.status, top_up.payment, top_up.grant.kind) == ("paid", payment, "prepaid")
    assert f"{july.total.amount:.2f}" == "0.00"
    assert books() == {"1000": "100.00", "2110": "-56.00", "4000": "-44.00"}
    assert owed_for_credit() == ("56.00", "56.00")
    assert explain_invoice(number=str(top_up.invoice.number))["equal"]
    settle_constraints()
    assert verify() == []


def test_a_part_of_the_money_grants_nothing_and_the_rest_grants_all(acme: Customer) -> None:
    top_up = sold(acme, "100")

    paid(top_up.invoice, "99.99", reference="first")
    granted_early = CreditGrant.objects.exists()
    paid(top_up.invoice, "0.01", reference="second")
    again = paid(top_up.invoice, "0.01", reference="second")

    assert not granted_early
    grant = CreditGrant.objects.get()
    assert (grant.amount, grant.top_up.payment) == (top_up.amount, again)
    assert verify() == []


def test_credit_that_was_bought_for_some_days_expires_into_breakage(acme: Customer) -> None:
    top_up = sold(acme, "100", valid_days=40, at=JULY)
    paid(top_up.invoice, at=JULY + timedelta(days=2))
    issue_billing(as_of=AUGUST, at=AUGUST)
    over = JULY + timedelta(days=42)

    early, due = expire_credits(at=over - timedelta(seconds=1)), expire_credits(at=over)

    assert (early, due) == (0, 1)
    assert books() == {"1000": "100.00", "4000": "-44.00", "4110": "-56.00"}
    assert verify() == []


def test_a_void_invoice_closes_the_top_up_and_nothing_is_owed(acme: Customer) -> None:
    top_up = sold(acme)

    void_invoice(invoice_id=top_up.invoice_id, at=NOON, actor="test", reason="changed their mind")

    top_up.refresh_from_db()
    assert (top_up.status, CreditGrant.objects.exists(), books()) == ("closed", False, {})
    with pytest.raises(Conflict):
        paid(Invoice.objects.get())
    assert verify() == []


def test_the_same_key_sells_once(acme: Customer) -> None:
    assert sold(acme) == sold(acme, at=NOON)
    with pytest.raises(Conflict, match="says something else"):
        sold(acme, "101")
    with pytest.raises(Conflict, match="says something else"):
        sold(acme, valid_days=30)
    assert TopUp.objects.count() == 1


@pytest.mark.parametrize(
    ("amount", "terms", "field"),
    [
        ("0", {}, "amount"),
        ("-5", {}, "amount"),
        ("1.005", {}, "amount"),
        ("1e16", {}, "amount"),
        ("5", {"name": " "}, "name"),
        ("5", {"name": "x" * 201}, "name"),
        ("5", {"valid_days": 0}, "valid_days"),
        ("5", {"valid_days": 3651}, "valid_days"),
        ("5", {"key": "two words"}, "key"),
    ],
)
def test_what_cannot_be_sold_is_refused_by_its_field(amount: str, terms: dict[str, Any], field: str) -> None:
    with pytest.raises(BillingError) as refused:
        sold(a_customer(), amount, **terms)

    assert [error.field for error in refused.value.field_errors] == [field]
    assert not Invoice.objects.exists()


FORGED_GRANT = (
    "INSERT INTO invoicing_creditgrant (key, customer_id, kind, name, currency, amount, priority, effective_at, plans,"
    " meters, granted_at, actor, reason) SELECT 'forged', id, 'prepaid', 'x', 'USD', 100, 1, now(), '{}', '{}', now(),"
    " 'x', 'x' FROM invoicing_customer"
)
FORGED_ENTRY = (
    "INSERT INTO invoicing_creditentry (grant_id, sequence, kind, currency, amount, balance, reference, occurred_at,"
    " actor, reason) SELECT id, 1, 'grant', 'USD', 100, 100, '', now(), 'x', 'x' FROM invoicing_creditgrant"
    " WHERE key = 'forged'"
)
GRANT_OF = "(SELECT id FROM invoicing_creditgrant WHERE key = 'forged')"
TOP_UP = (
    "INSERT INTO invoicing_topup (invoice_id, customer_id, status, name, currency, amount, made_at, actor, reason)"
    " SELECT id, customer_id, '{status}', 'x', 'USD', {amount}, now(), 'x', 'x' FROM invoicing_invoice"
)


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE invoicing_topup SET status = 'paid'"],
        ["UPDATE invoicing_topup SET status = 'closed'"],
        ["UPDATE invoicing_topup SET amount = 1000"],
        ["UPDATE invoicing_topup SET valid_days = 10"],
        ["DELETE FROM invoicing_topup"],
        ["TRUNCATE invoicing_topup CASCADE"],
        # a grant without a payment; another's; of the unpaid invoice
        [FORGED_GRANT, FORGED_ENTRY, f"UPDATE invoicing_topup SET status = 'paid', grant_id = {GRANT_OF}"],
        # the money marked as received, and the credit kept back
        ["UPDATE invoicing_invoice SET status = 'paid', amount_paid = total, paid_at = now()"],
        # a second top-up of one invoice
        [TOP_UP.format(status="open", amount=100)],
    ],
)
def test_raw_sql_gets_no_credit_without_its_payment(acme: Customer, statements: list[str]) -> None:
    sold(acme, "100")
    settle_constraints()

    with pytest.raises(DatabaseError):
        run_sql(*statements)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_topup SET status = 'open', grant_id = NULL, payment_id = NULL",
        f"UPDATE invoicing_topup SET grant_id = {GRANT_OF}",
        TOP_UP.format(status="open", amount=100),
    ],
)
def test_raw_sql_gets_no_second_credit_for_one_payment(acme: Customer, statement: str) -> None:
    paid(sold(acme, "100").invoice)
    settle_constraints()

    with pytest.raises(DatabaseError):
        run_sql(FORGED_GRANT, FORGED_ENTRY, statement)


@pytest.mark.parametrize("lines", [("top_up",), ("top_up", "top_up"), ("one_off", "top_up"), ()])
def test_an_invoice_that_sells_credit_and_is_no_top_up_is_not_issued(acme: Customer, lines: tuple[str, ...]) -> None:
    stated = assembled_once(customer=acme, items=[item()], at=NOON)
    draft = save_once(customer=acme, key="forged", assembled=stated, at=NOON, actor="test", reason="forged")
    draft.lines.all().delete()
    for position, kind in enumerate(lines, start=1):
        connection.cursor().execute(
            "INSERT INTO invoicing_invoiceline (invoice_id, position, kind, description, meter_key, unit, quantity,"
            " currency, amount, service_start, service_end, window_count, event_count, windows_digest, known_through,"
            f" rated, digest) SELECT id, {position}, '{kind}', 'x', '', '', 1, 'USD', 0, period_start, period_end, 0, 0, '',"
            " 0, '{}', 'x' FROM invoicing_invoice"
        )

    with pytest.raises(DatabaseError, match="neither what was stated nor a top-up"), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO invoicing_invoiceseries (prefix, next_number, last_seal) VALUES ('INV-2026', 1, '')"
        )
        cursor.execute(
            "UPDATE invoicing_invoice SET status = 'issued', number = 'INV-2026-00001', issued_at = now(),"
            " due_date = current_date, seal = 'forged', series_id = (SELECT id FROM invoicing_invoiceseries)"
        )


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE invoicing_topup SET status = 'closed', grant_id = NULL, payment_id = NULL", "top-up of invoice"),
        ("UPDATE invoicing_creditentry SET amount = 5, balance = 5", "USD"),
        ("DELETE FROM invoicing_topup", "credit grant"),
    ],
)
def test_verify_names_what_was_changed_behind_the_triggers(acme: Customer, statement: str, found: str) -> None:
    paid(sold(acme, "100").invoice)
    settle_constraints()

    behind_the_triggers(statement)

    assert any(one.check == "prepaid credit is owed" and found in one.subject for one in verify())


def test_months_of_buying_and_drawing_owe_what_is_left_at_any_time(acme: Customer) -> None:
    """Low, bought, paid, drawn, low again: the liability follows every step."""
    seen = []
    for month, number in ((JULY, "1"), (AUGUST, "2"), (SEPTEMBER, "3")):
        top_up = sold(acme, "60", key=number, at=month)
        seen.append(owed_for_credit())
        assert list(report_faults()) == []
        paid(top_up.invoice, at=month + timedelta(days=1))
        seen.append(owed_for_credit())
        issue_billing(as_of=month + timedelta(days=33), at=month + timedelta(days=33))
        seen.append(owed_for_credit())

    assert all(owed == left for owed, left in seen)
    assert [owed for owed, _ in seen] == [
        "60.00",
        "60.00",
        "16.00",
        "76.00",
        "76.00",
        "47.00",
        "107.00",
        "107.00",
        "78.00",
    ]
    assert CreditEntry.objects.filter(kind="draw").count() >= 3
    assert verify() == []
