"""The sandbox's memory: objects, answered requests, webhooks to deliver, faults to come; nothing else refers to it."""

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.fields.json import KT


class SandboxObject(models.Model):
    """One object as Stripe would hold it; `body` is its JSON without what is presented from other objects."""

    position = models.BigAutoField(primary_key=True)
    id = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=32)
    body = models.JSONField()
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["kind", "position"], name="sandbox_object_kind"),
            # Events are large, many, and never searched by what is in them.
            GinIndex(
                fields=["body"],
                name="sandbox_object_body",
                opclasses=["jsonb_path_ops"],
                condition=~models.Q(kind="event"),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                KT("body__number"), condition=models.Q(kind="invoice"), name="sandbox_invoice_number_is_used_once"
            ),
        ]

    def __str__(self) -> str:
        return self.id


class SandboxRequest(models.Model):
    """One request that was carried out under an idempotency key, with the answer that its repetitions get."""

    idempotency_key = models.CharField(max_length=255, unique=True)
    method = models.CharField(max_length=8)
    path = models.TextField()
    digest = models.CharField(max_length=64, help_text="SHA-256 of the parameters.")
    request_id = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    response = models.JSONField()
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.idempotency_key


class SandboxDelivery(models.Model):
    """One event on its way to one address."""

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        DROPPED = "dropped"

    event = models.CharField(max_length=64, db_index=True)
    endpoint = models.CharField(max_length=64, help_text="Empty for the address in the settings.")
    url = models.TextField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    last_outcome = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["next_attempt_at", "id"],
                name="sandbox_delivery_pending",
                condition=models.Q(state="pending"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.url}"


class SandboxFault(models.Model):
    """A fault that was ordered: it strikes `times_left` more times, and besides `percent` of what it could strike; or a standing `level`."""

    kind = models.CharField(max_length=32, unique=True)
    times_left = models.PositiveIntegerField(default=0)
    percent = models.PositiveSmallIntegerField(default=0)
    level = models.IntegerField(default=0, help_text="Of what is a number, not a strike: calls in a second.")

    def __str__(self) -> str:
        return f"{self.kind}: {self.times_left or self.percent or self.level}"
