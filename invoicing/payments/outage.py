"""Outages: times in which Stripe is not called, because it fails again and again or because somebody said so; kept for ever."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import carved, never_deleted, stays


class FailureStreak(models.Model):
    """How many calls in a row have failed, of all processes together; an answer ends it."""

    name = models.CharField(max_length=50, unique=True, help_text="Who is called.")
    length = models.PositiveIntegerField(default=0)
    began_at = models.DateTimeField()

    objects = models.Manager["FailureStreak"]()

    def __str__(self) -> str:
        return f"{self.name}: {self.length}"


class Outage(models.Model):
    """A time in which an outside service is not called; while it lasts, what was to be sent waits."""

    name = models.CharField(max_length=50, help_text="Who is not called.")
    opened_at = models.DateTimeField()
    opened_by = models.CharField(max_length=200)
    cause = models.TextField()
    is_by_hand = models.BooleanField(
        default=False,
        help_text="Somebody stopped the calls: it lasts until somebody ends it. Otherwise a probe ends it.",
    )
    probe_at = models.DateTimeField(null=True, blank=True, help_text="When one call is tried; by hand never.")
    probe_count = models.PositiveIntegerField(default=0)
    last_probe_error = models.TextField(blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.CharField(max_length=200, blank=True)
    closed_reason = models.TextField(blank=True)
    recorded_at = models.DateTimeField(db_default=Now())

    objects = models.Manager["Outage"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(closed_at=None), name="outage_is_one_at_a_time"),
            models.CheckConstraint(
                condition=~Q(opened_by="") & ~Q(cause=""), name="outage_is_opened_by_somebody_with_cause"
            ),
            models.CheckConstraint(
                condition=Q(closed_at=None, closed_by="", closed_reason="")
                | Q(closed_at__gte=models.F("opened_at")) & ~Q(closed_by="") & ~Q(closed_reason=""),
                name="outage_is_closed_by_somebody_with_reason",
            ),
            models.CheckConstraint(
                condition=Q(is_by_hand=True, probe_at=None) | Q(is_by_hand=False, probe_at__isnull=False),
                name="outage_is_probed_unless_it_is_by_hand",
            ),
        ]
        triggers = [
            *carved(noun="outage", while_open="OLD.closed_at IS NULL", free_columns=[]),
            stays(noun="outage", columns=["name", "opened_at", "opened_by", "cause", "is_by_hand", "recorded_at"]),
            never_deleted(noun="outages"),
            Guard(
                name="begins_open",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NEW.closed_at IS NOT NULL THEN
                        RAISE EXCEPTION 'an outage begins open' USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} since {self.opened_at:%Y-%m-%d %H:%M} UTC"
