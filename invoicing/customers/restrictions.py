"""Restrict the service of a customer, and lift that again."""

from datetime import datetime

from django.db import connection

from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.customers.restriction import ServiceRestriction


def restrict_service(*, customer: Customer, at: datetime, actor: str, reason: str) -> ServiceRestriction:
    """Restrict the service of a customer from a moment on; one that is restricted stays so."""
    assert connection.in_atomic_block, "it is restricted together with what is written down about it"
    lock_customer(customer_id=customer.pk)
    present = ServiceRestriction.objects.filter(customer=customer, lifted_at=None).first()
    if present is not None:
        return present
    return ServiceRestriction.objects.create(
        customer=customer, restricted_at=at, actor=actor[:200], reason=reason[:300]
    )


def restricted_customers() -> list[int]:
    """Return the numbers of the customers whose service is restricted."""
    return list(
        ServiceRestriction.objects.filter(lifted_at=None).order_by("customer").values_list("customer", flat=True)
    )


def lift_restriction(*, customer: Customer, at: datetime) -> bool:
    """Lift the restriction of a customer; returns whether there was one."""
    assert connection.in_atomic_block, "it is lifted together with what is written down about it"
    lock_customer(customer_id=customer.pk)
    return bool(
        ServiceRestriction.objects.filter(customer=customer, lifted_at=None, restricted_at__lte=at).update(lifted_at=at)
    )
