"""Thresholds of progressive invoices: set once with a reason, retired with one; other terms are another threshold."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import amount_field, fits_currency, money_field, never_truncated, stays
from invoicing.customers.accounts import is_of_who_pays
from invoicing.customers.models import Customer


class ProgressiveThreshold(models.Model):
    """From which amount on the usage of a running period is invoiced at once, and after how much more again. Its terms stay.

    It charges, where a budget only tells or stops. Who has none is invoiced when the period is over.
    """

    key = models.CharField(max_length=100, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="progressive_thresholds")
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="Usage of a running period that comes to it is invoiced at once.")
    step = money_field(
        null=True, blank=True, help_text="After so much more it is invoiced again; empty: once a period."
    )
    set_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_by = models.CharField(max_length=200, blank=True, default="")
    retired_because = models.CharField(max_length=300, blank=True, default="")
    # What the sweep saw last: not terms, and no history.
    seen_at = models.DateTimeField(null=True, blank=True)
    seen_amount = amount_field(null=True, blank=True, help_text="The usage of the running period that no invoice has.")
    seen_through = models.BigIntegerField(default=0, help_text="Events up to this number were looked at.")
    problem = models.CharField(max_length=500, blank=True, default="")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["ProgressiveThreshold"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer"],
                condition=Q(retired_at__isnull=True),
                name="progressive_threshold_is_one_at_a_time",
            ),
            models.CheckConstraint(
                condition=Q(amount__gt=0) & (Q(step__isnull=True) | Q(step__gt=0)),
                name="progressive_threshold_is_an_amount",
            ),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="progressive_threshold_has_actor_and_reason"
            ),
            models.CheckConstraint(
                condition=Q(retired_at__isnull=True, retired_by="", retired_because="")
                | Q(retired_at__gte=F("set_at")) & ~Q(retired_by="") & ~Q(retired_because=""),
                name="progressive_threshold_is_retired_by_somebody_with_a_reason",
            ),
            fits_currency("amount", "step", name="progressive_threshold_fits_its_currency"),
        ]
        triggers = [
            stays(
                noun="progressive threshold",
                columns=["key", "customer_id", "currency", "amount", "step", "set_at", "actor", "reason"],
            ),
            never_truncated(noun="progressive thresholds"),
            is_of_who_pays(noun="a progressive threshold"),
            Guard(
                name="is_in_the_customers_currency",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NEW.currency <> (SELECT currency FROM invoicing_customer WHERE id = NEW.customer_id) THEN
                        RAISE EXCEPTION 'a progressive threshold of a customer is in its currency'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="stays_retired",
                when=pgtrigger.Before,
                operation=pgtrigger.Update | pgtrigger.Delete,
                func="""
                    IF TG_OP = 'DELETE' OR OLD.retired_at IS NOT NULL AND (OLD.retired_at, OLD.retired_by,
                       OLD.retired_because) IS DISTINCT FROM (NEW.retired_at, NEW.retired_by, NEW.retired_because) THEN
                        RAISE EXCEPTION 'progressive threshold % stays: it is retired once', OLD.key
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.key
