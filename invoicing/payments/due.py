"""Queue what is due: the one sweep of all outboxes, of pushes, withdrawals, notices, refunds, charges, meter reports and mails.

Each has a row with `next_attempt_at`: when its job was queued it is set on by QUEUE_PATIENCE, when it failed by a gap.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from billing_site.kernel.jobs import oldest_waiting, queue_each
from invoicing.payments.patience import QUEUE_PATIENCE, SWEEP_MAX

# A job is queued so much later than its row says at most.
LATENESS = timedelta(seconds=30)


@transaction.atomic
def queue_due(*, waiting: "QuerySet[Any]", job: str, at: datetime, first: tuple[str, ...] = ()) -> int:
    """Queue the job of each waiting row whose time has come: after a failure, a killed worker, a lost job; returns how many.

    The oldest first, after those that the order `first` prefers. What was queued before and still waits for a worker is not queued once more:
    the queue is taken in its order, so whatever was queued after its oldest job is still in it.
    """
    until = min(at, oldest_waiting(at=at) + QUEUE_PATIENCE - LATENESS)
    due = list(
        waiting.select_for_update(of=("self",), skip_locked=True)
        .filter(next_attempt_at__lte=until)
        .order_by(*first, "next_attempt_at", "pk")
        .values_list("pk", flat=True)[:SWEEP_MAX]
    )
    if not due:
        return 0
    queue_each(job, due)
    waiting.model._default_manager.filter(pk__in=due).update(next_attempt_at=at + QUEUE_PATIENCE)
    return len(due)
