"""How far the regular looks at Stripe's lists have come: each goes on where the last one ended, however long the worker was away."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import models


class StripeLook(models.Model):
    """Up to which moment one of Stripe's lists has been looked at; only the look itself writes it, when a step of it has ended."""

    name = models.CharField(max_length=50, unique=True, help_text="Which list.")
    looked_to = models.DateTimeField()

    objects = models.Manager["StripeLook"]()

    def __str__(self) -> str:
        return f"{self.name}: to {self.looked_to:%Y-%m-%d %H:%M} UTC"


def looked_to(*, name: str) -> datetime | None:
    """Return up to which moment a list has been looked at; None where no look at it has ended yet."""
    return StripeLook.objects.filter(name=name).values_list("looked_to", flat=True).first()


def note_looked(*, name: str, to: datetime) -> None:
    """Write down that a list has been looked at up to a moment; an earlier one than is known changes nothing."""
    StripeLook.objects.get_or_create(name=name, defaults={"looked_to": to})
    StripeLook.objects.filter(name=name, looked_to__lt=to).update(looked_to=to)


def steps_between(*, start: datetime, end: datetime, length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """Yield [start, end) in parts of at most a length, the oldest first."""
    while start < end:
        to = min(start + length, end)
        yield start, to
        start = to
