"""The link of a notice leads to Stripe's page of the one open invoice where there is one, else into the portal; what Stripe says is paid is not asked for."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from moneyed import Money

from billing_site.kernel.clock import now
from dunning.arrangements.operations import object_to
from dunning.core.notice_kinds import NoticeKind
from dunning.notices.models import Notice
from invoicing.invoices.models import Invoice
from invoicing.payments.push import push_invoice
from tests.dunning.notices.telling import planned, sent
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    deliver,
    remote_invoices,
    run_queued_jobs,
)
from tests.invoicing.payments.conftest import listener, sandbox
from tests.invoicing.selling import item, once

__all__ = ["listener", "sandbox"]
pytestmark = pytest.mark.requirement("S2-021")


@pytest.fixture
def pushed(sandbox: Any) -> Invoice:
    """An invoice that is at Stripe and open: its customer has left no card."""
    invoice = an_issued_invoice(a_card_customer(card=""))
    push_invoice(intent_id=invoice.push.pk, at=now())
    return Invoice.objects.get(pk=invoice.pk)


def told(*invoices: Invoice, kind: NoticeKind = NoticeKind.ACTION_REQUIRED) -> Notice:
    return sent(planned(*invoices, kind=kind, at=now()), at=now())


def test_the_one_open_invoice_is_paid_or_confirmed_on_its_page_at_stripe(pushed: Invoice) -> None:
    [remote] = remote_invoices(pushed)

    notice = told(pushed)

    assert remote["hosted_invoice_url"] in notice.text.splitlines()
    assert f'href="{remote["hosted_invoice_url"]}"' in notice.html


def test_several_invoices_are_paid_from_the_portal(pushed: Invoice) -> None:
    second = once(pushed.customer, item("30"), key="second")

    notice = told(pushed, second)

    assert "/i/in_" not in notice.text
    assert "/portal/enter/" in notice.text


def test_where_a_part_is_objected_to_the_link_leads_into_the_portal(pushed: Invoice) -> None:
    object_to(invoice_id=pushed.pk, amount=Money("80", "USD"), at=now(), actor="ann", reason="by phone")

    notice = told(pushed)

    assert "/i/in_" not in notice.text
    assert "/portal/enter/" in notice.text


@pytest.mark.requirement("S1-044")
def test_while_stripe_does_not_answer_nobody_is_asked_for_what_may_be_paid_there(pushed: Invoice, sandbox: Any) -> None:
    sandbox.fault("http_500", 1000)

    notice = told(pushed)

    assert (notice.state, notice.attempt_count) == ("planned", 0)
    assert notice.next_attempt_at is not None and notice.next_attempt_at > now() + timedelta(minutes=9)
    assert "Stripe" in notice.why


@pytest.mark.requirement("S1-044")
def test_what_stripe_says_is_paid_is_not_asked_for_before_the_payment_is_heard_of(sandbox: Any, listener: Any) -> None:
    invoice = an_issued_invoice(a_card_customer())
    push_invoice(intent_id=invoice.push.pk, at=now())
    assert Invoice.objects.get().status == "issued", "the payment was not heard of yet"

    notice = told(invoice, kind=NoticeKind.REMINDER)

    assert (notice.state, notice.why) == (
        "planned",
        f"Stripe says that {invoice.number} is paid: waiting for its payment to arrive here",
    )
    deliver(sandbox, listener)
    run_queued_jobs()
    notice = sent(notice, at=now())
    assert (notice.state, notice.why) == ("not_needed", f"{invoice.number} was paid before it was sent")
    assert mail.outbox == []
