"""The drafts that the gate holds before issue."""

from collections import Counter

from django.db.models import F

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency
from invoicing.core.gate import CHECKS, Check
from invoicing.gate.queries import held_now


def held_queue() -> WorkQueue:
    """Return the drafts that wait for somebody to release or mend them, with how often each check found something (S3-053)."""
    rows = list(held_now().values("currency", "held_at", "findings", amount=F("total")))
    found = Counter(CHECKS[Check(one["check"])].title.lower() for row in rows for one in row["findings"])
    return WorkQueue(
        name="Drafts held before issue",
        link=admin_list("invoicehold", "state=held"),
        empty="A draft that a check finds odd (a spike, a silent meter, unmatched events) stands here until somebody releases it.",
        count=len(rows),
        oldest=rows[0]["held_at"] if rows else None,
        money=amounts_by_currency(rows),
        why=", ".join(f"{title} {number}" for title, number in found.most_common()),
    )
