"""The months that are over and not closed."""

from datetime import datetime

from billing_site.backoffice.work_queue import WorkQueue, admin_list
from invoicing.closing.queries import months_to_close


def month_queue(*, at: datetime) -> WorkQueue:
    """Return the months that are over and open: the oldest is the next to close."""
    waiting = months_to_close(at=at)
    oldest = waiting[0] if waiting else None
    return WorkQueue(
        name="Months to close",
        link=admin_list("monthclose"),
        empty="A month stands here from its end until it is closed: checked, signed off, and carved in stone.",
        count=len(waiting),
        oldest=oldest.span.end if oldest else None,
        why=f"{oldest.first_day:%B %Y} comes first" if oldest else "",
    )
