"""Which plan is in force for whom, and from when."""

from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.history import tracked
from billing_site.kernel.model import stays
from invoicing.catalog.models import PlanVersion
from invoicing.customers.models import Customer


class Anchor(models.TextChoices):
    """From when the billing periods are counted."""

    CALENDAR = "calendar", "Calendar (1st of the month)"
    ANNIVERSARY = "anniversary", "Anniversary of the start"


class Subscription(models.Model):
    """A plan version in force for a customer during `[started_at, ended_at)`."""

    key = models.CharField(max_length=100, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="subscriptions")
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="subscriptions")
    anchor = models.CharField(max_length=20, choices=Anchor, default=Anchor.CALENDAR)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until further notice.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked()

    objects = models.Manager["Subscription"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ended_at__isnull=True) | models.Q(ended_at__gt=models.F("started_at")),
                name="subscription_ends_after_its_start",
            ),
            models.CheckConstraint(condition=models.Q(anchor__in=Anchor.values), name="subscription_anchor_is_known"),
        ]
        # Invoices were computed from these; a change of plan ends one subscription and starts another.
        triggers = [
            stays(noun="subscription", columns=["key", "customer_id", "plan_version_id", "anchor", "started_at"])
        ]

    def __str__(self) -> str:
        return self.key
