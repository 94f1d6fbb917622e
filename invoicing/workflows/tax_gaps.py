"""Whose tax data is missing: customers with a subscription in force of whom nobody has said where they are."""

from datetime import datetime

from django.db.models import QuerySet

from invoicing.customers.models import Customer
from invoicing.subscriptions.queries import phases_in_force
from invoicing.tax.models import CustomerTax, SellerTax


def charges_tax() -> bool:
    """Say whether any legal entity charges tax, or will from a day on."""
    return SellerTax.objects.exists()


def seller_charges_tax(*, customer: Customer) -> bool:
    """Say whether who sells to a customer charges tax, or will from a day on."""
    return SellerTax.objects.filter(legal_entity__key=customer.seller_key).exists()


def without_tax_data(*, at: datetime) -> "QuerySet[Customer]":
    """Return the customers with a subscription in force whose place is not known; nobody whose seller charges no tax."""
    if not charges_tax():
        return Customer.objects.none()
    in_force = phases_in_force(at=at).values("subscription__customer")
    known = CustomerTax.objects.values("customer")
    taxed = SellerTax.objects.values("legal_entity")
    return Customer.objects.filter(pk__in=in_force, legal_entity__in=taxed).exclude(pk__in=known)
