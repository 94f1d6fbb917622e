"""What dunning took is given back when nothing is owed, and told when it is so, not before."""

import pytest
from moneyed import Money

from dunning.arrangements.operations import object_to
from dunning.notices.models import Notice
from invoicing.customers.models import Customer
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from tests.dunning.chasing import WHO, access, by_policy, chase, late_customer, local, pay

pytestmark = pytest.mark.django_db


def restored(customer: Customer) -> int:
    """How often a customer was told that its service is back."""
    return Notice.objects.filter(customer=customer, kind="restored").count()


def short_ladder(customer: Customer, *days: str) -> None:
    for day in days:
        chase(local(f"2026-08-{day} 09:00", customer))


def test_who_objects_while_suspended_is_told_that_service_is_back_only_once_it_is() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    short_ladder(customer, "16", "19", "22", "23")
    at = local("2026-08-24 09:00", customer)
    object_to(invoice_id=invoice.pk, amount=Money("31", "USD"), at=at, **WHO)

    assert chase(at).closed == 1
    assert (access(customer, at), restored(customer)) == ((False, "suspended"), 0)
    paid_at = local("2026-08-30 09:00", customer)
    pay(invoice, paid_at)
    assert [str(move) for move in sweep_life_cycles(at=paid_at).moves] == ["suspended → active"]
    chase(paid_at)
    chase(paid_at)
    assert (access(customer, paid_at), restored(customer)) == ((True, "active"), 1)


def test_who_pays_while_suspended_is_told_once_that_service_is_back() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    short_ladder(customer, "16", "19", "22", "23")
    at = local("2026-08-24 09:00", customer)
    pay(invoice, at)

    chase(at)
    sweep_life_cycles(at=at)
    chase(at)

    assert restored(customer) == 1
