"""What keeps dunning from going on: holds and promises to pay; objections are facts about invoices, and stand with these."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.ending import END, ends_once
from billing_site.kernel.model import append_only, fits_currency, money_field
from dunning.cases.models import DunningCase
from invoicing.customers.accounts import is_of_who_pays
from invoicing.customers.models import Customer


class HoldKind(models.TextChoices):
    """Why nothing is done about a customer."""

    VIP = "vip", "VIP: people look after it themselves"
    LEGAL = "legal", "Legal: a court or a lawyer is at it"
    OTHER = "other", "Other"


class Hold(models.Model):
    """Nothing is done about a customer from a moment on, until another one or until it is lifted."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="dunning_holds")
    kind = models.CharField(max_length=10, choices=HoldKind)
    starts_at = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: until somebody lifts it.")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=200, blank=True, default="")
    ended_because = models.CharField(max_length=300, blank=True, default="")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["Hold"]()

    class Meta:
        verbose_name = "dunning hold"
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=HoldKind.values), name="dunning_hold_kind_is_known"),
            models.CheckConstraint(
                condition=Q(until__isnull=True) | Q(until__gt=F("starts_at")), name="dunning_hold_lasts"
            ),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="dunning_hold_has_actor_and_reason"),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_by="", ended_because="")
                | Q(ended_at__gte=F("starts_at")) & ~Q(ended_by="") & ~Q(ended_because=""),
                name="dunning_hold_is_lifted_by_somebody_with_a_reason",
            ),
        ]
        triggers = [*ends_once(noun="dunning hold"), is_of_who_pays(noun="a dunning hold")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.reason})"


class PromiseOutcome(models.TextChoices):
    """What became of a promise."""

    OPEN = "", "open"
    KEPT = "kept", "kept"
    BROKEN = "broken", "broken"
    WITHDRAWN = "withdrawn", "withdrawn"


class Promise(models.Model):
    """A customer has promised to pay what is late, at once or in instalments: steps wait while it keeps that."""

    case = models.ForeignKey(DunningCase, on_delete=models.PROTECT, related_name="promises")
    invoices = models.JSONField(help_text="The numbers of the invoices that were late then: payments for them count.")
    made_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    outcome = models.CharField(max_length=10, choices=PromiseOutcome, blank=True, default="")
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=200, blank=True, default="")
    ended_because = models.CharField(max_length=300, blank=True, default="")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["Promise"]()

    class Meta:
        verbose_name = "promise to pay"
        verbose_name_plural = "promises to pay"
        constraints = [
            models.UniqueConstraint(
                fields=["case"], condition=Q(ended_at__isnull=True), name="promise_is_one_at_a_time"
            ),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="promise_has_actor_and_reason"),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_by="", ended_because="", outcome="")
                | Q(ended_at__gte=F("made_at"), outcome__in=["kept", "broken", "withdrawn"])
                & ~Q(ended_by="")
                & ~Q(ended_because=""),
                name="promise_is_kept_broken_or_withdrawn",
            ),
        ]
        triggers = ends_once(noun="promise to pay", columns=(*END, "outcome"))

    def __str__(self) -> str:
        return f"promise of {self.made_at:%Y-%m-%d}"


class Instalment(models.Model):
    """What is promised until the end of a day, where the customer is; a promise to pay all at once has one."""

    promise = models.ForeignKey(Promise, on_delete=models.PROTECT, related_name="instalments")
    number = models.PositiveIntegerField()
    due_date = models.DateField()
    currency = models.CharField(max_length=3)
    amount = money_field()

    objects = models.Manager["Instalment"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["promise", "number"], name="instalments_are_numbered"),
            models.UniqueConstraint(fields=["promise", "due_date"], name="instalments_are_on_days_of_their_own"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="instalment_is_an_amount"),
            fits_currency("amount", name="instalment_fits_its_currency"),
        ]
        triggers = append_only(noun="instalments")

    def __str__(self) -> str:
        return f"{self.amount} by {self.due_date}"
