"""What all processes know together about the way to Stripe, one row each: how soon it may be called again."""

from django.db import models


class CallBucket(models.Model):
    """When the next call may go out, to one endpoint or in all: every process takes its turn under the lock of this row.

    It is worth nothing a second later: it is written without waiting for the disk, and made again where it is lost.
    """

    name = models.CharField(max_length=200, unique=True, help_text="An endpoint, or all of them.")
    next_at = models.DateTimeField(help_text="From when on a call may go out.")
    closed_until = models.DateTimeField(null=True, blank=True, help_text="Until when Stripe asked for quiet.")
    urgent_until = models.DateTimeField(
        null=True, blank=True, help_text="Until when others step back, because something urgent waits for its turn."
    )

    objects = models.Manager["CallBucket"]()

    def __str__(self) -> str:
        return self.name
