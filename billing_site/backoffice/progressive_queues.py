"""What waits for somebody about progressive billing: thresholds that cannot charge, and what was charged and is owed to nobody."""

from django.db.models import Count, Max, Min

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency, first_named
from invoicing.progressive.models import ProgressiveThreshold
from invoicing.workflows.progressive_rest import left_of_progressive


def progressive_queues() -> list[WorkQueue]:
    """Return the thresholds in force that have a problem, and the progressive invoices of which something is left for good."""
    row = (
        ProgressiveThreshold.objects.filter(retired_at=None)
        .exclude(problem="")
        .aggregate(number_of=Count("id"), oldest=Min("seen_at"), why=Max("problem"))
    )
    left = list(left_of_progressive())
    return [
        WorkQueue(
            name="Progressive thresholds that charge nothing",
            link=admin_list("progressivethreshold", "state=problem"),
            empty="A threshold that is reached and cannot be invoiced (tax data, a dispute, a void invoice) stands here with the reason.",
            count=row["number_of"],
            oldest=row["oldest"],
            why=row["why"] or "",
        ),
        WorkQueue(
            name="Charged progressively, to be credited",
            link=admin_list("invoice", "state=to_credit"),
            empty="Usage that was invoiced while its period ran and then cancelled is taken off later invoices; where none follows, what is left stands here.",
            count=len(left),
            oldest=min((one.made_at for one in left), default=None),
            money=amounts_by_currency([{"currency": one.currency, "amount": one.left} for one in left]),
            why=first_named(sorted({one.customer.name for one in left})),
        ),
    ]
