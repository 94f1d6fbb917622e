"""The months that are over and not closed."""

from datetime import datetime

from billing_site.backoffice.work_queue import WorkQueue, admin_list
from invoicing.closing.queries import month_states


def month_queue(*, at: datetime) -> WorkQueue:
    """Return the months that are over and open: the oldest is the next to close."""
    waiting = [one for one in month_states(at=at) if one.is_over and not one.is_closed]
    oldest = waiting[-1].month if waiting else None
    return WorkQueue(
        name="Months to close",
        link=admin_list("monthclose"),
        empty="A month stands here from its end until it is closed: checked, signed off, and carved in stone.",
        count=len(waiting),
        oldest=oldest.span.end if oldest else None,
        why=f"{oldest.first_day:%B %Y} comes first" if oldest else "",
    )
