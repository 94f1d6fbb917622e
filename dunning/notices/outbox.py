"""The outbox: a notice is planned once, in the transaction that decides about it, and its job is queued with it."""

from collections.abc import Sequence
from datetime import date, datetime

from django.db import connection

from billing_site.kernel.jobs import queue
from dunning.core.notice_kinds import NoticeKind
from dunning.core.notice_life import NoticeState
from dunning.notices.models import Notice, NoticeInvoice
from invoicing.customers.models import Customer
from invoicing.payments.due import queue_due
from invoicing.payments.patience import QUEUE_PATIENCE

JOB = "dunning.tasks.send_notice"


def plan_notice(
    *,
    customer: Customer,
    kind: NoticeKind,
    reference: str,
    invoice_ids: Sequence[int],
    acts_on: date | None,
    at: datetime,
) -> Notice:
    """Plan to tell a customer something about invoices of its own, once per `reference`: the same again returns the first.

    It commits with what the caller decides, or not at all. `acts_on` is the day of the next grave step, of which the mail tells.
    """
    assert connection.in_atomic_block, "the notice commits with what it is about, or not at all"
    assert invoice_ids, "a notice is about invoices"
    notice, is_new = Notice.objects.get_or_create(
        reference=reference,
        defaults={
            "customer": customer,
            "kind": kind.value,
            "acts_on": acts_on,
            "planned_at": at,
            "next_attempt_at": at + QUEUE_PATIENCE,
        },
    )
    if is_new:
        about = [NoticeInvoice(notice=notice, invoice_id=number) for number in sorted(set(invoice_ids))]
        NoticeInvoice.objects.bulk_create(about)
        queue(JOB, notice.pk)
    return notice


def sweep_notices(*, at: datetime) -> int:
    """Queue the notices whose next attempt is due; returns how many."""
    return queue_due(waiting=Notice.objects.filter(state=NoticeState.PLANNED.value), job=JOB, at=at)
