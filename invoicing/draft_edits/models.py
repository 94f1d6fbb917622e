"""What people change on drafts by hand: decided once, with a reason, and applied whenever the draft is computed again."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.ending import ends_once
from billing_site.kernel.guard import Guard
from billing_site.kernel.model import fits_currency, money_field
from invoicing.customers.models import Customer


class LineEdit(models.Model):
    """A change to the draft of a customer and period: what one of its lines comes to, or a line of its own, signed.

    It belongs to the period, not to the row of the draft: a draft that is deleted and made again has it. What it came to is a line of the invoice, with its own arithmetic.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="line_edits", db_index=False)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    line = models.CharField(
        max_length=300, blank=True, help_text="Reference of the line that it changes; empty where it is one of its own."
    )
    line_name = models.CharField(max_length=300, blank=True, help_text="What that line was called then.")
    description = models.CharField(max_length=200, help_text="What the customer reads on the invoice.")
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="What the line comes to, or, of a line of its own, its amount.")
    made_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300, help_text="Why; it is not on the invoice.")
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=200, blank=True, default="")
    ended_because = models.CharField(max_length=300, blank=True, default="")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["LineEdit"]()

    class Meta:
        verbose_name = "change of a draft"
        verbose_name_plural = "changes of drafts"
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "period_start", "period_end", "line"],
                condition=Q(ended_at__isnull=True) & ~Q(line=""),
                name="line_of_a_draft_is_changed_once_at_a_time",
            ),
            models.CheckConstraint(condition=Q(period_end__gt=F("period_start")), name="line_edit_period_lasts"),
            models.CheckConstraint(
                condition=Q(line="") & ~Q(amount=0) | ~Q(line="") & Q(amount__gte=0),
                name="line_edit_says_what_a_line_comes_to",
            ),
            models.CheckConstraint(
                condition=~Q(description="") & ~Q(actor="") & ~Q(reason=""), name="line_edit_says_what_who_and_why"
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_by="", ended_because="")
                | Q(ended_at__gte=F("made_at")) & ~Q(ended_by="") & ~Q(ended_because=""),
                name="line_edit_is_taken_back_by_somebody_with_a_reason",
            ),
            fits_currency("amount", name="line_edit_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["customer", "period_end"], name="line_edit_by_customer")]
        triggers = [
            *ends_once(noun="change of a draft"),
            Guard(
                name="changes_a_draft",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                # The customer's row is what issuing locks, too: nothing is changed while the invoice is issued.
                func="""
                    PERFORM 1 FROM invoicing_customer WHERE id = NEW.customer_id AND currency = NEW.currency FOR NO KEY UPDATE;
                    IF NOT FOUND THEN
                        RAISE EXCEPTION 'a change of a draft is in the currency of its customer'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF EXISTS (
                        SELECT 1 FROM invoicing_invoice WHERE customer_id = NEW.customer_id AND kind = 'period'
                           AND (period_start, period_end) = (NEW.period_start, NEW.period_end)
                           AND status NOT IN ('draft', 'void')
                    ) THEN
                        RAISE EXCEPTION 'the invoice of this period is issued: credit it'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF TG_OP = 'INSERT' AND NOT EXISTS (
                        SELECT 1 FROM invoicing_invoice WHERE customer_id = NEW.customer_id AND kind = 'period'
                           AND (period_start, period_end) = (NEW.period_start, NEW.period_end) AND status = 'draft'
                    ) THEN
                        RAISE EXCEPTION 'there is no draft of this period to be changed'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.description
