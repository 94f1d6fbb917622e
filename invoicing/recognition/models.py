"""What of fees in advance is revenue of a month although the invoice that settles them is still to come: one row a subscription, beside the journal entry."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, fits_currency, money_field
from invoicing.entities.models import LegalEntity
from invoicing.ledger.models import JournalEntry
from invoicing.subscriptions.models import Subscription


class RecognisedRevenue(models.Model):
    """What was served of a subscription by the end of a month, of what it has paid in advance: `held` is spread evenly over the days of its service.

    Later rows of the same month and subscription say what changed since; their sum is what was served by then.
    """

    month = models.DateField(help_text="The first day of the month.")
    legal_entity = models.ForeignKey(
        LegalEntity, to_field="key", db_index=False, on_delete=models.PROTECT, related_name="+", help_text="Who sells."
    )
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="recognised")
    entry = models.ForeignKey(JournalEntry, on_delete=models.PROTECT, related_name="recognised")
    service_start = models.DateField(help_text="The first day of the service that was paid for, where the customer is.")
    service_end = models.DateField(help_text="The day after the last one.")
    currency = models.CharField(max_length=3)
    held = money_field(help_text="What stood for that service, as a whole.")
    amount = money_field(help_text="What this row adds to what was served by the end of the month.")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["RecognisedRevenue"]()

    class Meta:
        verbose_name_plural = "recognised revenue"
        constraints = [
            models.UniqueConstraint(fields=["entry", "subscription"], name="revenue_is_recognised_once_by_an_entry"),
            models.CheckConstraint(condition=~Q(amount=0), name="recognised_revenue_says_something"),
            models.CheckConstraint(condition=Q(service_end__gt=F("service_start")), name="recognised_service_lasts"),
            fits_currency("held", "amount", name="recognised_revenue_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["month"], name="recognised_revenue_by_month")]
        triggers = [
            *append_only(noun="recognised revenue"),
            Guard(
                name="is_of_its_entry",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_journalentry
                         WHERE id = NEW.entry_id AND kind = 'recognition' AND currency = NEW.currency
                           AND recorded_in = txid_current()
                           AND reference LIKE to_char(NEW.month, 'YYYY-MM') || '/' || NEW.legal_entity_id || '/%'
                    ) THEN
                        RAISE EXCEPTION 'recognised revenue of % stands beside the entry that books it', NEW.month
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subscription}, {self.month:%Y-%m}"
