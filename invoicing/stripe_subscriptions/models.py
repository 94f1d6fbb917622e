"""Subscriptions of ours that stand for one at Stripe, and where the two contradict each other."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.history import tracked
from billing_site.kernel.model import carved, never_deleted, stays
from invoicing.subscriptions.models import Subscription


class StripeSubscription(models.Model):
    """That a subscription here and one at Stripe are the same agreement, until it is unlinked; and what Stripe said last."""

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="at_stripe")
    stripe_id = models.CharField("at Stripe", max_length=100)
    stripe_customer_id = models.CharField(max_length=100, help_text="Whose it is at Stripe.")
    # What Stripe says moves by itself: no terms, and no history.
    status = models.CharField("state at Stripe", max_length=30, editable=False)
    status_since = models.DateTimeField("since", editable=False, help_text="Since when Stripe says so, as far as seen.")
    seen_at = models.DateTimeField("compared", editable=False, help_text="When it was compared last.")
    unlinked_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until further notice.")
    created_at = models.DateTimeField("linked", db_default=Now(), editable=False)
    history = tracked(excluded_fields=["status", "status_since", "seen_at"])

    objects = models.Manager["StripeSubscription"]()

    class Meta:
        verbose_name = "subscription at Stripe"
        verbose_name_plural = "subscriptions at Stripe"
        constraints = [
            models.UniqueConstraint(
                fields=["stripe_id"], condition=Q(unlinked_at=None), name="stripe_subscription_is_linked_once"
            ),
            models.UniqueConstraint(
                fields=["subscription"], condition=Q(unlinked_at=None), name="subscription_has_one_at_stripe"
            ),
            models.CheckConstraint(
                condition=~Q(stripe_id="") & ~Q(stripe_customer_id="") & ~Q(status=""),
                name="stripe_subscription_is_one_that_was_seen",
            ),
        ]
        triggers = [
            *carved(noun="link to Stripe", while_open="OLD.unlinked_at IS NULL", free_columns=[]),
            stays(noun="link to Stripe", columns=["subscription_id", "stripe_id", "stripe_customer_id", "created_at"]),
            never_deleted(noun="links to Stripe"),
        ]

    @property
    def status_words(self) -> str:
        """Stripe's word as people write it."""
        return self.status.replace("_", " ")

    def __str__(self) -> str:
        return self.stripe_id


class SubscriptionMismatch(models.Model):
    """That both cannot be right: told once, and closed by the look that finds it gone, or with its link."""

    link = models.ForeignKey(StripeSubscription, on_delete=models.PROTECT, related_name="mismatches")
    here = models.CharField("state here", max_length=30)
    there = models.CharField("state at Stripe", max_length=30)
    message = models.TextField(help_text="What is wrong, and what to do.")
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.CharField(max_length=200, blank=True, default="")
    closed_because = models.CharField(max_length=300, blank=True, default="")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["SubscriptionMismatch"]()

    class Meta:
        verbose_name = "contradicting subscription"
        constraints = [
            models.UniqueConstraint(
                fields=["link"], condition=Q(closed_at=None), name="subscription_mismatch_is_open_once"
            ),
            models.CheckConstraint(
                condition=Q(closed_at=None, closed_by="", closed_because="")
                | Q(closed_at__gte=F("opened_at")) & ~Q(closed_by="") & ~Q(closed_because=""),
                name="subscription_mismatch_is_closed_by_somebody_with_reason",
            ),
        ]
        indexes = [models.Index(fields=["opened_at"], condition=Q(closed_at=None), name="subscription_mismatch_open")]
        triggers = [
            *carved(noun="contradiction", while_open="OLD.closed_at IS NULL", free_columns=[]),
            stays(noun="contradiction", columns=["link_id", "here", "there", "message", "opened_at"]),
            never_deleted(noun="contradictions"),
        ]

    def __str__(self) -> str:
        return f"{self.link}: {self.here} here, {self.there} there"
