"""From the first unpaid day to the last document: who never pays is closed, handed over and off-boarded, and takes its statement and data along."""

import csv
import hashlib
import io
import zipfile
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.test import Client
from moneyed import Money

from billing_site.kernel import clock
from dunning.cases.operations import hand_over
from dunning.faults import check_dunning_holds
from dunning.handover.models import HandOverFile
from dunning.handover.operations import make_files
from invoicing.customers.models import Customer
from invoicing.customers.portal_links import link_for
from invoicing.subscriptions.cancel import end_subscription
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from invoicing.workflows.offboarding import customers_to_close, offboarding_of
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.portal.reading import text_of
from tests.dunning.chasing import WHO, access, case_of, late_customer, local, pay, turn
from tests.factories import a_customer, a_plan, a_subscription, usd_fee
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db


@pytest.mark.requirement("S0-129")
def test_who_never_pays_is_suspended_closed_handed_over_and_leaves_with_statement_and_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    invoice = late_customer(timezone="America/New_York")
    customer = invoice.customer

    taken = turn(local("2026-08-14 09:00", customer), local("2026-09-25 00:00", customer))

    assert [(f"{step.done_at:%m-%d}", step.act) for step in taken if step.act != "notice"] == [
        ("08-29", "suspend"),
        ("09-12", "close"),
    ]
    assert [move.to_state for move in customer.moves.order_by("number")][1:] == ["past_due", "suspended", "churned"]
    assert access(customer, local("2026-09-25 00:00", customer)) == (False, "churned")
    hand_over(case_id=case_of(customer).pk, at=local("2026-09-19 09:00", customer), **WHO)
    assert (case_of(customer).state, make_files(at=local("2026-09-19 09:05", customer))) == ("handed_over", 1)
    assert HandOverFile.objects.get().case == case_of(customer)
    assert list(check_dunning_holds()) == []

    at = local("2026-10-01 12:00", customer)
    issue_billing(as_of=at, at=at)
    left = offboarding_of(customer=customer)
    assert left.final is not None and left.final.total.amount == Decimal("11.75"), "of 30 days 11.375"
    assert (left.to_invoice, len(left.unpaid), list(customers_to_close())) == ((), 3, [customer])

    monkeypatch.setattr(clock, "now", lambda: at)
    client = Client()
    home = text_of(client.get(link_for(customer_key=customer.key).partition("8000")[2], follow=True).content.decode())
    assert "Your account was closed on 12 September 2026" in home
    assert f"The final invoice is {left.final.number}." in home
    statement = list(csv.reader(io.StringIO(client.get("/portal/data/statement.csv").content.decode())))
    [closing] = [row for row in statement if "Closing balance" in row]
    assert Money(closing[-1], "USD") == sum((one.amount_due for one in left.unpaid), Money(0, "USD"))
    archive = zipfile.ZipFile(io.BytesIO(client.get("/portal/data/account.zip").content))
    [whose] = csv.DictReader(io.StringIO(archive.read("customer.csv").decode()))
    billed = list(csv.DictReader(io.StringIO(archive.read("invoices.csv").decode())))
    assert (whose["key"], whose["state"], [row["number"] for row in billed]) == (
        "cust_acme",
        "churned",
        [one.number for one in customer.invoices.order_by("issued_at", "pk")],
    )
    for line in archive.read("SHA256SUMS").decode().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256(archive.read(name)).hexdigest() == digest

    for one in left.unpaid:
        pay(one, at)
    assert offboarding_of(customer=customer).is_complete
    assert not customers_to_close()


def churned() -> Customer:
    """Who was active in July, cancelled on the 11th, and is not invoiced for it yet."""
    a_plan("pro", usd_fee("31"))
    customer = a_customer()
    Customer.objects.filter(pk=customer.pk).update(created_at=datetime(2026, 7, 1, tzinfo=UTC))
    subscription = a_subscription(customer, started_at=datetime(2026, 7, 1, tzinfo=UTC))
    ended_at = datetime(2026, 7, 11, tzinfo=UTC)
    end_subscription(subscription=subscription, ended_at=ended_at, **WHO)
    sweep_life_cycles(at=ended_at)
    return customer


@pytest.mark.requirement("S0-130")
def test_an_invoice_of_no_period_that_is_paid_after_the_end_does_not_hide_the_final_one_that_is_to_come() -> None:
    customer = churned()
    late_fee = once(customer, item("5"), at=datetime(2026, 7, 20, tzinfo=UTC))

    pay(late_fee, datetime(2026, 7, 21, tzinfo=UTC))

    assert len(offboarding_of(customer=customer).to_invoice) == 1
    assert list(customers_to_close()) == [customer], "the queue says what the customer's page says"
