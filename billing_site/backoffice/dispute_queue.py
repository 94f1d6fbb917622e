"""The payments by card that a bank questions, until it has decided (S0-047)."""

from django.db.models import Count, Min, Q, Sum

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency
from invoicing.core.dispute_life import NEEDS_ANSWER
from invoicing.payments.disputes import open_disputes


def dispute_queue() -> WorkQueue:
    """Return the disputes that are open: how many wait for an answer, and until when it is taken."""
    rows = list(
        open_disputes()
        .order_by()
        .values("currency")
        .annotate(
            number_of=Count("id"),
            oldest=Min("opened_at"),
            amount=Sum("amount"),
            to_answer=Count("id", filter=Q(status__in=NEEDS_ANSWER)),
            due=Min("evidence_due_at", filter=Q(status__in=NEEDS_ANSWER)),
        )
    )
    to_answer = sum(row["to_answer"] for row in rows)
    due = min((row["due"] for row in rows if row["due"]), default=None)
    by = f", the first by {due:%Y-%m-%d %H:%M} UTC" if due else ""
    return WorkQueue(
        name="Disputed payments",
        link=admin_list("dispute", "state=open"),
        empty="A payment by card that its bank questions stands here until the bank has decided; its customer is frozen.",
        count=sum(row["number_of"] for row in rows),
        oldest=min((row["oldest"] for row in rows), default=None),
        money=amounts_by_currency(rows),
        why=f"{to_answer} need an answer{by}" if to_answer else "the banks decide",
    )
