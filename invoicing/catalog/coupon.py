"""Coupons: what a code takes off the bills of those who redeem it. Their terms never change; a coupon is closed and another one made."""

from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.history import tracked
from billing_site.kernel.model import amount_field, carved, fits_currency

PERCENT_PLACES = 4
PERIODS_MAX = 1200
POSITION_DEFAULT = 100


class CouponDuration(models.TextChoices):
    """How many billing periods a coupon takes something off."""

    ONCE = "once", "One billing period"
    REPEATING = "repeating", "A number of billing periods"
    FOREVER = "forever", "Every billing period"


class Coupon(models.Model):
    """A percentage, or an amount per billing period, off what it applies to."""

    code = models.CharField(max_length=60, unique=True, help_text="What people redeem: LAUNCH20.")
    name = models.CharField(max_length=200, help_text="What stands on invoices.")
    percent_off: "models.DecimalField[Decimal | None, Decimal | None]" = models.DecimalField(
        max_digits=3 + PERCENT_PLACES, decimal_places=PERCENT_PLACES, null=True, blank=True
    )
    amount_off: "models.DecimalField[Decimal | None, Decimal | None]" = amount_field(
        null=True,
        blank=True,
        help_text="Per billing period, never more than there is to reduce.",
    )
    currency = models.CharField(max_length=3, blank=True, help_text="Of the amount and of the least amount.")
    minimum_amount: "models.DecimalField[Decimal, Decimal]" = amount_field(
        default=Decimal(0),
        help_text="Where what it applies to comes to less, nothing is taken off.",
    )
    duration = models.CharField(max_length=20, choices=CouponDuration, default=CouponDuration.ONCE)
    periods = models.PositiveSmallIntegerField(null=True, blank=True, help_text="How many, where it repeats.")
    plans = ArrayField(
        models.CharField(max_length=100), default=list, blank=True, help_text="Keys of plans; none: all of them."
    )
    prices = ArrayField(
        models.CharField(max_length=100), default=list, blank=True, help_text="Keys of prices; none: all of them."
    )
    redeem_by = models.DateTimeField(null=True, blank=True, help_text="The first moment at which it is too late.")
    max_redemptions = models.PositiveIntegerField(null=True, blank=True, help_text="By how many at most.")
    position = models.PositiveSmallIntegerField(
        default=POSITION_DEFAULT,
        help_text="Of several discounts the smaller number comes first; of the same number percentages, then the older.",
    )
    closed_at = models.DateTimeField(null=True, blank=True, help_text="Nobody can redeem it from then on.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked()

    objects = models.Manager["Coupon"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(code__regex=r"^[A-Z0-9][A-Z0-9_-]{0,59}$"), name="coupon_code_is_a_code"
            ),
            models.CheckConstraint(
                condition=Q(percent_off__isnull=True, amount_off__isnull=False, amount_off__gt=0)
                | Q(amount_off__isnull=True, percent_off__isnull=False, percent_off__gt=0, percent_off__lte=100),
                name="coupon_takes_off_a_percentage_or_an_amount",
            ),
            models.CheckConstraint(
                condition=Q(currency__regex=r"^[A-Z]{3}$") | Q(currency="", amount_off__isnull=True, minimum_amount=0),
                name="coupon_amounts_have_a_currency",
            ),
            models.CheckConstraint(condition=Q(minimum_amount__gte=0), name="coupon_minimum_amount_is_not_negative"),
            models.CheckConstraint(
                condition=Q(duration="repeating", periods__isnull=False, periods__gte=1, periods__lte=PERIODS_MAX)
                | Q(duration__in=["once", "forever"], periods__isnull=True),
                name="coupon_repeats_a_number_of_periods",
            ),
            models.CheckConstraint(
                condition=Q(max_redemptions__isnull=True) | Q(max_redemptions__gte=1),
                name="coupon_can_be_redeemed_at_least_once",
            ),
            fits_currency("amount_off", "minimum_amount", name="coupon_amounts_fit_their_currency"),
        ]
        # Discounts were promised by these terms.
        triggers = carved(noun="coupon", while_open="FALSE", free_columns=["closed_at"])

    def __str__(self) -> str:
        return self.code
