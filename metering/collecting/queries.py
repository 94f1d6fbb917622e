"""What may be asked about dead letters."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min

from metering.collecting.models import DeadLetter, Outcome


@dataclass(frozen=True)
class WaitingLetters:
    """How many letters wait, since when, and the sources that have most of them."""

    count: int
    oldest: datetime | None
    sources: tuple[str, ...]


def waiting_letters() -> WaitingLetters:
    """Return what waits for a replay or a dismissal, in one query."""
    rows = list(
        DeadLetter.objects.filter(outcome=Outcome.WAITING)
        .values("source")
        .annotate(number_of=Count("id"), oldest=Min("received_at"))
        .order_by("-number_of", "source")
    )
    return WaitingLetters(
        count=sum(row["number_of"] for row in rows),
        oldest=min((row["oldest"] for row in rows), default=None),
        sources=tuple(row["source"] for row in rows),
    )
