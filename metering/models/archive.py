"""What of the events lies in files, what of it the database has given away, and what has to wait for its return."""

from datetime import UTC, datetime

import pgtrigger
from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.guard import Carving, Guard
from billing_site.kernel.model import append_only, never_truncated
from metering.models.meters import Meter

# One archiving, purge or restore at a time.
ARCHIVE_LOCK = 7_305


class EventArchive(models.Model):
    """The events of one closed UTC day of receipt as a file; only the marks of purge and restore ever change."""

    day = models.DateField(unique=True, help_text="The UTC day on which the events were accepted.")
    file_name = models.CharField(max_length=200, unique=True)
    file_digest = models.CharField(max_length=64, help_text="SHA-256 of the file.")
    content_digest = models.CharField(max_length=64, help_text="SHA-256 of the lines in it, unpacked.")
    size_bytes = models.BigIntegerField()
    event_count = models.BigIntegerField()
    first_number = models.BigIntegerField(help_text="The lowest event number.")
    last_number = models.BigIntegerField(help_text="The greatest event number.")
    first_at = models.DateTimeField(help_text="The earliest timestamp of an event (UTC).")
    last_at = models.DateTimeField(help_text="The latest timestamp of an event (UTC).")
    archived_at = models.DateTimeField(db_default=Now())
    purged_at = models.DateTimeField(null=True, help_text="When the events left the database.")
    restored_at = models.DateTimeField(null=True, help_text="When they came back.")

    objects = models.Manager["EventArchive"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(event_count__gt=0), name="event_archive_holds_events"),
            models.CheckConstraint(
                condition=models.Q(first_number__lte=models.F("last_number"), first_at__lte=models.F("last_at")),
                name="event_archive_spans_run_forward",
            ),
            models.CheckConstraint(
                condition=models.Q(restored_at__isnull=True) | models.Q(purged_at__isnull=False),
                name="event_archive_is_restored_after_its_purge",
            ),
        ]
        triggers = [
            Guard(
                name="only_marks_change",
                when=pgtrigger.Before,
                operation=pgtrigger.Update | pgtrigger.Delete,
                func="""
                    IF TG_OP = 'DELETE' OR to_jsonb(OLD) - '{purged_at,restored_at}'::text[]
                                           IS DISTINCT FROM to_jsonb(NEW) - '{purged_at,restored_at}'::text[] THEN
                        RAISE EXCEPTION 'an archive of usage events is a fact: only its marks of purge and restore change'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
                carving=Carving(closed="TRUE", free_columns=("purged_at", "restored_at")),
            ),
            never_truncated(noun="archives of usage events"),
        ]

    def __str__(self) -> str:
        return f"{self.day}"

    @property
    def is_purged(self) -> bool:
        """Say whether the events are in the file only."""
        return self.purged_at is not None and self.restored_at is None

    @property
    def month(self) -> datetime:
        """The first moment of the month of receipt."""
        return datetime(self.day.year, self.day.month, 1, tzinfo=UTC)


class RetentionRun(models.Model):
    """One look at what may be purged, or one purge: who, when, what became of each month."""

    made_at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=200)
    applied = models.BooleanField(help_text="Whether it purged or only looked.")
    purged_events = models.BigIntegerField(default=0)
    months = models.JSONField(help_text="Per month: events, bytes, windows, and why it stays or that it went.")

    objects = models.Manager["RetentionRun"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~models.Q(actor=""), name="retention_run_has_an_actor"),
            models.CheckConstraint(
                condition=models.Q(applied=True) | models.Q(purged_events=0), name="retention_dry_run_purges_nothing"
            ),
        ]
        triggers = append_only(noun="retention runs")

    def __str__(self) -> str:
        return f"{self.made_at:%Y-%m-%d %H:%M}"


class UnsettledHour(models.Model):
    """An hour that should be counted again and cannot be: some of its events are archived.

    Its window keeps what it was; whoever asks for the hour is told which months to restore, and the restore settles it.
    Only of aggregations where adding is not enough: maximum, minimum, latest, unique count, time-weighted sum.
    """

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="+", db_index=False)
    customer_id = models.CharField(max_length=100)
    start = models.DateTimeField(help_text="The start of the hour (UTC).")
    grouping = models.TextField(blank=True, default="")
    number = models.BigIntegerField(help_text="Up to which number it should have been counted.")
    listed_at = models.DateTimeField(db_default=Now())

    objects = models.Manager["UnsettledHour"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["meter", "customer_id", "start", "grouping"], name="unsettled_hour_is_listed_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} {self.start:%Y-%m-%d %H:00}"
