"""What waits for a second person."""

from billing_site.backoffice.work_queue import WorkQueue, admin_list, first_named
from invoicing.approvals.queries import open_approvals


def approval_queue() -> WorkQueue:
    """Return the deeds that somebody has asked for and that somebody else must decide about."""
    waiting = list(open_approvals().values_list("summary", "requested_at"))
    return WorkQueue(
        name="Approvals to give",
        link=admin_list("approval", "state=open"),
        empty="A billing run that somebody proposes, a large release, or a month to be opened again stands here until somebody else signs or refuses it.",
        count=len(waiting),
        oldest=waiting[0][1] if waiting else None,
        why=first_named([summary for summary, _ in waiting]),
    )
