"""What is due is queued once more, and never beside a job that waits already: neither behind a busy worker nor in an outage."""

from datetime import timedelta

import pytest
from django_q.models import OrmQ

from billing_site.kernel.clock import now
from invoicing.payments import breaker
from invoicing.payments.models import PushIntent
from invoicing.payments.patience import QUEUE_PATIENCE
from invoicing.payments.push import push_invoice, sweep_pushes
from invoicing.workflows.follow_dispute import look_at_disputes
from invoicing.workflows.follow_stripe import sweep_open_invoices
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice, queued_jobs


@pytest.mark.requirement("S3-027")
def test_a_sweep_queues_nothing_beside_a_job_that_still_waits_for_a_worker(transactional_db):
    for number in range(3):
        an_issued_invoice(a_card_customer(f"cust_{number}"))
    before = queued_jobs()

    behind = [sweep_pushes(at=now() + timedelta(minutes=minutes)) for minutes in (3, 6, 60)]

    assert behind == [0, 0, 0]
    assert queued_jobs() == before
    # A worker took them and was killed.
    OrmQ.objects.all().delete()
    assert sweep_pushes(at=now() + timedelta(minutes=3)) == 3


def test_a_sweep_queues_what_was_lost_although_younger_jobs_wait(transactional_db):
    lost = an_issued_invoice()
    OrmQ.objects.all().delete()
    waits = an_issued_invoice(a_card_customer("cust_later"))
    in_four_minutes = now() + timedelta(minutes=4)
    OrmQ.objects.update(lock=in_four_minutes)
    PushIntent.objects.filter(invoice=waits).update(next_attempt_at=in_four_minutes + QUEUE_PATIENCE)

    assert sweep_pushes(at=in_four_minutes + timedelta(minutes=5)) == 1

    job = "invoicing.tasks.push_invoice"
    assert queued_jobs() == [(job, (waits.push.pk,)), (job, (lost.push.pk,))]


def test_the_looks_queue_nothing_in_an_outage_nor_while_the_looks_before_wait(sandbox):
    invoice = an_issued_invoice(a_card_customer(card=""))
    push_invoice(intent_id=invoice.push.pk, at=now())
    OrmQ.objects.all().delete()
    later = now() + timedelta(hours=2)
    breaker.open_by_hand(at=now(), actor="ada", reason="Stripe asked us to")
    OrmQ.objects.all().delete()

    assert (sweep_open_invoices(at=later), look_at_disputes(at=later), queued_jobs()) == (0, 0, [])

    breaker.close_outage(at=now(), actor="ada", reason="it is over")
    OrmQ.objects.all().delete()
    assert sweep_open_invoices(at=later) == 1
    assert sweep_open_invoices(at=later + timedelta(days=1)) == 0
