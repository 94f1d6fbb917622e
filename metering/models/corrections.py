"""What changes the meaning of accepted events: cancellations, earlier effective dates; and what contradicted them.

Cancellations and backdatings draw their numbers from the sequence of events, under the ingest lock. So "as known
through number N" says exactly which events count, which are cancelled, and from when a meter counted.
"""

import pgtrigger
from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, never_truncated, stays
from metering.models.events import announces_itself
from metering.models.meters import Meter


def drawn_in_time() -> Guard:
    """Return the trigger by which a number is new when it is used: what is counted already stays as it was known."""
    return Guard(
        name="is_drawn_in_time",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert,
        func="""
            IF NEW.number <= COALESCE((SELECT max(rolled_up_to) FROM metering_meter), 0)
               OR NEW.number <= COALESCE((SELECT max(listed_up_to) FROM metering_rollupprogress), 0)
               OR NEW.number > COALESCE(pg_sequence_last_value('metering_usageevent_id_seq'), 0) THEN
                RAISE EXCEPTION 'number % was not drawn from the sequence of events just now', NEW.number
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


class EventCancellation(models.Model):
    """From its number on an event does not count; a replacement, if there is one, is an event like others."""

    number = models.BigIntegerField(primary_key=True)
    event_number = models.BigIntegerField(help_text="The event that does not count any more.")
    replacement_number = models.BigIntegerField(null=True, help_text="The event that counts in its place.")
    customer_id = models.CharField(max_length=100)
    idempotency_key = models.CharField(max_length=255)
    reason = models.TextField()
    actor = models.CharField(max_length=200)
    cancelled_at = models.DateTimeField(db_default=Now())

    objects = models.Manager["EventCancellation"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event_number"], name="event_is_cancelled_once"),
            models.UniqueConstraint(fields=["replacement_number"], name="event_replaces_one_event"),
            models.CheckConstraint(
                condition=models.Q(number__gt=models.F("event_number")), name="event_is_cancelled_after_acceptance"
            ),
            models.CheckConstraint(
                condition=~models.Q(reason="") & ~models.Q(actor=""), name="event_cancellation_has_actor_and_reason"
            ),
            # Under one number: whoever knows the one knows the other, so that no cursor lies between them.
            models.CheckConstraint(
                condition=models.Q(replacement_number__isnull=True) | models.Q(replacement_number=models.F("number")),
                name="event_is_cancelled_and_replaced_at_once",
            ),
        ]
        indexes = [models.Index(fields=["customer_id", "number"], name="event_cancellation_by_customer")]
        triggers = [
            *append_only(noun="cancellations of events"),
            announces_itself(),
            drawn_in_time(),
            Guard(
                name="cancels_an_event",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NOT EXISTS (
                        SELECT FROM metering_usageevent e
                         WHERE e.id = NEW.event_number AND e.customer_id = NEW.customer_id
                           AND e.idempotency_key = NEW.idempotency_key
                    ) OR NEW.replacement_number IS NOT NULL AND NOT EXISTS (
                        SELECT FROM metering_usageevent e
                         WHERE e.id = NEW.replacement_number AND e.customer_id = NEW.customer_id
                    ) THEN
                        RAISE EXCEPTION 'there is no event % of % to cancel or to replace it', NEW.event_number,
                            NEW.customer_id USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} {self.idempotency_key}"


class MeterBackdating(models.Model):
    """A meter's effective date was moved back; as known before this number it was the later one."""

    number = models.BigIntegerField(primary_key=True)
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="backdatings")
    effective_before = models.DateTimeField(help_text="From when the meter counted until then (UTC).")
    effective_from = models.DateTimeField(help_text="From when it counts now (UTC).")
    reason = models.TextField()
    actor = models.CharField(max_length=200)
    backdated_at = models.DateTimeField(db_default=Now())

    objects = models.Manager["MeterBackdating"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(effective_from__lt=models.F("effective_before")), name="meter_is_dated_back"
            ),
        ]
        triggers = [*append_only(noun="backdatings of meters"), announces_itself(), drawn_in_time()]

    def __str__(self) -> str:
        return f"{self.meter} from {self.effective_from:%Y-%m-%d}"


class EventConflict(models.Model):
    """An event that was refused because its idempotency key was accepted with another content."""

    dedup_key = models.UUIDField()
    content_digest = models.BinaryField(help_text="Half a SHA-256 of the refused content.")
    event_number = models.BigIntegerField(help_text="The event that was accepted with this key.")
    customer_id = models.CharField(max_length=100)
    idempotency_key = models.CharField(max_length=255)
    accepted = models.JSONField(null=True, help_text="The accepted content; empty where the event is archived.")
    refused = models.JSONField(help_text="The refused event.")
    times_seen = models.PositiveBigIntegerField(default=1)
    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.CharField(max_length=200, blank=True)
    outcome = models.CharField(
        max_length=20, blank=True, help_text="kept: the accepted one counts; amended: the other."
    )
    reason = models.TextField(blank=True)

    objects = models.Manager["EventConflict"]()

    class Meta:
        verbose_name = "contradicting event"
        verbose_name_plural = "contradicting events"
        constraints = [
            models.UniqueConstraint(fields=["dedup_key", "content_digest"], name="event_conflict_is_listed_once"),
            models.CheckConstraint(
                condition=models.Q(settled_at__isnull=True, settled_by="", outcome="", reason="")
                | (
                    models.Q(settled_at__isnull=False, outcome__in=["kept", "amended"])
                    & ~models.Q(settled_by="")
                    & ~models.Q(reason="")
                ),
                name="event_conflict_is_settled_by_somebody_with_reason",
            ),
        ]
        indexes = [models.Index(fields=["settled_at", "last_seen_at"], name="event_conflict_by_settlement")]
        triggers = [
            stays(
                noun="event conflict",
                columns=[
                    "dedup_key",
                    "content_digest",
                    "event_number",
                    "customer_id",
                    "idempotency_key",
                    "accepted",
                    "refused",
                ],
            ),
            Guard(
                name="never_deleted",
                when=pgtrigger.Before,
                operation=pgtrigger.Delete,
                func="RAISE EXCEPTION 'a conflict stays listed' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
            ),
            Guard(
                name="is_settled_once",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func="""
                    IF OLD.settled_at IS NOT NULL AND (OLD.settled_at, OLD.settled_by, OLD.outcome, OLD.reason)
                           IS DISTINCT FROM (NEW.settled_at, NEW.settled_by, NEW.outcome, NEW.reason)
                       OR NEW.times_seen < OLD.times_seen OR NEW.first_seen_at <> OLD.first_seen_at THEN
                        RAISE EXCEPTION 'event conflict % is settled once and counts upwards', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            never_truncated(noun="event conflicts"),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} {self.idempotency_key}"
