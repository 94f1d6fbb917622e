"""What is true about usage: meters, events as they were accepted, and their sums per hour."""

from decimal import Decimal

import pgtrigger
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import guard_history, tracked
from billing_site.kernel.model import append_only, exact_field, never_truncated

# Advisory lock class that every insert of events shares and that the rollup waits for.
INGEST_LOCK = 7_301


class Aggregation(models.TextChoices):
    """How a meter combines its events."""

    SUM = "sum", "Sum"
    COUNT = "count", "Count"


class Meter(models.Model):
    """What is counted and how: events of one type, their sum or their number."""

    key = models.SlugField(max_length=100, unique=True)
    name = models.CharField(max_length=200)
    event_type = models.CharField(max_length=200, db_index=True)
    aggregation = models.CharField(max_length=20, choices=Aggregation, default=Aggregation.SUM)
    value_property = models.CharField(
        max_length=200, blank=True, help_text="The property that is summed; empty: the event's quantity."
    )
    unit = models.CharField(max_length=50, default="unit", help_text="Singular noun: token, action, request.")
    rolled_up_to = models.BigIntegerField(
        default=0, editable=False, help_text="Every event of this meter up to this number is in a window."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked(excluded_fields=["rolled_up_to"])

    objects = models.Manager["Meter"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(aggregation__in=Aggregation.values), name="meter_aggregation_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class UsageEvent(models.Model):
    """One immutable observation of usage (S0-019..028). `id` is the order of acceptance."""

    id = models.BigAutoField(primary_key=True)
    dedup_key = models.UUIDField(editable=False, help_text="Half a SHA-256 of customer and idempotency key.")
    event_id = models.CharField(max_length=255)
    idempotency_key = models.CharField(max_length=255)
    event_type = models.CharField(max_length=200)
    customer_id = models.CharField(max_length=100)
    timestamp = models.DateTimeField(help_text="When the usage happened (UTC).")
    quantity = exact_field()
    namespace_id = models.CharField(max_length=200, blank=True, db_default="")
    properties = models.JSONField(default=dict, db_default=models.Value({}, output_field=models.JSONField()))
    received_at = models.DateTimeField(db_default=Now(), help_text="When it was accepted (UTC).")

    objects = models.Manager["UsageEvent"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dedup_key"], name="usage_event_is_accepted_once"),
            models.CheckConstraint(condition=models.Q(quantity__gte=0), name="usage_event_quantity_is_not_negative"),
            # To PostgreSQL NaN is a numeric, and greater than every number.
            models.CheckConstraint(
                condition=models.Q(quantity__lt=Decimal(10) ** 26), name="usage_event_quantity_is_a_number"
            ),
        ]
        indexes = [
            models.Index(fields=["customer_id", "event_type", "timestamp"], name="usage_event_by_customer"),
            BrinIndex(fields=["received_at"], name="usage_event_by_receipt"),
        ]
        triggers = [
            *append_only(noun="usage events"),
            Guard(
                name="announces_itself",
                level=pgtrigger.Statement,
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                # The rollup waits for holders of this lock before it trusts that all numbers below its mark are visible.
                func=f"PERFORM pg_advisory_xact_lock_shared({INGEST_LOCK}); RETURN NULL;",
            ),
        ]

    def __str__(self) -> str:
        return self.event_id


class UsageWindow(models.Model):
    """What one meter counted for one customer in one UTC hour."""

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="windows")
    customer_id = models.CharField(max_length=100)
    start = models.DateTimeField(help_text="The start of the hour (UTC).")
    # Wide enough for as many of the greatest quantities as there are event numbers: a sum never overflows.
    value: "models.DecimalField[Decimal, Decimal]" = models.DecimalField(max_digits=60, decimal_places=12)
    event_count = models.BigIntegerField()
    last_event = models.BigIntegerField(help_text="The greatest event number in this window.")

    objects = models.Manager["UsageWindow"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["meter", "customer_id", "start"], name="usage_window_is_one_per_hour"),
            models.CheckConstraint(condition=models.Q(event_count__gt=0), name="usage_window_has_events"),
        ]
        indexes = [models.Index(fields=["customer_id", "start"], name="usage_window_by_customer")]
        triggers = [never_truncated(noun="usage windows")]

    def __str__(self) -> str:
        return f"{self.meter_id} {self.customer_id} {self.start:%Y-%m-%d %H:00}"


guard_history(Meter)
