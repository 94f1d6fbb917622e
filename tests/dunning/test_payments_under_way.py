"""Whoever is paying is left alone: a direct debit takes days, in which Stripe knows of it and no money has come."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from moneyed import Money

from billing_site.kernel.errors import Conflict
from dunning.acting import take_step_by_hand
from dunning.cases.arrears import all_debts
from dunning.cases.models import DunningCase
from dunning.notices.models import Notice
from dunning.recharging import retries_due
from dunning.sweep import sweep_dunning
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.payments import gateway
from invoicing.payments.models import PaymentFailure, PushIntent
from invoicing.payments.remote import RemoteInvoice
from invoicing.workflows.follow_stripe import follow_invoice
from tests.dunning.chasing import WHO, access, case_of, chase, late_customer, local, turn

pytestmark = pytest.mark.django_db


class Stripe:
    """What Stripe says of one invoice."""

    def __init__(self, invoice: Invoice) -> None:
        self.now = RemoteInvoice(
            id=f"in_{invoice.pk}",
            customer="cus_1",
            number=str(invoice.number),
            status="open",
            currency="USD",
            total=invoice.total,
            amount_paid=Money(0, "USD"),
            payment_reference="py_1",
            failure_code="",
            failure_message="",
            hosted_url="https://stripe.example/page",
            is_charged=True,
        )

    def says(self, **changes: object) -> None:
        self.now = replace(self.now, **changes)  # type: ignore[arg-type]


@pytest.fixture
def invoice() -> Invoice:
    """An invoice at Stripe, due on the 15th of August."""
    made = late_customer(settlement_channel="stripe")
    at = local("2026-08-01 12:00", made.customer)
    pushed = {"status": "pushed", "stripe_invoice_id": f"in_{made.pk}", "pushed_at": at, "next_attempt_at": at}
    PushIntent.objects.update_or_create(invoice=made, defaults=pushed)
    return made


@pytest.fixture
def stripe(invoice: Invoice, monkeypatch: pytest.MonkeyPatch) -> Stripe:
    known = Stripe(invoice)
    monkeypatch.setattr(gateway, "retrieve_invoice", lambda _: known.now)
    return known


def days_of(invoice: Invoice, first: str, last: str) -> list[tuple[str, str]]:
    """The steps that are taken from one day to another, as (day, act)."""
    steps = turn(local(f"2026-{first} 09:00", invoice.customer), local(f"2026-{last} 09:00", invoice.customer))
    return [(f"{step.done_at:%m-%d}", step.act) for step in steps]


@pytest.mark.requirement("S1-044")
def test_whoever_pays_by_direct_debit_is_neither_reminded_nor_suspended_while_it_is_under_way(
    invoice: Invoice, stripe: Stripe
) -> None:
    stripe.says(is_under_way=True)
    at = local("2026-08-14 09:00", invoice.customer)
    follow_invoice(intent_id=invoice.push.pk, at=at)

    assert days_of(invoice, "08-16", "09-20") == []
    assert not DunningCase.objects.exists() and not Notice.objects.exists()
    stripe.says(is_under_way=False, status="paid", amount_paid=invoice.total)
    follow_invoice(intent_id=invoice.push.pk, at=local("2026-09-21 09:00", invoice.customer))
    invoice.refresh_from_db()
    assert invoice.status == "paid"


def test_a_debit_that_began_after_the_first_steps_stops_those_that_are_next_even_unheard_of(
    invoice: Invoice, stripe: Stripe
) -> None:
    customer = invoice.customer
    assert days_of(invoice, "08-16", "08-23") == [("08-16", "notice"), ("08-18", "notice"), ("08-22", "notice")]
    stripe.says(is_under_way=True)

    assert days_of(invoice, "08-24", "09-10") == [], "Stripe was asked right before the warning"
    case = case_of(customer)
    assert case.waits_because == f"a payment of {invoice} is under way at Stripe: nobody is chased before it is decided"
    with pytest.raises(Conflict, match="under way"):
        take_step_by_hand(case_id=case.pk, number=4, at=local("2026-09-10 09:00", customer), **WHO)
    assert access(customer, local("2026-09-10 09:00", customer)) == (True, "past_due")


def test_a_debit_that_comes_back_is_a_refusal_even_if_its_news_is_lost_and_dunning_goes_on(
    invoice: Invoice, stripe: Stripe
) -> None:
    customer = invoice.customer
    stripe.says(is_under_way=True)
    follow_invoice(intent_id=invoice.push.pk, at=local("2026-08-14 09:00", customer))
    stripe.says(is_under_way=False, failure_code="insufficient_funds", failure_message="no money")

    returned_at = local("2026-08-20 09:00", customer)
    follow_invoice(intent_id=invoice.push.pk, at=returned_at)

    assert PaymentFailure.objects.get().code == "insufficient_funds"
    [step] = chase(returned_at + timedelta(minutes=5)).steps
    assert (step.notice, step.figures[0]["invoice"]) == ("payment_failed", invoice.number)


def test_a_card_is_not_charged_again_while_another_payment_is_under_way(invoice: Invoice, stripe: Stripe) -> None:
    refused_at = local("2026-08-14 09:00", invoice.customer)
    Customer.objects.filter(pk=invoice.customer_id).update(payment_method="pm_1")
    PaymentFailure.objects.create(
        invoice=invoice, reference="ch_1", code="processing_error", message="declined", occurred_at=refused_at
    )
    chase(refused_at)
    later: datetime = refused_at + timedelta(days=2)
    assert list(retries_due(debts=all_debts(at=later), at=later).values()) == [[invoice.pk]]

    stripe.says(is_under_way=True)
    follow_invoice(intent_id=invoice.push.pk, at=later)

    assert retries_due(debts=all_debts(at=later), at=later) == {}


def test_a_mail_that_was_planned_waits_until_the_debit_is_decided(invoice: Invoice, stripe: Stripe) -> None:
    at = local("2026-08-16 09:00", invoice.customer)
    sweep_dunning(at=at)
    stripe.says(is_under_way=True)
    chase(at + timedelta(minutes=5))

    [notice] = Notice.objects.all()
    assert (notice.state, notice.why.partition(" is")[0]) == ("planned", f"a payment of {invoice}")
    stripe.says(is_under_way=False)
    follow_invoice(intent_id=invoice.push.pk, at=at + timedelta(hours=7))
    chase(at + timedelta(hours=7))
    notice.refresh_from_db()
    assert notice.state == "sent"
