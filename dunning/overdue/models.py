"""What paying late costs: terms by policy, country and kind of customer with the day from which they hold, and each charge or waiver."""

from decimal import Decimal

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now

from billing_site.kernel.model import append_only, fits_currency, money_field
from dunning.notices.models import Notice
from invoicing.customers.accounts import is_of_who_pays
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice


class Audience(models.TextChoices):
    """For whom terms hold: a company is who has a VAT id."""

    ALL = "", "everybody"
    BUSINESS = "business", "companies (with a VAT id)"
    CONSUMER = "consumer", "consumers (without one)"


class OverdueTerms(models.Model):
    """What paying late costs from a day on; of the terms that fit a customer the closest hold, of these the newest that have begun.

    The closest are those that name its policy, then its country, then its audience. Without any nothing is charged.
    """

    policy = models.CharField(max_length=50, blank=True, default="", help_text="The key of a policy; empty: any.")
    country = models.CharField(max_length=2, blank=True, default="", help_text="Of the customer: DE; empty: any.")
    audience = models.CharField(max_length=10, choices=Audience, blank=True, default="")
    valid_from = models.DateField(help_text="Days from then on cost this.")
    base_rate = models.DecimalField(
        max_digits=7, decimal_places=4, help_text="Percent a year, as the central bank states it; it may be negative."
    )
    points = models.DecimalField(max_digits=7, decimal_places=4, help_text="On top of the base rate: 8, or 9.")
    currency = models.CharField(
        max_length=3, help_text="Of the amounts: who is billed in another pays no fixed amounts."
    )
    lump_sum = money_field(help_text="Once for each overdue invoice, as Directive 2011/7/EU has 40 EUR; 0: none.")
    reminder_fee = money_field(help_text="For each reminder or warning that was sent; 0: none.")
    free_reminders = models.PositiveIntegerField(default=1, help_text="So many of a customer's case cost nothing.")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["OverdueTerms"]()

    class Meta:
        verbose_name = "terms of late payment"
        verbose_name_plural = "terms of late payment"
        constraints = [
            models.CheckConstraint(
                condition=Q(country="") | Q(country__regex=r"^[A-Z]{2}$"), name="overdue_terms_country_is_a_code"
            ),
            models.CheckConstraint(condition=Q(audience__in=Audience.values), name="overdue_terms_audience_is_known"),
            models.CheckConstraint(
                condition=Q(points__gte=0, points__lte=100, base_rate__gte=-100, base_rate__lte=100),
                name="overdue_terms_rates_are_percentages",
            ),
            models.CheckConstraint(
                condition=Q(lump_sum__gte=0, reminder_fee__gte=0), name="overdue_terms_take_no_less_than_nothing"
            ),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="overdue_terms_have_actor_and_reason"),
            fits_currency("lump_sum", "reminder_fee", name="overdue_terms_fit_their_currency"),
        ]
        triggers = append_only(noun="terms of late payment")

    @property
    def percent(self) -> Decimal:
        """How many percent a year a day costs: never less than nothing."""
        return max(Decimal(0), self.base_rate + self.points)

    def __str__(self) -> str:
        whom = ", ".join(filter(None, (self.policy, self.country, self.get_audience_display())))
        return f"{whom} from {self.valid_from}"


class OverdueKind(models.TextChoices):
    """What for."""

    INTEREST = "interest", "Interest"
    LUMP_SUM = "lump_sum", "Lump sum"
    REMINDER = "reminder", "Reminder fee"


class OverdueCharge(models.Model):
    """Interest of some days, a lump sum or a fee: charged by an invoice of its own, or waived by somebody with a reason; never both, never twice."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="overdue_charges")
    kind = models.CharField(max_length=10, choices=OverdueKind)
    about = models.ForeignKey(
        Invoice, on_delete=models.PROTECT, related_name="overdue_charges", help_text="The invoice that was paid late."
    )
    first_day = models.DateField(null=True, blank=True)
    end_day = models.DateField(null=True, blank=True, help_text="The day after the last one.")
    notice = models.ForeignKey(Notice, null=True, blank=True, on_delete=models.PROTECT, related_name="overdue_charges")
    currency = models.CharField(max_length=3)
    amount = money_field()
    proof = models.JSONField(help_text="Principal, days and rate, or the terms by which it is so much.")
    invoice = models.ForeignKey(
        Invoice,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="overdue_charged",
        help_text="The invoice that charges it; empty: it was waived.",
    )
    charged_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["OverdueCharge"]()

    class Meta:
        verbose_name = "charge for late payment"
        verbose_name_plural = "charges for late payment"
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=OverdueKind.values), name="overdue_charge_kind_is_known"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="overdue_charge_is_an_amount"),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="overdue_charge_has_actor_and_reason"),
            models.CheckConstraint(
                condition=Q(kind="interest", first_day__isnull=False, end_day__gt=F("first_day"), notice__isnull=True)
                | Q(kind="lump_sum", first_day__isnull=True, end_day__isnull=True, notice__isnull=True)
                | Q(kind="reminder", first_day__isnull=True, end_day__isnull=True, notice__isnull=False),
                name="overdue_charge_says_its_days_or_its_notice",
            ),
            models.UniqueConstraint(
                fields=["about"], condition=Q(kind="lump_sum"), name="overdue_lump_sum_is_charged_once"
            ),
            models.UniqueConstraint(
                fields=["notice"], condition=Q(kind="reminder"), name="overdue_reminder_is_charged_once"
            ),
            ExclusionConstraint(
                name="overdue_day_is_charged_once",
                expressions=[
                    (
                        Func(F("about"), F("about"), Value("[]"), function="int8range"),
                        RangeOperators.OVERLAPS,
                    ),
                    (Func(F("first_day"), F("end_day"), function="daterange"), RangeOperators.OVERLAPS),
                ],
                condition=Q(kind="interest"),
            ),
            fits_currency("amount", name="overdue_charge_fits_its_currency"),
        ]
        triggers = [*append_only(noun="charges for late payment"), is_of_who_pays(noun="a charge for late payment")]

    def __str__(self) -> str:
        days = f" of {self.first_day} to before {self.end_day}" if self.first_day else ""
        return f"{self.get_kind_display()}{days} on {self.about}"
