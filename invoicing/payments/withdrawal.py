"""That Stripe is to collect an invoice no more: written down with what happened to the invoice, and kept until Stripe has heard of it."""

from django.db import models
from django.db.models import Q

from billing_site.kernel.model import never_deleted, never_truncated
from invoicing.payments.models import PushIntent

# How withdrawals end after which nobody can pay at Stripe any more; what is uncollectible there still can be paid.
VOIDED = "voided at Stripe"
WAS_VOID = "it was void at Stripe"


class WithdrawalStatus(models.TextChoices):
    """How far a withdrawal is."""

    PLANNED = "planned", "Planned"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class Withdrawal(models.Model):
    """An invoice at Stripe of which it is to hear that it was paid otherwise, is void or given up; planned again where more happens to it."""

    intent = models.OneToOneField(PushIntent, primary_key=True, on_delete=models.PROTECT, related_name="withdrawal")
    status = models.CharField(max_length=20, choices=WithdrawalStatus, default=WithdrawalStatus.PLANNED)
    outcome = models.CharField(max_length=300, blank=True, default="")
    attempt_count = models.PositiveIntegerField(default=0)
    failure_count = models.PositiveIntegerField(default=0, help_text="How often in a row Stripe could not take it.")
    last_error = models.TextField(blank=True, default="")
    next_attempt_at = models.DateTimeField(help_text="When the sweep queues it again if it is still planned.")
    planned_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)

    objects = models.Manager["Withdrawal"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(status__in=WithdrawalStatus.values), name="withdrawal_status_is_known"),
            models.CheckConstraint(
                condition=Q(status="done", done_at__isnull=False) & ~Q(outcome="")
                | ~Q(status="done") & Q(done_at__isnull=True),
                name="withdrawal_is_done_at_a_moment_and_says_how",
            ),
            models.CheckConstraint(
                condition=~Q(status="failed") | ~Q(last_error=""), name="withdrawal_says_why_it_failed"
            ),
        ]
        indexes = [models.Index(fields=["next_attempt_at"], condition=Q(status="planned"), name="withdrawal_waiting")]
        triggers = [never_deleted(noun="withdrawals"), never_truncated(noun="withdrawals")]

    def __str__(self) -> str:
        return f"withdrawal of {self.intent_id}"
