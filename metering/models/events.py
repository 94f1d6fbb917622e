"""Events as they were accepted, and the memory of their keys."""

from decimal import Decimal

import pgtrigger
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, exact_field

# Advisory lock class that every insert of events shares, that the rollup waits for, and that opening a month takes alone.
INGEST_LOCK = 7_301

# Joins the order of acceptance: whoever holds the lock may draw event numbers.
ANNOUNCE = f"PERFORM pg_advisory_xact_lock_shared({INGEST_LOCK}); RETURN NULL;"

# What an insert into a month that is not open is refused with (SQLSTATE).
MONTH_IS_NOT_OPEN = "BI001"


def announces_itself() -> Guard:
    """Return the trigger by which an insert holds the ingest lock before it draws a number."""
    return Guard(
        name="announces_itself",
        level=pgtrigger.Statement,
        when=pgtrigger.Before,
        operation=pgtrigger.Insert,
        # The rollup waits for holders of this lock before it trusts that all numbers below its mark are visible.
        func=ANNOUNCE,
    )


class UsageEvent(models.Model):
    """One immutable observation of usage (S0-019..028). `id` is the order of acceptance.

    The table is partitioned by the UTC month of receipt; `partitions.py` makes, opens and closes months.
    Each month has a unique index on `dedup_key`; the keys of closed months are in `KnownKey`, and the
    trigger `is_accepted_once` looks there: a key is accepted once whatever its month (S0-105, S0-110).
    """

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
            announces_itself(),
            Guard(
                name="is_accepted_once",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                referencing=pgtrigger.Referencing(new="new_rows"),
                declare=[("horizon", "metering_keyhorizon%ROWTYPE")],
                # Scalar subqueries: whatever the planner thinks of the tables' sizes, each key is one probe of an index.
                # The insert holds the ingest lock, so that no month opens between the check and the commit.
                func=f"""
                    SELECT * INTO horizon FROM metering_keyhorizon;
                    IF NOT FOUND OR EXISTS (
                        SELECT FROM new_rows n
                         WHERE n.received_at < horizon.open_from
                            OR n.received_at >= horizon.open_from + interval '1 month'
                    ) THEN
                        RAISE EXCEPTION 'usage events are accepted into the open month only'
                            USING ERRCODE = '{MONTH_IS_NOT_OPEN}';
                    END IF;
                    IF EXISTS (
                        SELECT FROM new_rows n
                         WHERE (SELECT TRUE FROM metering_knownkey k WHERE k.dedup_key = n.dedup_key LIMIT 1)
                    ) OR horizon.consolidated_before < horizon.open_from AND EXISTS (
                        SELECT FROM new_rows n
                         WHERE (SELECT TRUE FROM metering_usageevent e
                                 WHERE e.dedup_key = n.dedup_key AND e.received_at >= horizon.consolidated_before
                                   AND e.received_at < horizon.open_from LIMIT 1)
                    ) THEN
                        RAISE EXCEPTION 'an idempotency key of this customer was accepted in an earlier month'
                            USING ERRCODE = 'unique_violation', CONSTRAINT = 'usage_event_is_accepted_once';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.event_id


class KeyHorizon(models.Model):
    """One row: the month that is open for inserts, and how far the keys of closed months are consolidated."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    open_from = models.DateTimeField(help_text="Start of the month that takes inserts (UTC).")
    consolidated_before = models.DateTimeField(help_text="Keys of the months before this one are in KnownKey.")

    objects = models.Manager["KeyHorizon"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="key_horizon_is_one_row"),
            models.CheckConstraint(
                condition=models.Q(consolidated_before__lte=models.F("open_from")),
                name="key_horizon_consolidates_closed_months",
            ),
        ]
        triggers = [
            Guard(
                name="only_goes_forward",
                when=pgtrigger.Before,
                operation=pgtrigger.Update | pgtrigger.Delete,
                func="""
                    IF TG_OP = 'DELETE' OR NEW.open_from < OLD.open_from
                       OR NEW.consolidated_before < OLD.consolidated_before THEN
                        RAISE EXCEPTION 'a closed month stays closed'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"open from {self.open_from:%Y-%m}"


class KnownKey(models.Model):
    """The key of an event of a closed month. It outlives the event: an old duplicate stays a duplicate."""

    dedup_key = models.UUIDField(primary_key=True)
    content_digest = models.BinaryField(help_text="Half a SHA-256 of type, quantity, namespace and properties.")
    number = models.BigIntegerField(help_text="The event's number.")

    objects = models.Manager["KnownKey"]()

    class Meta:
        triggers = append_only(noun="known keys")

    def __str__(self) -> str:
        return str(self.dedup_key)
