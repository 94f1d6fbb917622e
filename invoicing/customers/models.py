"""Who owes: customers, their terms and how they pay."""

from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.history import tracked
from billing_site.kernel.model import stays


class SettlementChannel(models.TextChoices):
    """How a customer pays."""

    STRIPE = "stripe", "Stripe"
    MANUAL = "manual", "Bank transfer"


class Customer(models.Model):
    """Who owes. Usage events name it by `key`."""

    key = models.CharField(max_length=100, unique=True, help_text="The customer_id on usage events: cust_acme.")
    name = models.CharField(max_length=300)
    email = models.EmailField(blank=True)
    currency = models.CharField(max_length=3)
    timezone = models.CharField(max_length=60, default="UTC", help_text="Periods begin at midnight there.")
    address = models.TextField(blank=True)
    tax_id = models.CharField(max_length=50, blank=True)
    settlement_channel = models.CharField(max_length=20, choices=SettlementChannel, default=SettlementChannel.STRIPE)
    net_terms_days = models.PositiveSmallIntegerField(default=14, help_text="Days from issue to due date.")
    payment_method = models.CharField(
        max_length=100, blank=True, help_text="Stripe's payment method that is charged: pm_…"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked()

    objects = models.Manager["Customer"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(currency__regex=r"^[A-Z]{3}$"), name="customer_currency_is_a_code"
            ),
            models.CheckConstraint(
                condition=models.Q(settlement_channel__in=SettlementChannel.values), name="customer_channel_is_known"
            ),
            models.CheckConstraint(
                condition=models.Q(net_terms_days__lte=365), name="customer_terms_are_within_a_year"
            ),
        ]
        # Events name the key; currency and zone decide the prices and the bounds of periods already billed.
        triggers = [stays(noun="customer", columns=["key", "currency", "timezone"])]

    def __str__(self) -> str:
        return self.name
