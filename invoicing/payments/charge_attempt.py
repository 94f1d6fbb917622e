"""Another attempt to charge an open invoice: the intent, written before the call, with an idempotency key of its own."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.model import never_deleted, never_truncated, stays
from invoicing.invoices.models import Invoice


class ChargeStatus(models.TextChoices):
    """What became of an attempt."""

    PLANNED = "planned", "Planned"
    PAID = "paid", "Paid"
    REFUSED = "refused", "Refused"
    DROPPED = "dropped", "Dropped"
    FAILED = "failed", "Failed: to be tried again"


class ChargeAttempt(models.Model):
    """The decision to charge an invoice that is open at Stripe once more, once per reference."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="charge_attempts")
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    reference = models.CharField(max_length=200, unique=True, help_text="What it is made for: planned once.")
    status = models.CharField(max_length=20, choices=ChargeStatus, default=ChargeStatus.PLANNED)
    outcome = models.CharField(max_length=500, blank=True, default="")
    attempt_count = models.PositiveIntegerField(default=0)
    failure_count = models.PositiveIntegerField(
        default=0, help_text="How often in a row Stripe could not take it; waiting for a turn does not count."
    )
    key_round = models.PositiveIntegerField(
        default=0, help_text="How often its idempotency key was made anew, because Stripe keeps a failure under it."
    )
    next_attempt_at = models.DateTimeField(help_text="When the sweep queues it again if it is still planned.")
    planned_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["ChargeAttempt"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(status__in=ChargeStatus.values), name="charge_attempt_status_is_known"),
            models.CheckConstraint(
                condition=Q(status="planned", done_at__isnull=True) | ~Q(status="planned") & Q(done_at__isnull=False),
                name="charge_attempt_is_done_at_a_moment",
            ),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason="") & ~Q(reference=""), name="charge_attempt_has_actor_and_reason"
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(status="planned"), name="charge_attempt_waiting")
        ]
        triggers = [
            stays(noun="charge attempt", columns=["invoice_id", "key", "reference", "planned_at", "actor", "reason"]),
            never_deleted(noun="charge attempts"),
            never_truncated(noun="charge attempts"),
        ]

    def __str__(self) -> str:
        return f"charge of {self.invoice_id}: {self.reference}"
