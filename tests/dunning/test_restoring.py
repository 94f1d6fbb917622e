"""What dunning took is given back when nothing is owed, and told when it is so, not before."""

from datetime import UTC, datetime

import pytest
from moneyed import Money

from dunning.arrangements.operations import decide_objection, object_to
from dunning.notices.models import Notice
from invoicing.customers.models import Customer
from invoicing.invoices.queries import overdue
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from tests.dunning.chasing import WHO, access, by_policy, chase, late_customer, local, pay

pytestmark = pytest.mark.django_db


def restored(customer: Customer) -> list[str]:
    """The mails that tell a customer that its service is back."""
    return list(Notice.objects.filter(customer=customer, kind="restored", state="sent").values_list("text", flat=True))


def short_ladder(customer: Customer, *days: str) -> None:
    for day in days:
        chase(local(f"2026-08-{day} 09:00", customer))


def test_who_objects_to_all_of_it_is_served_again_and_hears_that_it_is_settled_only_once_it_is() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    short_ladder(customer, "16", "19", "22", "23")
    at = local("2026-08-24 09:00", customer)
    part = object_to(invoice_id=invoice.pk, amount=Money("30", "USD"), at=at, **WHO)
    assert access(customer, at) == (False, "suspended"), "a dollar is owed"
    decide_objection(objection_id=part.pk, at=at, **WHO)
    whole = object_to(invoice_id=invoice.pk, amount=Money("31", "USD"), at=at, **WHO)

    assert access(customer, at) == (True, "active"), "at once"
    assert chase(at).closed == 1
    assert [str(move) for move in sweep_life_cycles(at=at).moves] == ["suspended → active"]
    chase(at)
    assert restored(customer) == []
    decide_objection(objection_id=whole.pk, at=at, **WHO)
    assert access(customer, at) == (True, "past_due")
    assert [step.number for step in chase(at).steps] == [1], "from the first step on"


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

    assert len(restored(customer)) == 1


@pytest.mark.parametrize(("timezone", "is_late"), [("Pacific/Auckland", True), ("UTC", False)])
def test_past_due_begins_with_the_day_of_the_customer(timezone: str, is_late: bool) -> None:
    customer = late_customer(timezone=timezone).customer
    # In Auckland it is the 16th of August by then.
    at = datetime(2026, 8, 15, 13, tzinfo=UTC)

    assert access(customer, at) == (True, "past_due" if is_late else "active")
    assert list(overdue(at=at).values_list("customer", flat=True)) == ([customer.pk] if is_late else [])
