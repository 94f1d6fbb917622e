"""The usage that Stripe settles and does not have as it should."""

from django.db.models import Count, Max, Min

from billing_site.backoffice.work_queue import WorkQueue, admin_list
from invoicing.meter_reports.models import RepairCase

WHY_LENGTH = 120


def meter_queue() -> WorkQueue:
    """Return the repair cases that are open."""
    row = RepairCase.objects.filter(closed_at=None).aggregate(
        number_of=Count("id"), oldest=Min("opened_at"), why=Max("message")
    )
    why = row["why"] or ""
    return WorkQueue(
        name="Usage that Stripe's meters lack",
        link=admin_list("repaircase", "state=open"),
        empty="Usage that Stripe settles and has refused, at once or later, stands here until it is sent again or given up.",
        count=row["number_of"],
        oldest=row["oldest"],
        why=why if len(why) <= WHY_LENGTH else why[: WHY_LENGTH - 1] + "…",
    )
