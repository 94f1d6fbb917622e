"""The issued lines that came out otherwise when they were counted and rated again at night."""

from django.db.models import Count, F, Min, Sum

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency
from invoicing.rerating.operations import open_findings

WHY_LENGTH = 120


def rerating_queue() -> WorkQueue:
    """Return the lines that rate otherwise and that nobody has looked into."""
    rows = list(
        open_findings()
        .order_by()
        .values(currency=F("line__currency"))
        .annotate(number_of=Count("id"), oldest=Min("found_at"), amount=Sum("line__amount"))
    )
    newest = open_findings().order_by("-id").first() if rows else None
    why = f"{newest.differences[0]}" if newest else ""
    return WorkQueue(
        name="Lines that rate otherwise",
        link=admin_list("reratingfinding", "state=open"),
        empty="Every night some issued lines, and all large ones, are counted and rated again; one that comes out otherwise stands here.",
        count=sum(row["number_of"] for row in rows),
        oldest=min((row["oldest"] for row in rows), default=None),
        money=amounts_by_currency(rows),
        why=why if len(why) <= WHY_LENGTH else why[: WHY_LENGTH - 1] + "…",
    )
