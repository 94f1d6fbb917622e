"""What Stripe Tax was asked about customers, and what it told: rows that are only added, so that each tax of a line is proven from one."""

import uuid

from django.db import models
from django.db.models import Q

from billing_site.kernel.model import append_only
from invoicing.core.tax import TaxKind
from invoicing.core.told_tax import ToldTax, told_from
from invoicing.customers.models import Customer

DIGEST = r"^[0-9a-f]{64}$"


class TaxInquiry(models.Model):
    """A question to Stripe Tax, written before it is asked: `key` makes a call that is repeated the same call.

    It is of one customer and one day; what it asks beside the day has one digest, whoever asks it again.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="tax_inquiries")
    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    day = models.DateField(help_text="Whose rates are asked for.")
    question = models.JSONField(help_text="What Stripe is asked: place, VAT id, exemption, currency.")
    question_digest = models.CharField(max_length=64)
    asked_at = models.DateTimeField()

    objects = models.Manager["TaxInquiry"]()

    class Meta:
        verbose_name = "question to Stripe Tax"
        verbose_name_plural = "questions to Stripe Tax"
        indexes = [models.Index(fields=["customer", "question_digest", "day"], name="tax_inquiry_by_question")]
        constraints = [
            models.CheckConstraint(condition=Q(question_digest__regex=DIGEST), name="tax_inquiry_has_a_digest"),
        ]
        triggers = append_only(noun="questions to Stripe Tax")

    def __str__(self) -> str:
        return f"{self.customer} on {self.day}"


class TaxAnswer(models.Model):
    """What Stripe Tax answered, once: how the customer is taxed on that day, or why it cannot say."""

    inquiry = models.OneToOneField(TaxInquiry, on_delete=models.PROTECT, related_name="answer")
    told_at = models.DateTimeField()
    stripe_id = models.CharField("calculation", max_length=100, blank=True, help_text="Stripe's id of the calculation.")
    kind = models.CharField(max_length=20, blank=True, help_text="How it is taxed; empty: it could not be said.")
    is_registered = models.BooleanField(default=True, help_text="The company collects tax there, as Stripe knows it.")
    rates = models.JSONField(default=list, help_text="Each with place, name, and rate as a fraction of one.")
    refusal = models.CharField(max_length=500, blank=True, help_text="Why it could not be said.")
    refused_field = models.CharField(max_length=50, blank=True, help_text="What of the address is at fault.")
    body = models.JSONField("answer", null=True, help_text="As Stripe sent it.")

    objects = models.Manager["TaxAnswer"]()

    class Meta:
        verbose_name = "answer of Stripe Tax"
        verbose_name_plural = "answers of Stripe Tax"
        constraints = [
            models.CheckConstraint(
                condition=(
                    Q(kind__in=[kind.value for kind in TaxKind], refusal="", refused_field="", body__isnull=False)
                    & ~Q(rates=[])
                    & ~Q(stripe_id="")
                )
                | (Q(kind="", rates=[]) & ~Q(refusal="")),
                name="tax_answer_tells_rates_or_why_not",
            ),
        ]
        triggers = append_only(noun="answers of Stripe Tax")

    def __str__(self) -> str:
        return f"{self.inquiry}: {self.kind.replace('_', ' ') or 'refused'}"

    @property
    def told(self) -> ToldTax:
        """What it tells; of one that tells something only."""
        assert self.kind, "a refused question tells nothing"
        return told_from(kind=self.kind, rates=self.rates, is_registered=self.is_registered)
