"""Money in: pushes to Stripe, Stripe's notices, payments and refusals."""

import uuid

from django.db import models
from django.db.models.functions import Now

from billing_site.display.figures import money_text
from billing_site.kernel.model import append_only, fits_currency, money_field
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.invoices.models import Invoice


class StripeCustomer(models.Model):
    """Which Stripe customer stands for ours, and what Stripe was last told about it."""

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, related_name="stripe_customer")
    stripe_id = models.CharField(max_length=100, unique=True)
    told_digest = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of name, e-mail and payment method as Stripe was told last."
    )
    payment_method = models.CharField(
        max_length=100, blank=True, help_text="What Stripe charges; empty if there is none or the bank refused it."
    )
    card_asked_at = models.DateTimeField(
        null=True, blank=True, help_text="When the page was opened on which the customer left its card last."
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = models.Manager["StripeCustomer"]()

    def __str__(self) -> str:
        return self.stripe_id


class PushStatus(models.TextChoices):
    """How far a push is."""

    PENDING = "pending", "Pending"
    PUSHED = "pushed", "Pushed"
    REFUSED = "refused", "Refused"
    FAILED = "failed", "Failed"


# What waits for people: Stripe will never take it, or could not for so long that somebody should look.
FAILED_STATUSES = (PushStatus.REFUSED, PushStatus.FAILED)


class PushIntent(models.Model):
    """The decision to push one invoice to Stripe, written before the first call; its key makes every call idempotent."""

    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="push")
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    status = models.CharField(max_length=20, choices=PushStatus, default=PushStatus.PENDING)
    stripe_invoice_id = models.CharField(max_length=100, null=True, blank=True, unique=True)
    is_urgent = models.BooleanField(default=False, help_text="So large that it goes before all others.")
    attempt_count = models.PositiveIntegerField(default=0)
    began_at = models.DateTimeField("last attempt", null=True, blank=True)
    failure_count = models.PositiveIntegerField(
        default=0, help_text="How often in a row Stripe could not take it; waiting for a turn does not count."
    )
    retry_count = models.PositiveIntegerField(
        default=0, help_text="How often people sent it again after a refusal; part of every idempotency key."
    )
    told = models.JSONField(
        default=dict,
        blank=True,
        help_text="With which round of idempotency keys Stripe is told of it, since when, and what that must say each time.",
    )
    last_error = models.TextField(blank=True)
    next_attempt_at = models.DateTimeField(help_text="When the sweep queues it again if it is still pending.")
    hosted_url = models.CharField(
        "Stripe's page", max_length=1000, blank=True, default="", help_text="Where it could be paid when it was pushed."
    )
    created_at = models.DateTimeField(db_default=Now())
    pushed_at = models.DateTimeField(null=True, blank=True)
    under_way_since = models.DateTimeField(
        "payment under way since",
        null=True,
        blank=True,
        help_text="Since when Stripe says that a payment of it is begun and not decided: a direct debit takes days.",
    )

    objects = models.Manager["PushIntent"]()

    class Meta:
        verbose_name = "invoice sent to Stripe"
        verbose_name_plural = "invoices sent to Stripe"
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(status="pushed")
                | models.Q(stripe_invoice_id__isnull=False, pushed_at__isnull=False),
                name="push_is_done_with_its_stripe_invoice",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "next_attempt_at"], name="push_by_status"),
            models.Index(
                fields=["id"],
                condition=models.Q(status="pending", is_urgent=True, attempt_count=0),
                name="push_urgent_and_new",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invoice} to Stripe"


class StripeNotice(models.Model):
    """One verified webhook delivery, stored once per Stripe event before anything is done about it."""

    event_id = models.CharField(max_length=100, unique=True)
    event_type = models.CharField(max_length=100)
    object_id = models.CharField(max_length=100, blank=True)
    body = models.JSONField()
    received_at = models.DateTimeField(db_default=Now())
    delivery_count = models.PositiveIntegerField(default=1)
    processed_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=300, blank=True)
    attempt_count = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    next_attempt_at = models.DateTimeField(
        db_default=Now(), help_text="When the sweep queues it again if it is still unprocessed."
    )
    parked_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it is tried no more: it failed so often that somebody should look."
    )

    objects = models.Manager["StripeNotice"]()

    class Meta:
        indexes = [
            models.Index(
                fields=["next_attempt_at"], condition=models.Q(processed_at__isnull=True), name="notice_waiting"
            )
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_id}"


class Payment(models.Model):
    """Money that arrived for an invoice; `reference` is unique in its channel."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="payments")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payments")
    channel = models.CharField(max_length=20, choices=SettlementChannel)
    reference = models.CharField(max_length=200)
    currency = models.CharField(max_length=3)
    amount = money_field()
    received_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())
    reason = models.CharField(max_length=300, blank=True)

    objects = models.Manager["Payment"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["channel", "reference"], name="payment_is_recorded_once"),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="payment_is_positive"),
            fits_currency("amount", name="payment_amount_fits_its_currency"),
        ]
        triggers = append_only(noun="payments")

    def __str__(self) -> str:
        return f"{self.reference}, {money_text(self.amount)}"


class PaymentFailure(models.Model):
    """An attempt to collect that was refused, with the reason for the customer and for us.

    What the customer tried by itself before the due date, and mistyped, makes nobody late.
    """

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payment_failures")
    reference = models.CharField(max_length=200, unique=True)
    code = models.CharField(max_length=100)
    message = models.CharField(max_length=500)
    occurred_at = models.DateTimeField()
    by_customer = models.BooleanField(
        "tried by the customer", default=False, help_text="On Stripe's page, of an invoice that we do not charge."
    )

    objects = models.Manager["PaymentFailure"]()

    class Meta:
        triggers = append_only(noun="payment failures")

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
