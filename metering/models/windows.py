"""What the rollup makes of events: sums per hour, distinct values, and the list of what no window counts."""

from decimal import Decimal

from django.db import models

from billing_site.kernel.model import exact_field, never_truncated
from metering.models.meters import Meter


class UsageWindow(models.Model):
    """What one meter counted for one customer and grouping in one UTC hour; `value` depends on the aggregation.

    sum, average: the sum of values; count: their number; max, min, latest: that value; unique_count: distinct values
    of the hour; time_weighted_sum: the sum of level × microseconds from its first to its last event.
    """

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="windows", db_index=False)
    customer_id = models.CharField(max_length=100)
    start = models.DateTimeField(help_text="The start of the hour (UTC).")
    grouping = models.TextField(
        blank=True, default="", help_text="The values of the meter's dimensions as a JSON array; empty without."
    )
    # Wide enough for as many of the greatest quantities as there are event numbers: a sum never overflows.
    value: "models.DecimalField[Decimal, Decimal]" = models.DecimalField(max_digits=60, decimal_places=12)
    event_count = models.BigIntegerField(help_text="0 where all events of the hour were cancelled.")
    last_event = models.BigIntegerField(
        help_text="The greatest number of an event, cancellation or backdating that touched this window."
    )
    # Kept where the order of events matters: latest, time_weighted_sum.
    first_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    last_value = exact_field(null=True)
    # What events that are archived and purged contribute.
    archived_value: "models.DecimalField[Decimal, Decimal]" = models.DecimalField(
        max_digits=60, decimal_places=12, default=Decimal(0), db_default=Decimal(0)
    )
    archived_count = models.BigIntegerField(default=0, db_default=0)

    objects = models.Manager["UsageWindow"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["meter", "customer_id", "start", "grouping"], name="usage_window_is_one_per_hour"
            ),
            models.CheckConstraint(condition=models.Q(event_count__gte=0), name="usage_window_events_are_not_negative"),
        ]
        indexes = [models.Index(fields=["customer_id", "start"], name="usage_window_by_customer")]
        triggers = [never_truncated(noun="usage windows")]

    def __str__(self) -> str:
        return f"{self.meter_id} {self.customer_id} {self.start:%Y-%m-%d %H:00}"


class UniqueValue(models.Model):
    """A value that a unique-count meter has seen in an hour, as the MD5 of its text."""

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="+", db_index=False)
    customer_id = models.CharField(max_length=100)
    start = models.DateTimeField()
    grouping = models.TextField(blank=True, default="")
    value_key = models.UUIDField()

    objects = models.Manager["UniqueValue"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["meter", "customer_id", "start", "grouping", "value_key"], name="unique_value_is_kept_once"
            ),
        ]

    def __str__(self) -> str:
        return str(self.value_key)


class UnappliedReason(models.TextChoices):
    """Why an accepted event is in no window; the label is the sentence that people read."""

    NO_METER = "no_meter", "no meter counts this event type"
    NO_VALUE = "no_value", "the property that the meter counts is missing or not a number from 0 on"
    BEFORE_METER = "before_meter", "it happened before the meter took effect"
    FILTERED_OUT = "filtered_out", "no meter's filters let it through"


class UnappliedEvent(models.Model):
    """An accepted event that no meter counts, or that one meter cannot read although it should."""

    number = models.BigIntegerField(help_text="The event's number.")
    meter = models.ForeignKey(
        Meter, null=True, on_delete=models.PROTECT, related_name="+", help_text="The meter that lacks a value."
    )
    customer_id = models.CharField(max_length=100)
    event_type = models.CharField(max_length=200)
    timestamp = models.DateTimeField()
    received_at = models.DateTimeField()
    reason = models.CharField(max_length=20, choices=UnappliedReason)

    objects = models.Manager["UnappliedEvent"]()

    class Meta:
        verbose_name = "event in no window"
        verbose_name_plural = "events in no window"
        constraints = [
            models.UniqueConstraint(
                fields=["number", "meter"], nulls_distinct=False, name="unapplied_event_is_listed_once"
            ),
            models.CheckConstraint(
                condition=models.Q(reason__in=UnappliedReason.values), name="unapplied_event_reason_is_known"
            ),
        ]
        indexes = [
            models.Index(fields=["event_type", "reason", "number"], name="unapplied_event_by_kind"),
            models.Index(fields=["event_type", "reason", "timestamp"], name="unapplied_event_by_time"),
            models.Index(fields=["reason", "number"], name="unapplied_event_by_reason"),
            models.Index(fields=["customer_id", "number"], name="unapplied_event_by_customer"),
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.reason}"


class RollupProgress(models.Model):
    """One row: how far the list of unapplied events is complete."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    listed_up_to = models.BigIntegerField(default=0)

    objects = models.Manager["RollupProgress"]()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="rollup_progress_is_one_row")]

    def __str__(self) -> str:
        return f"listed up to {self.listed_up_to}"
