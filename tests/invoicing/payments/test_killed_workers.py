"""A worker dies by kill -9 at any statement or answer; the next one finishes: one invoice, one payment, balanced books."""

import time
from datetime import timedelta

import pytest

from billing_site.kernel.clock import now
from invoicing.payments.intake import sweep_notices
from invoicing.payments.models import PushIntent, StripeNotice
from invoicing.payments.push import push_invoice, sweep_pushes
from invoicing.workflows.follow_stripe import follow_notice
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    assert_paid_once,
    deliver,
    killed_at,
    run_queued_jobs,
)

STEPS_MAX = 200


@pytest.mark.slow
@pytest.mark.requirement("S3-035")
def test_a_push_killed_at_any_step_is_finished_by_the_sweep(sandbox, listener):
    invoices, killed = [], 0
    for step in range(1, STEPS_MAX):
        invoice = an_issued_invoice(a_card_customer(f"cust_{step}"))
        intent_id = invoice.push.pk
        invoices.append(invoice)
        if not killed_at(step, lambda intent_id=intent_id: push_invoice(intent_id=intent_id, at=now())):
            break
        killed += 1

    assert killed >= 20, "the worker was hardly ever killed: the test kills nobody"
    finish_pushes()
    deliver(sandbox, listener)
    run_queued_jobs()

    assert {intent.status for intent in PushIntent.objects.all()} == {"pushed"}
    assert sandbox.state()["objects"]["customer"] == len(invoices)
    for invoice in invoices:
        assert_paid_once(invoice)


@pytest.mark.slow
@pytest.mark.requirement("S1-047")
def test_a_notice_killed_at_any_step_is_finished_by_the_sweep(sandbox, listener):
    invoices, killed = [], 0
    for step in range(1, STEPS_MAX):
        invoice = an_issued_invoice(a_card_customer(f"cust_{step}"))
        invoices.append(invoice)
        push_invoice(intent_id=invoice.push.pk, at=now())
        (notice,) = deliver(sandbox, listener)
        if not killed_at(step, lambda notice_id=notice.pk: follow_notice(notice_id=notice_id, at=now())):
            break
        killed += 1

    assert killed >= 10, "the worker was hardly ever killed: the test kills nobody"
    sweep_notices(at=now() + timedelta(hours=1))
    run_queued_jobs()

    assert not StripeNotice.objects.filter(processed_at__isnull=True).exists()
    for invoice in invoices:
        assert_paid_once(invoice)


def test_a_push_killed_five_times_in_a_row_still_makes_one_invoice(sandbox, listener):
    invoice = an_issued_invoice()
    intent_id = invoice.push.pk

    for step in (8, 11, 14, 17, 20):
        killed_at(step, lambda: push_invoice(intent_id=intent_id, at=now()))
    finish_pushes()
    deliver(sandbox, listener)
    run_queued_jobs()

    assert_paid_once(invoice)


def finish_pushes():
    """Sweep as the scheduler does, again and again: the server needs a moment to give back a dead worker's lock."""
    at = now()
    run_queued_jobs()
    for _ in range(50):
        at += timedelta(hours=1)
        if not sweep_pushes(at=at):
            return
        run_queued_jobs()
        time.sleep(0.1)
    raise AssertionError(f"still pending: {list(PushIntent.objects.filter(status='pending'))}")
