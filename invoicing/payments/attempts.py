"""Every attempt to push an invoice, kept: when, how far it came, what became of it and why, and under which id Stripe logs it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.model import append_only
from invoicing.payments.calls import CallLog
from invoicing.payments.models import PushIntent


class Step(models.TextChoices):
    """How far an attempt came."""

    BEGIN = "begin", "Begun"
    CUSTOMER = "customer", "Telling the customer"
    INVOICE = "invoice", "Making the invoice"
    LINES = "lines", "Adding its lines"
    FINALIZE = "finalize", "Finalising it"
    PAY = "pay", "Charging"
    DONE = "done", "Done"


class Outcome(models.TextChoices):
    """What became of it."""

    PUSHED = "pushed", "Pushed"
    NOT_NOW = "not now", "Not now"
    FAILED = "failed", "Failed"
    GIVEN_UP = "given up", "Given up"
    REFUSED = "refused", "Refused"
    INTERRUPTED = "interrupted", "Interrupted"
    SENT_AGAIN = "sent again", "Sent again"


class PushAttempt(models.Model):
    """One attempt, or the decision of somebody to send it again; rows are only added."""

    intent = models.ForeignKey(PushIntent, on_delete=models.PROTECT, related_name="attempts")
    number = models.PositiveIntegerField(help_text="Counted for each push; of a decision the attempt before it.")
    began_at = models.DateTimeField()
    duration = models.DurationField(default=timedelta)
    step = models.CharField(max_length=20, choices=Step)
    outcome = models.CharField(max_length=20, choices=Outcome)
    cause = models.TextField(blank=True, help_text="In plain words; empty where nothing went wrong.")
    call_count = models.PositiveIntegerField(default=0)
    request_id = models.CharField(max_length=100, blank=True, help_text="Stripe's, of its last answer.")
    actor = models.CharField(max_length=200, blank=True, help_text="Who sent it again; empty of what goes by itself.")
    recorded_at = models.DateTimeField(db_default=Now())

    objects = models.Manager["PushAttempt"]()

    class Meta:
        verbose_name = "attempt to push"
        verbose_name_plural = "attempts to push"
        constraints = [
            models.UniqueConstraint(
                fields=["intent", "number"], condition=~Q(outcome="sent again"), name="push_attempt_has_one_outcome"
            ),
            models.CheckConstraint(
                condition=Q(outcome="sent again") & ~Q(actor="") & ~Q(cause="")
                | ~Q(outcome="sent again") & Q(actor=""),
                name="push_is_sent_again_by_somebody_with_reason",
            ),
            models.CheckConstraint(
                condition=Q(outcome__in=("pushed", "interrupted")) | ~Q(cause=""),
                name="push_attempt_says_why_it_did_not_succeed",
            ),
        ]
        indexes = [models.Index(fields=["intent", "id"], name="push_attempt_by_intent")]
        triggers = append_only(noun="attempts to push")

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.intent}"


def record_attempt(
    *, intent: PushIntent, at: datetime, duration: timedelta, log: CallLog, outcome: Outcome, cause: str
) -> None:
    """Keep what became of the present attempt."""
    PushAttempt.objects.create(
        intent=intent,
        number=intent.attempt_count,
        began_at=at,
        duration=duration,
        step=log.step or Step.BEGIN,
        outcome=outcome,
        cause=cause,
        call_count=log.call_count,
        request_id=log.request_id,
    )


def record_interruption(*, intent: PushIntent) -> None:
    """Keep that the attempt before this one ended without a word, if it did: its worker was killed."""
    told = PushAttempt.objects.filter(intent=intent, number=intent.attempt_count).exclude(outcome=Outcome.SENT_AGAIN)
    if intent.began_at is None or told.exists():
        return
    PushAttempt.objects.create(
        intent=intent,
        number=intent.attempt_count,
        began_at=intent.began_at,
        step=Step.BEGIN,
        outcome=Outcome.INTERRUPTED,
        cause="Its worker ended in the middle of it; what was done by then is found again.",
    )


def record_decisions(*, intents: Sequence[PushIntent], at: datetime, actor: str, reason: str) -> None:
    """Keep who sent them again, and why."""
    PushAttempt.objects.bulk_create(
        PushAttempt(
            intent=intent,
            number=intent.attempt_count,
            began_at=at,
            step=Step.BEGIN,
            outcome=Outcome.SENT_AGAIN,
            cause=reason,
            actor=actor,
        )
        for intent in intents
    )


def attempts_of(*, intent_id: int) -> Sequence[PushAttempt]:
    """Return all attempts of a push and who sent it again, newest first."""
    return list(PushAttempt.objects.filter(intent=intent_id).order_by("-id"))
