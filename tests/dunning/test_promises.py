"""Promises end: kept when all is paid, broken a bank day after what did not come, and never later than what else is late."""

from datetime import date

import pytest
from moneyed import Money

from billing_site.kernel.errors import InvalidInput
from dunning.arrangements.models import Promise
from dunning.arrangements.operations import NewInstalment, decide_objection, object_to, promise_to_pay
from dunning.cases.models import DunningCase
from dunning.core.calendar import next_weekday
from dunning.notices.models import Notice
from invoicing.bank.models import BankAllocation
from invoicing.invoices.models import Invoice
from invoicing.payments import gateway
from invoicing.payments.models import PushIntent
from invoicing.payments.remote import RemoteInvoice
from invoicing.workflows.allocate_bank_line import Share
from invoicing.workflows.use_money_on_account import apply_money_on_account
from tests.dunning.chasing import WHO, case_of, chase, late_customer, local, pay, turn
from tests.factories import AUGUST, a_subscription
from tests.invoicing.bank.statements import Entry, allocate, one_line
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db


def promised(invoice: Invoice, day: str, amount: str, *, moment: str = "2026-08-16 14:00") -> Promise:
    """The promise of a customer who was told on the 16th of August."""
    customer = invoice.customer
    chase(local("2026-08-16 09:00", customer))
    return promise_to_pay(
        case_id=case_of(customer).pk,
        instalments=[NewInstalment(date.fromisoformat(day), Money(amount, "USD"))],
        at=local(moment, customer),
        **WHO,
    )


def test_what_was_objected_to_is_chased_once_it_is_decided_and_the_promise_is_kept() -> None:
    invoice = late_customer()
    objection = object_to(invoice_id=invoice.pk, amount=Money("20", "USD"), at=AUGUST, **WHO)
    promise = promised(invoice, "2026-08-25", "11")
    decide_objection(objection_id=objection.pk, at=local("2026-08-17 09:00", invoice.customer), **WHO)
    pay(invoice, local("2026-08-18 09:00", invoice.customer), "11")

    [step] = chase(local("2026-08-19 09:00", invoice.customer)).steps

    promise.refresh_from_db()
    assert (promise.outcome, step.amount) == ("kept", Money("20", "USD"))


def test_a_promise_ends_when_something_else_has_been_late_for_a_week() -> None:
    invoice = late_customer()
    promise = promised(invoice, "2026-12-31", "31")
    other = once(invoice.customer, item("10"), at=AUGUST)
    assert str(other.due_date) == "2026-08-15"

    assert chase(local("2026-08-22 09:00", invoice.customer)).steps == []
    [step] = chase(local("2026-08-23 09:00", invoice.customer)).steps

    promise.refresh_from_db()
    assert (promise.outcome, step.amount) == ("withdrawn", Money("41", "USD"))


def test_who_comes_back_keeps_the_promise_and_is_chased_anew_only_once_it_is_broken() -> None:
    invoice = late_customer()
    customer = invoice.customer
    turn(local("2026-08-16 09:00", customer), local("2026-09-13 00:00", customer))
    made_at = local("2026-09-14 14:00", customer)
    instalment = NewInstalment(date(2026, 10, 8), Money("31", "USD"))
    promise = promise_to_pay(case_id=case_of(customer).pk, instalments=[instalment], at=made_at, **WHO)

    back = local("2026-10-01 12:00", customer)
    a_subscription(customer, started_at=back, key="sub_again")

    assert turn(back, local("2026-10-09 12:00", customer)) == []
    assert [case.state for case in DunningCase.objects.all()] == ["exhausted"]
    [step] = turn(local("2026-10-12 09:00", customer), local("2026-10-13 00:00", customer))
    promise.refresh_from_db()
    assert (promise.outcome, step.number) == ("broken", 1)
    assert [case.state for case in DunningCase.objects.order_by("pk")] == ["superseded", "open"]


def test_nobody_promises_for_more_than_a_year() -> None:
    with pytest.raises(InvalidInput, match="at most 366 days"):
        promised(late_customer(), "2027-08-18", "31")


def test_what_the_bank_booked_on_the_day_of_the_promise_counts() -> None:
    invoice = late_customer()
    promise = promised(invoice, "2026-08-20", "31")
    pay(invoice, local("2026-08-16 12:00", invoice.customer))

    chase(local("2026-08-16 15:00", invoice.customer))

    promise.refresh_from_db()
    assert promise.outcome == "kept"


def test_a_promise_is_not_broken_over_a_weekend_nor_in_quiet_hours() -> None:
    invoice = late_customer()
    promise = promised(invoice, "2026-08-21", "31")

    for moment, outcome in (("24 12:00", ""), ("25 00:00", ""), ("25 08:00", "broken")):
        chase(local(f"2026-08-{moment}", invoice.customer))
        promise.refresh_from_db()
        assert promise.outcome == outcome
    assert next_weekday(day=date(2026, 8, 20)) == date(2026, 8, 21)


def test_a_promise_is_not_broken_while_we_hold_money_of_who_made_it() -> None:
    invoice = late_customer()
    customer = invoice.customer
    promise = promised(invoice, "2026-08-20", "31")
    share = Share("on_account", Money("31.00", "USD"), customer_id=customer.pk)
    [lot] = allocate(one_line(Entry("31.00")), share, at=local("2026-08-19 09:00", customer))
    assert isinstance(lot, BankAllocation)

    chase(local("2026-08-25 09:00", customer))
    promise.refresh_from_db()
    assert (promise.outcome, Notice.objects.filter(kind="promise_broken").exists()) == ("", False)

    whole, at = Money("31", "USD"), local("2026-08-25 12:00", customer)
    apply_money_on_account(lot_id=lot.pk, invoice_id=invoice.pk, amount=whole, rest=whole, at=at, **WHO)
    chase(at)
    promise.refresh_from_db()
    assert promise.outcome == "kept"


def test_a_promise_is_not_broken_while_a_person_has_to_apply_what_stripe_received(monkeypatch) -> None:
    invoice = late_customer()
    customer = invoice.customer
    promise = promised(invoice, "2026-08-20", "31")
    pay(invoice, local("2026-08-19 09:00", customer), "20.66")
    PushIntent.objects.create(
        invoice=invoice, status="pushed", stripe_invoice_id="in_1", pushed_at=AUGUST, next_attempt_at=AUGUST
    )
    whole = Money("31.00", "USD")
    paid = RemoteInvoice(
        id="in_1",
        customer="cus_1",
        number=str(invoice.number),
        status="paid",
        currency="USD",
        total=whole,
        amount_paid=whole,
        payment_reference="ch_1",
        failure_code="",
        failure_message="",
        hosted_url="",
        is_charged=True,
    )
    monkeypatch.setattr(gateway, "retrieve_invoice", lambda _: paid)

    report = chase(local("2026-08-25 09:00", customer))

    promise.refresh_from_db()
    assert (report.failures, promise.outcome, Notice.objects.filter(kind="promise_broken").exists()) == ([], "", False)


def test_an_instalment_is_told_with_what_is_to_be_paid_of_it_not_with_all_that_is_open() -> None:
    invoice = late_customer()
    customer, at = invoice.customer, local("2026-08-16 14:00", invoice.customer)
    chase(local("2026-08-16 09:00", customer))
    parts = (("2026-08-25", "11"), ("2026-09-25", "20"))
    instalments = [NewInstalment(date.fromisoformat(day), Money(amount, "USD")) for day, amount in parts]
    promise_to_pay(case_id=case_of(customer).pk, instalments=instalments, at=at, **WHO)
    pay(invoice, local("2026-08-20 12:00", customer), "4")

    chase(local("2026-08-24 09:00", customer))

    notice = Notice.objects.get(kind="instalment_due")
    assert "Please pay the instalment of USD 7.00" in notice.text and "In all USD 27.00 is open" in notice.text
    assert (notice.told["instalment"], notice.told["total"]) == ("7.00", "27.00")
