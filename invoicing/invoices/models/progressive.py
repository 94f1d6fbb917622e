"""Progressive invoices: of which period each is, its place among those of the period, and what made it."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, fits_currency, money_field
from invoicing.customers.models import Customer
from invoicing.invoices.models.invoice import Invoice
from invoicing.progressive.models import ProgressiveThreshold


class ProgressiveInvoice(models.Model):
    """What was used of a period, invoiced while it ran: one of a place in its period, whoever asks twice. Never changes.

    The invoice of the period takes it off; `taken_off` are the lines that do.
    """

    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="progressive")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="progressive_invoices")
    threshold = models.ForeignKey(
        ProgressiveThreshold, on_delete=models.PROTECT, related_name="invoices", help_text="Which was reached."
    )
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    ordinal = models.PositiveIntegerField(help_text="Its place among the progressive invoices of the period.")
    currency = models.CharField(max_length=3)
    reached = money_field(help_text="What was charged before tax: the usage so far, less what was invoiced before.")
    made_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["ProgressiveInvoice"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "period_start", "period_end", "ordinal"],
                name="progressive_invoice_has_one_place_in_its_period",
            ),
            models.CheckConstraint(
                condition=Q(
                    period_end__gt=F("period_start"),
                    made_at__gte=F("period_start"),
                    made_at__lt=F("period_end"),
                    ordinal__gte=1,
                    reached__gt=0,
                ),
                name="progressive_invoice_is_of_a_running_period_over_something",
            ),
            fits_currency("reached", name="progressive_invoice_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="progressive invoices"),
            Guard(
                name="begins_with_its_invoice",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_invoice invoice
                          JOIN invoicing_progressivethreshold threshold ON threshold.id = NEW.threshold_id
                           AND threshold.customer_id = invoice.customer_id AND threshold.retired_at IS NULL
                         WHERE invoice.id = NEW.invoice_id AND invoice.kind = 'progressive' AND invoice.status = 'draft'
                           AND (invoice.customer_id, invoice.currency, invoice.subtotal)
                               = (NEW.customer_id, NEW.currency, NEW.reached)
                    ) OR NEW.ordinal <> 1 + (
                        SELECT count(*) FROM invoicing_progressiveinvoice WHERE customer_id = NEW.customer_id
                           AND (period_start, period_end) = (NEW.period_start, NEW.period_end)
                    ) THEN
                        RAISE EXCEPTION 'a progressive invoice begins with its draft, by a threshold of its customer, after those before it'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invoice} ({self.ordinal})"
