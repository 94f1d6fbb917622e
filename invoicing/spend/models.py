"""What a customer's spend is watched by, and what was seen: budgets, the spend last looked at, and notices."""

from decimal import Decimal
from typing import Any

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import EXACT_PLACES, append_only, fits_currency, money_field, never_truncated, stays
from invoicing.core.anomaly import Direction
from invoicing.core.spend import AtLimit as Limit
from invoicing.core.spend import Basis
from invoicing.customers.models import Customer


class AtLimit(models.TextChoices):
    """What becomes of a customer whose spend has reached the amount."""

    NOTIFY = Limit.NOTIFY.value, "A notice"
    STOP = Limit.STOP.value, "A notice, and access is refused"


class SetBy(models.TextChoices):
    """Whose budget it is: a customer cannot change what the company has set."""

    COMPANY = "company", "The company"
    CUSTOMER = "customer", "The customer"


def _in_the_customers_currency(*, noun: str) -> Guard:
    return Guard(
        name="is_in_the_customers_currency",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func=f"""
            IF NEW.customer_id IS NOT NULL
               AND NEW.currency <> (SELECT currency FROM invoicing_customer WHERE id = NEW.customer_id) THEN
                RAISE EXCEPTION '{noun} of a customer is in its currency'
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


def _quantity_field(**options: Any) -> "models.DecimalField[Decimal, Decimal]":
    return models.DecimalField(max_digits=60, decimal_places=EXACT_PLACES, **options)


class Budget(models.Model):
    """An amount for each billing period; without a customer it holds for all of its currency who have none of the company's own."""

    key = models.CharField(max_length=100, unique=True)
    customer = models.ForeignKey(
        Customer,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="budgets",
        help_text="Empty: the default of all customers of the currency who have no budget of the company's own.",
    )
    name = models.CharField(max_length=100)
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="For each billing period.")
    thresholds = ArrayField(
        models.PositiveSmallIntegerField(), help_text="Percent of the amount at which the spend so far is told."
    )
    projected_thresholds = ArrayField(
        models.PositiveSmallIntegerField(),
        default=list,
        blank=True,
        help_text="Percent of the amount at which the spend expected for the whole period is told.",
    )
    at_limit = models.CharField(max_length=10, choices=AtLimit, default=AtLimit.NOTIFY)
    set_by = models.CharField(max_length=10, choices=SetBy, default=SetBy.COMPANY)
    retired_at = models.DateTimeField(null=True, blank=True, help_text="From then on it is not watched.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked()

    objects = models.Manager["Budget"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="budget_is_more_than_nothing"),
            models.CheckConstraint(condition=Q(at_limit__in=AtLimit.values), name="budget_at_limit_is_known"),
            models.CheckConstraint(condition=Q(set_by__in=SetBy.values), name="budget_is_set_by_somebody_known"),
            models.CheckConstraint(
                condition=Q(customer__isnull=False) | Q(set_by=SetBy.COMPANY.value),
                name="budget_of_all_is_the_companys",
            ),
            models.CheckConstraint(
                condition=~Q(thresholds__contains=[0]) & ~Q(projected_thresholds__contains=[0]),
                name="budget_thresholds_are_parts_of_it",
            ),
            fits_currency("amount", name="budget_fits_its_currency"),
        ]
        indexes = [
            models.Index(fields=["customer", "at_limit"], condition=Q(retired_at__isnull=True), name="budget_in_force"),
        ]
        triggers = [
            stays(noun="budget", columns=["key", "customer_id", "currency", "set_by"]),
            _in_the_customers_currency(noun="a budget"),
            never_truncated(noun="budgets"),
        ]

    def __str__(self) -> str:
        return self.name


class SpendWatch(models.Model):
    """What a billing period was seen to cost when it was last looked at; access asks it for limits."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="watched")
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    currency = models.CharField(max_length=3)
    spend = money_field(help_text="The charges of the period so far.")
    looked_at = models.DateTimeField()
    known_through = models.BigIntegerField(default=0, help_text="The number of the last event that was known then.")
    problem = models.CharField(
        max_length=500, blank=True, help_text="Why it could not be computed last; the spend is that of before."
    )

    objects = models.Manager["SpendWatch"]()

    class Meta:
        verbose_name = "watched spend"
        verbose_name_plural = "watched spend"
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "period_start", "period_end"], name="spend_is_watched_once_a_period"
            ),
            models.CheckConstraint(condition=Q(period_end__gt=F("period_start")), name="watched_period_lasts"),
            fits_currency("spend", name="watched_spend_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["period_end", "looked_at"], name="watched_spend_by_period")]
        triggers = [
            stays(noun="watched spend", columns=["customer_id", "period_start", "period_end", "currency"]),
            _in_the_customers_currency(noun="the spend"),
        ]

    def __str__(self) -> str:
        return f"{self.customer} until {self.period_end:%Y-%m-%d}"


class NoticeKind(models.TextChoices):
    """What a notice is about."""

    THRESHOLD = "threshold", "Part of a budget reached"
    PENDING = "pending", "Charges pending"


class SpendNotice(models.Model):
    """Something that a customer and the company should hear of, once: a threshold in a period, charges that will be invoiced."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="spend_notices")
    kind = models.CharField(max_length=20, choices=NoticeKind)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    currency = models.CharField(max_length=3)
    spend = money_field(help_text="What was compared: the spend so far, or what was expected of the period.")
    budget = models.ForeignKey(Budget, null=True, blank=True, on_delete=models.PROTECT, related_name="notices")
    basis = models.CharField(max_length=10, choices=[(basis.value, basis.value.capitalize()) for basis in Basis])
    threshold = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Percent of the budget.")
    amount = money_field(null=True, blank=True, help_text="The budget's amount then.")
    at_limit = models.CharField(max_length=10, choices=AtLimit, blank=True)
    noticed_at = models.DateTimeField()

    objects = models.Manager["SpendNotice"]()

    class Meta:
        constraints = [
            # Once for each amount: whoever raises a budget hears of the thresholds of the new one.
            models.UniqueConstraint(
                fields=["budget", "customer", "period_start", "period_end", "basis", "threshold", "amount"],
                condition=Q(kind=NoticeKind.THRESHOLD.value),
                name="threshold_is_noticed_once_a_period",
            ),
            models.UniqueConstraint(
                fields=["customer", "period_start", "period_end"],
                condition=Q(kind=NoticeKind.PENDING.value),
                name="pending_charges_are_noticed_once_a_period",
            ),
            models.CheckConstraint(
                condition=Q(
                    kind=NoticeKind.THRESHOLD.value,
                    budget__isnull=False,
                    threshold__isnull=False,
                    amount__gt=0,
                    at_limit__in=AtLimit.values,
                )
                | Q(
                    kind=NoticeKind.PENDING.value,
                    budget__isnull=True,
                    threshold__isnull=True,
                    amount__isnull=True,
                    at_limit="",
                    basis=Basis.ACTUAL.value,
                ),
                name="notice_has_what_it_is_about",
            ),
            models.CheckConstraint(
                condition=Q(basis__in=[basis.value for basis in Basis]), name="notice_basis_is_known"
            ),
            fits_currency("spend", "amount", name="notice_fits_its_currency"),
        ]
        triggers = append_only(noun="spend notices")

    def __str__(self) -> str:
        if self.kind == NoticeKind.PENDING:
            return f"pending charges of {self.customer}"
        return f"{self.threshold} % of {self.budget}"


class UsageAnomaly(models.Model):
    """A day on which a customer used unusually much or little of a meter, told once, with what would have been usual."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="anomalies")
    meter = models.CharField(max_length=100, help_text="The meter's key.")
    unit = models.CharField(max_length=50)
    day = models.DateField(help_text="Where the customer is.")
    direction = models.CharField(max_length=10, choices=[(one.value, one.value.capitalize()) for one in Direction])
    # As wide as windows: a sum never overflows.
    quantity = _quantity_field(help_text="When it was noticed; the day may not have been over.")
    usual_low = _quantity_field(help_text="The usual range of such a day in the four weeks before.")
    usual_high = _quantity_field()
    usual = _quantity_field(help_text="The middle of these days.")
    day_count = models.PositiveSmallIntegerField(help_text="How many days it was compared with.")
    noticed_at = models.DateTimeField()

    objects = models.Manager["UsageAnomaly"]()

    class Meta:
        verbose_name = "unusual usage"
        verbose_name_plural = "unusual usage"
        constraints = [
            models.UniqueConstraint(fields=["customer", "meter", "day"], name="unusual_day_is_told_once"),
            models.CheckConstraint(
                condition=Q(direction=Direction.ABOVE.value, quantity__gt=F("usual_high"))
                | Q(direction=Direction.BELOW.value, quantity__lt=F("usual_low")),
                name="unusual_day_lies_outside_of_its_range",
            ),
        ]
        indexes = [models.Index(fields=["day", "customer"], name="unusual_usage_by_day")]
        triggers = append_only(noun="notices of unusual usage")

    def __str__(self) -> str:
        return f"{self.meter} of {self.customer} on {self.day}"


class AnomalyReview(models.Model):
    """That somebody has looked into an unusual day, and what was found; until then it waits on *Needs you*."""

    anomaly = models.OneToOneField(UsageAnomaly, on_delete=models.PROTECT, related_name="review")
    reviewed_at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    reason = models.CharField(max_length=300, help_text="What was found.")

    objects = models.Manager["AnomalyReview"]()

    class Meta:
        verbose_name = "review of unusual usage"
        verbose_name_plural = "reviews of unusual usage"
        constraints = [
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="anomaly_is_reviewed_by_somebody_with_reason"
            )
        ]
        triggers = append_only(noun="reviews of unusual usage")

    def __str__(self) -> str:
        return f"review of {self.anomaly_id}"


class SpendProgress(models.Model):
    """One row: the numbers of the last events whose customers were looked at, for budgets and for unusual usage."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    looked_through = models.BigIntegerField(default=0)
    examined_through = models.BigIntegerField(default=0, db_default=0)
    examined_date = models.DateField(null=True, help_text="The last day (UTC) on which everybody's usage was examined.")

    objects = models.Manager["SpendProgress"]()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="spend_progress_is_one_row")]

    def __str__(self) -> str:
        return f"looked through {self.looked_through}"
