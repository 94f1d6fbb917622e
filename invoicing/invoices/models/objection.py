"""What customers object to: a fact about an invoice that standing, access and dunning read."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.ending import ends_once
from billing_site.kernel.guard import Guard
from billing_site.kernel.model import fits_currency, money_field
from invoicing.invoices.models.invoice import Invoice


class Objection(models.Model):
    """A customer objects to a part of an invoice: until it is decided that part is not owed, neither chased nor held against it; a credit note says what it came to."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="objections")
    currency = models.CharField(max_length=3)
    amount = money_field()
    opened_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=200, blank=True, default="")
    ended_because = models.CharField(max_length=300, blank=True, default="")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["Objection"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["invoice"], condition=Q(ended_at__isnull=True), name="objection_is_one_at_a_time_per_invoice"
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="objection_is_to_an_amount"),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="objection_has_actor_and_reason"),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_by="", ended_because="")
                | Q(ended_at__gte=F("opened_at")) & ~Q(ended_by="") & ~Q(ended_because=""),
                name="objection_is_decided_by_somebody_with_a_reason",
            ),
            fits_currency("amount", name="objection_fits_its_currency"),
        ]
        triggers = [
            *ends_once(noun="objection"),
            Guard(
                name="is_to_what_is_owed",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    PERFORM 1 FROM invoicing_invoice WHERE id = NEW.invoice_id AND status = 'issued' AND currency = NEW.currency
                        AND NEW.amount <= total - amount_paid - amount_credited - amount_written_off FOR NO KEY UPDATE;
                    IF NOT FOUND THEN
                        RAISE EXCEPTION 'an objection is to what is open of an issued invoice, in its currency'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} of {self.invoice}"
