"""Whose tax data is missing: customers with a subscription in force of whom nobody has said where they are, or Stripe Tax cannot tell how they are taxed."""

from datetime import datetime

from django.conf import settings
from django.db.models import OuterRef, Q, QuerySet, Subquery

from invoicing.customers.models import Customer
from invoicing.subscriptions.queries import payers_in_force
from invoicing.tax.inquiries import TaxAnswer
from invoicing.tax.models import CustomerTax, SellerTax
from invoicing.tax.stripe_questions import asks_stripe


def charges_tax() -> bool:
    """Say whether any legal entity charges tax, or will from a day on."""
    return SellerTax.objects.exists()


def seller_charges_tax(*, customer: Customer) -> bool:
    """Say whether who sells to a customer charges tax, or will from a day on."""
    return SellerTax.objects.filter(legal_entity__key=customer.seller_key).exists()


def without_tax_data(*, at: datetime) -> "QuerySet[Customer]":
    """Return the customers with a subscription in force whose place is not known; nobody whose seller charges no tax.

    Where Stripe Tax decides these are also those of whom it has told nothing, or said last that it cannot tell.
    """
    if not charges_tax():
        return Customer.objects.none()
    in_force = payers_in_force(at=at)
    known = CustomerTax.objects.values("customer")
    taxed = SellerTax.objects.values("legal_entity")
    found = Customer.objects.filter(pk__in=in_force, legal_entity__in=taxed)
    if not asks_stripe():
        return found.exclude(pk__in=known)
    last = TaxAnswer.objects.filter(inquiry__customer=OuterRef("customer")).order_by("-id").values("kind")[:1]
    told = known.annotate(kind=Subquery(last)).filter(
        ~Q(customer__legal_entity=settings.STRIPE_TAX_LEGAL_ENTITY) | (Q(kind__isnull=False) & ~Q(kind=""))
    )
    return found.exclude(pk__in=told.values("customer"))
