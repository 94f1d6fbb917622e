"""What a step tells follows from what the bank said: whoever has to confirm a payment is asked for that, whatever the policy begins with."""

from datetime import timedelta

import pytest

from dunning.rehearsal import rehearse
from invoicing.payments.models import PaymentFailure
from tests.dunning.chasing import by_policy, chase, late_customer, local, turn
from tests.factories import AUGUST
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        ("authentication_required", ["action_required", "warning", "restricted"]),
        ("expired_card", ["reminder", "warning", "restricted"]),
    ],
)
def test_a_policy_that_begins_with_a_reminder_asks_for_the_confirmation_that_a_bank_waits_for(
    code: str, kinds: list[str]
) -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    refused_at = local("2026-08-03 10:00", customer)
    for number, newest in enumerate(("card_declined", code)):
        PaymentFailure.objects.create(
            invoice=invoice,
            reference=f"ch_{number}",
            code=newest,
            message="declined",
            occurred_at=refused_at + timedelta(minutes=number),
        )

    [first] = rehearse(until=local("2026-08-04 23:00", customer), at=local("2026-08-03 12:00", customer))
    taken = turn(local("2026-08-04 09:00", customer), local("2026-08-10 09:00", customer))

    assert [step.notice for step in taken] == kinds
    assert first.notice == kinds[0]


def test_what_is_to_be_confirmed_is_asked_for_where_it_is_the_oldest_debt() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    another = once(customer, item("10"), at=AUGUST + timedelta(days=9))
    at = local("2026-08-16 09:00", customer)
    PaymentFailure.objects.create(
        invoice=another, reference="ch_1", code="authentication_required", message="confirm", occurred_at=at
    )

    assert [step.notice for step in chase(at).steps] == ["reminder"], "what is asked for is the whole debt"
