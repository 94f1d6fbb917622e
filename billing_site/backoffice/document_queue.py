"""The documents that could not be printed when their turn came."""

from django.db.models import Count, Max, Min

from billing_site.backoffice.work_queue import WorkQueue, admin_list
from invoicing.documents.models import RenderingFailure

WHY_LENGTH = 120


def document_queue() -> WorkQueue:
    """Return the documents that failed, and are tried again by themselves."""
    row = RenderingFailure.objects.aggregate(number_of=Count("id"), oldest=Min("failed_at"), why=Max("last_error"))
    why = row["why"] or ""
    return WorkQueue(
        name="Documents that cannot be printed",
        link=admin_list("renderingfailure"),
        empty="Invoices and credit notes are printed soon after they are issued; one that fails stands here while it is tried again.",
        count=row["number_of"],
        oldest=row["oldest"],
        why=why if len(why) <= WHY_LENGTH else why[: WHY_LENGTH - 1] + "…",
    )
