"""Discounts: coupons that a customer has redeemed, for one subscription or for all of them."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import carved
from invoicing.catalog.coupon import Coupon
from invoicing.customers.accounts import is_of_who_pays
from invoicing.customers.models import Customer
from invoicing.subscriptions.models import Subscription


class Discount(models.Model):
    """A coupon in force for a customer: from the billing period that holds `redeemed_at`, for as many as the coupon says."""

    coupon = models.ForeignKey(Coupon, on_delete=models.PROTECT, related_name="discounts")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="discounts")
    subscription = models.ForeignKey(
        Subscription,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="discounts",
        help_text="Empty: all subscriptions of the customer.",
    )
    redeemed_at = models.DateTimeField()
    ended_at = models.DateTimeField(
        null=True, blank=True, help_text="Periods that begin then or later are not reduced any more."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked()

    objects = models.Manager["Discount"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["coupon", "customer", "subscription"],
                nulls_distinct=False,
                name="coupon_is_redeemed_once_for_the_same",
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("redeemed_at")),
                name="discount_ends_after_it_was_redeemed",
            ),
        ]
        indexes = [models.Index(fields=["customer"], name="discount_by_customer")]
        triggers = [
            *carved(noun="discount", while_open="FALSE", free_columns=["ended_at"]),
            is_of_who_pays(noun="a discount"),
            Guard(
                name="keeps_to_its_coupon",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("coupon", "invoicing_coupon%ROWTYPE"), ("redeemed", "integer")],
                # The coupon's row is locked: of two that redeem it at once the second sees the first.
                func="""
                    SELECT * INTO coupon FROM invoicing_coupon WHERE id = NEW.coupon_id FOR NO KEY UPDATE;
                    SELECT count(*) INTO redeemed FROM invoicing_discount WHERE coupon_id = NEW.coupon_id;
                    IF coupon.closed_at IS NOT NULL OR coupon.redeem_by <= NEW.redeemed_at
                       OR redeemed >= coupon.max_redemptions
                       OR NOT EXISTS (SELECT 1 FROM invoicing_customer customer WHERE customer.id = NEW.customer_id
                                         AND coupon.currency IN ('', customer.currency))
                       OR NEW.subscription_id IS NOT NULL
                          AND NOT EXISTS (SELECT 1 FROM invoicing_subscription subscription
                                           WHERE subscription.id = NEW.subscription_id
                                             AND subscription.customer_id = NEW.customer_id)
                    THEN
                        RAISE EXCEPTION 'coupon % cannot be redeemed by customer % at % (% times redeemed)', coupon.code,
                            NEW.customer_id, NEW.redeemed_at, redeemed USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.coupon} for {self.subscription or self.customer}"
