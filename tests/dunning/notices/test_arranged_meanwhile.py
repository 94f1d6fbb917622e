"""What was arranged between the planning of a notice and its sending counts, and a day that is over is not threatened with."""

from datetime import date, timedelta

import pytest
from moneyed import Money

from dunning.arrangements.operations import NewInstalment, hold_dunning, promise_to_pay, withdraw_promise
from dunning.core.notice_kinds import NoticeKind
from dunning.notices.models import Notice
from dunning.sweep import sweep_dunning
from tests.dunning.chasing import WHO, case_of, chase, deliver, late_customer, local
from tests.dunning.notices.telling import NOW, an_open_invoice, planned, sent

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("kind", "state"), [(NoticeKind.WARNING, "not_needed"), (NoticeKind.SUSPENDED, "sent")])
def test_who_is_held_meanwhile_is_asked_for_nothing_and_told_what_was_done(kind: NoticeKind, state: str) -> None:
    invoice = an_open_invoice(email="ap@acme.example")
    notice = planned(invoice, kind=kind)
    hold_dunning(customer=invoice.customer, kind="legal", until=None, at=NOW, actor="ann", reason="their lawyer called")

    assert sent(notice, at=NOW).state == state


@pytest.mark.parametrize("kind", [NoticeKind.INSTALMENT_DUE, NoticeKind.PROMISE_BROKEN])
def test_who_is_held_is_asked_for_nothing_that_was_promised_either(kind: NoticeKind) -> None:
    invoice = an_open_invoice(email="ap@acme.example")
    notice = planned(invoice, kind=kind)
    hold_dunning(customer=invoice.customer, kind="legal", until=None, at=NOW, actor="ann", reason="their lawyer called")

    assert (
        sent(notice, at=NOW).why == "held before it was sent: Legal: a court or a lawyer is at it (their lawyer called)"
    )


def test_an_instalment_of_a_promise_that_has_ended_is_not_told_and_one_of_an_open_promise_is() -> None:
    customers = [late_customer(key).customer for key in ("cust_a", "cust_b", "cust_c")]
    told_at, made_at, due_at = (local(f"2026-08-{day} 09:00", customers[0]) for day in ("16", "17", "18"))
    chase(told_at)
    instalment = NewInstalment(date(2026, 8, 20), Money("31", "USD"))
    promises = [
        promise_to_pay(case_id=case_of(one).pk, instalments=[instalment], at=made_at, **WHO) for one in customers
    ]
    sweep_dunning(at=due_at)
    withdraw_promise(promise_id=promises[0].pk, at=due_at, **WHO)
    withdraw_promise(promise_id=promises[2].pk, at=due_at, **WHO)
    promise_to_pay(case_id=case_of(customers[2]).pk, instalments=[instalment], at=due_at, **WHO)

    deliver(due_at)

    about = {one.customer: (one.state, one.why) for one in Notice.objects.filter(kind="instalment_due")}
    ended = ("not_needed", "the promise ended before it was sent: withdrawn")
    assert [about[one] for one in customers] == [ended, ("sent", ""), ended]


def test_whoever_has_promised_anew_is_not_told_that_the_promise_before_was_broken() -> None:
    customer = late_customer().customer
    chase(local("2026-08-16 09:00", customer))
    instalment = NewInstalment(date(2026, 8, 20), Money("31", "USD"))
    case, at = case_of(customer), local("2026-08-24 09:00", customer)
    promise_to_pay(case_id=case.pk, instalments=[instalment], at=local("2026-08-17 09:00", customer), **WHO)
    sweep_dunning(at=at)
    later = NewInstalment(date(2026, 9, 20), Money("31", "USD"))
    promise_to_pay(case_id=case.pk, instalments=[later], at=at, **WHO)

    deliver(at)

    assert Notice.objects.get(kind="promise_broken").why == "the customer promised to pay before it was sent"


def test_a_mail_that_was_late_names_no_day_that_is_over() -> None:
    first, second = (
        planned(an_open_invoice(key, email="ap@acme.example"), reference=key) for key in ("cust_a", "cust_b")
    )

    on_its_day = sent(first, at=NOW + timedelta(days=7)).text
    late = sent(second, at=NOW + timedelta(days=8)).text

    assert len(late.splitlines()) < len(on_its_day.splitlines()), "a paragraph is left out"
