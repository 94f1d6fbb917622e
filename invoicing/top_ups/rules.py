"""Rules by which credit is topped up: set once, retired with a reason, and where each stands."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import amount_field, fits_currency, money_field, never_truncated, stays
from invoicing.customers.accounts import is_of_who_pays
from invoicing.customers.models import Customer

VALID_DAYS_MAX = 3650
PER_MONTH_MAX = 1000


class RuleState(models.TextChoices):
    """Where a rule stands, as it was seen last."""

    NEW = "new", "Not looked at yet"
    ENOUGH = "enough", "Enough credit"
    WAITING = "waiting", "A top-up waits for its payment"
    UNPAID = "unpaid", "Its top-up was not paid"
    CAPPED = "capped", "No more top-ups this month"
    STOPPED = "stopped", "Its top-up was declared void"
    UNKNOWN = "unknown", "The balance cannot be computed"
    FROZEN = "frozen", "A payment is disputed"


# What a person has to act on.
NEEDS_SOMEBODY = (RuleState.UNPAID, RuleState.CAPPED, RuleState.STOPPED, RuleState.UNKNOWN, RuleState.FROZEN)


class TopUpRule(models.Model):
    """Below which live balance of a customer's credit how much is sold. Its terms stay: other terms are another rule."""

    key = models.CharField(max_length=100, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="top_up_rules")
    currency = models.CharField(max_length=3)
    threshold = money_field(help_text="A live balance below it is topped up.")
    amount = money_field(help_text="What is sold each time.")
    valid_days = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="For how many days the bought credit lasts; empty: until it is used up."
    )
    max_per_month = models.PositiveSmallIntegerField(help_text="In a calendar month where the customer is.")
    set_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_by = models.CharField(max_length=200, blank=True, default="")
    retired_because = models.CharField(max_length=300, blank=True, default="")
    # What the sweep saw last: not terms, and no history.
    state = models.CharField(max_length=10, choices=RuleState, default=RuleState.NEW)
    state_since = models.DateTimeField()
    seen_at = models.DateTimeField(null=True, blank=True)
    seen_balance = amount_field(null=True, blank=True)
    seen_through = models.BigIntegerField(default=0, help_text="Events up to this number were looked at.")
    problem = models.CharField(max_length=500, blank=True, default="")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["TopUpRule"]()

    class Meta:
        verbose_name = "top-up rule"
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "currency"],
                condition=Q(retired_at__isnull=True),
                name="top_up_rule_is_one_at_a_time",
            ),
            models.CheckConstraint(condition=Q(threshold__gt=0), name="top_up_rule_has_a_threshold"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="top_up_rule_sells_something"),
            models.CheckConstraint(
                condition=Q(max_per_month__gte=1, max_per_month__lte=PER_MONTH_MAX), name="top_up_rule_has_a_cap"
            ),
            models.CheckConstraint(
                condition=Q(valid_days__isnull=True) | Q(valid_days__gte=1, valid_days__lte=VALID_DAYS_MAX),
                name="top_up_rule_sells_for_some_days",
            ),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="top_up_rule_has_actor_and_reason"),
            models.CheckConstraint(
                condition=Q(retired_at__isnull=True, retired_by="", retired_because="")
                | Q(retired_at__gte=F("set_at")) & ~Q(retired_by="") & ~Q(retired_because=""),
                name="top_up_rule_is_retired_by_somebody_with_a_reason",
            ),
            models.CheckConstraint(condition=Q(state__in=RuleState.values), name="top_up_rule_state_is_known"),
            fits_currency("threshold", "amount", name="top_up_rule_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["state"], condition=Q(retired_at__isnull=True), name="top_up_rule_by_state")]
        triggers = [
            stays(
                noun="top-up rule",
                columns=[
                    "key",
                    "customer_id",
                    "currency",
                    "threshold",
                    "amount",
                    "valid_days",
                    "max_per_month",
                    "set_at",
                    "actor",
                    "reason",
                ],
            ),
            never_truncated(noun="top-up rules"),
            is_of_who_pays(noun="a top-up rule"),
            Guard(
                name="is_in_the_customers_currency",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NEW.currency <> (SELECT currency FROM invoicing_customer WHERE id = NEW.customer_id) THEN
                        RAISE EXCEPTION 'a top-up rule of a customer is in its currency'
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
                        RAISE EXCEPTION 'top-up rule % stays: it is retired once', OLD.key
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.key
