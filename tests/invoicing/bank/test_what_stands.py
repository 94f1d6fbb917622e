"""What a customer owes and has on account: the statement, the portal and accounts 1200 and 2120 say the same after every deed."""

from datetime import date, timedelta

import pytest
from django.test import Client
from moneyed import Money

from billing_site.portal.queries.invoices import open_invoices
from invoicing.bank.queries import money_on_account
from invoicing.customers.models import Customer
from invoicing.customers.portal_links import link_for
from invoicing.ledger.queries import trial_balance
from invoicing.payments.models import Payment
from invoicing.reports.asking import Question
from invoicing.reports.report import Section
from invoicing.reports.statement import statement_report
from invoicing.workflows.allocate_bank_line import Share, take_back_allocation
from invoicing.workflows.reverse_payment import reverse_payment
from invoicing.workflows.use_money_on_account import apply_money_on_account, pay_money_back
from invoicing.workflows.verify import verify
from invoicing.workflows.write_off_invoice import write_off_invoice
from tests.factories import JULY, a_customer, settle_constraints
from tests.invoicing.bank.statements import AT, Entry, allocate, import_camt
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db
SHOWN = ("document", "charged", "paid", "balance", "put", "on_account")
WHO = {"actor": "ann", "reason": "agreed with the customer"}


def usd(amount: str) -> Money:
    return Money(amount, "USD")


def statement_of(customer: Customer) -> Section:
    asked = Question(as_of=date(2026, 12, 31), start=date(2026, 7, 1), end=date(2026, 12, 31), customer=customer)
    report = statement_report(question=asked)
    assert report.is_tied, [tie for tie in report.ties if not tie.holds]
    [section] = report.sections
    return section


def assert_all_say(customer: Customer, *, owed: str, held: str) -> None:
    booked = {one.account: one.amount for one in trial_balance()}
    portal = open_invoices(customer=customer, at=AT)
    totals = statement_of(customer).totals

    assert (totals["balance"], portal.amount, booked.get("1200", usd("0"))) == (usd(owed),) * 3
    assert (totals["on_account"], -booked.get("2120", usd("0"))) == (usd(held),) * 2
    assert portal.on_account == ((usd(held),) if usd(held).amount else ())


def test_what_is_owed_and_what_is_on_account_are_said_as_they_are_booked_after_every_deed() -> None:
    customer = a_customer(settlement_channel="manual")
    first, second = once(customer, item("120")), once(customer, item("50"), key="second", at=JULY + timedelta(days=1))
    assert_all_say(customer, owed="170", held="0")

    line, wrong = import_camt(Entry("200.00"), Entry("7.00")).lines
    allocate(
        line,
        Share("payment", usd("100"), invoice_id=first.pk),
        Share("on_account", usd("100"), customer_id=customer.pk),
    )
    [mistake] = allocate(wrong, Share("on_account", usd("7"), customer_id=customer.pk))
    assert_all_say(customer, owed="70", held="107")
    take_back_allocation(allocation_id=mistake.pk, at=AT, **WHO)
    [lot] = money_on_account()
    asked = {"lot_id": lot.pk, "at": AT + timedelta(hours=1), **WHO}
    apply_money_on_account(invoice_id=second.pk, amount=usd("50"), rest=usd("100"), **asked)
    assert_all_say(customer, owed="20", held="50")
    undone = Payment.objects.get(invoice=second)
    reverse_payment(payment_id=undone.pk, cause="mistake", at=AT + timedelta(hours=2), **WHO)
    assert_all_say(customer, owed="70", held="100")
    pay_money_back(amount=usd("60"), rest=usd("100"), **asked | {"at": AT + timedelta(hours=3)})
    assert_all_say(customer, owed="70", held="40")
    write_off_invoice(invoice_id=first.pk, at=AT + timedelta(hours=4), **WHO)
    assert_all_say(customer, owed="50", held="40")

    rows = [
        tuple(str(cell.amount) if isinstance(cell := row.cells.get(key), Money) else cell or "" for key in SHOWN)
        for row in statement_of(customer).rows
    ]
    assert rows == [
        ("Opening balance", "", "", "0.00", "", "0.00"),
        (f"Invoice {first.number}", "120.00", "", "120.00", "", "0.00"),
        (f"Invoice {second.number}", "50.00", "", "170.00", "", "0.00"),
        ("Money on account", "", "", "170.00", "7.00", "7.00"),
        ("Money on account", "", "", "170.00", "100.00", "107.00"),
        (f"Payment received, invoice {first.number}", "", "100.00", "70.00", "", "107.00"),
        ("Money on account, by mistake", "", "", "70.00", "-7.00", "100.00"),
        (f"Paid with money on account, invoice {second.number}", "", "50.00", "20.00", "-50.00", "50.00"),
        (f"On account again, invoice {second.number}", "50.00", "", "70.00", "50.00", "100.00"),
        ("Money on account paid back", "", "", "70.00", "-60.00", "40.00"),
        (f"Written off, invoice {first.number}", "", "20.00", "50.00", "", "40.00"),
        ("Closing balance", "", "", "50.00", "", "40.00"),
        ("Balance less money on account", "", "", "10.00", "", ""),
    ]
    client = Client()
    client.get(link_for(customer_key=customer.key).partition("8000")[2])
    home, told = (client.get(address).content.decode() for address in ("/portal/", "/portal/statement/"))
    assert "on account: for your next invoices" in home and "was written off" in home
    assert "Owed less on account" in told and "Paid with money on account" in told
    settle_constraints()
    assert verify() == []
