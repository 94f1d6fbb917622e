"""Under one idempotency key Stripe is told the same, whatever has changed here meanwhile; a key that is of no use any more gives way to a new one."""

from datetime import UTC, datetime, timedelta

import pytest

from billing_site.kernel.clock import now
from billing_site.sandbox.models import SandboxObject
from invoicing.customers.operations import change_customer
from invoicing.payments import rounds
from invoicing.payments.models import PushIntent
from invoicing.payments.push import push_invoice, retry_push
from invoicing.payments.told import told_customer
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice, remote_invoices

BEFORE_MIDNIGHT = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)


def pushed(invoice, at):
    return push_invoice(intent_id=invoice.push.pk, at=at)


def lost_answer_to_the_draft(sandbox, invoice, at):
    """The draft is made at Stripe, and we never hear of it."""
    a_known_customer(invoice)
    sandbox.fault("timeout_after_effect", 2)
    intent = pushed(invoice, at)
    assert (intent.status, intent.stripe_invoice_id) == ("pending", None)


def a_known_customer(invoice):
    """Stripe knows the customer already: the next call makes the draft."""
    told_customer(invoice.push, at=now())


@pytest.mark.requirement("S3-033")
@pytest.mark.parametrize("change", [{}, {"payment_method": "pm_card_visa"}])
def test_after_midnight_and_with_another_card_the_same_key_says_the_same(sandbox, change):
    invoice = an_issued_invoice(a_card_customer(card=""))
    lost_answer_to_the_draft(sandbox, invoice, BEFORE_MIDNIGHT)
    if change:
        change_customer(customer=invoice.customer, changes=change, actor="test", reason="left a card")

    intent = pushed(invoice, BEFORE_MIDNIGHT + timedelta(minutes=2))

    (remote,) = remote_invoices(invoice)
    assert (intent.status, intent.last_error) == ("pushed", "")
    assert remote["status"] == ("paid" if change else "open")
    assert datetime.fromtimestamp(remote["due_date"], tz=UTC).date() == datetime(2027, 1, 2, tzinfo=UTC).date()


def test_a_key_that_stripe_has_forgotten_gives_way_and_what_was_begun_is_found(sandbox):
    invoice = an_issued_invoice(a_card_customer(card=""))
    lost_answer_to_the_draft(sandbox, invoice, now())
    first = PushIntent.objects.get(invoice=invoice).told

    intent = pushed(invoice, now() + rounds.KEYS_KEPT + timedelta(minutes=1))

    assert (intent.status, len(remote_invoices(invoice))) == ("pushed", 1)
    assert intent.told["since"] > first["since"]
    assert (first["round"], intent.told["round"]) == (0, 1)


def test_after_a_day_what_is_not_found_is_made_under_a_new_key_with_the_words_of_that_day(sandbox):
    invoice = an_issued_invoice(a_card_customer(card=""))
    lost_answer_to_the_draft(sandbox, invoice, BEFORE_MIDNIGHT)
    # Somebody deleted the draft there, of which we never heard.
    SandboxObject.objects.filter(kind="invoice").delete()

    intent = pushed(invoice, BEFORE_MIDNIGHT + rounds.KEYS_KEPT + timedelta(minutes=1))

    assert (intent.status, intent.last_error, intent.told["round"]) == ("pushed", "", 1)
    [remote] = remote_invoices(invoice)
    assert datetime.fromtimestamp(remote["due_date"], tz=UTC).date() == datetime(2027, 1, 3, tzinfo=UTC).date()


def test_a_failure_that_stripe_keeps_under_a_key_gives_way_to_a_new_key(sandbox):
    invoice = an_issued_invoice()
    a_known_customer(invoice)
    # The SDK's own repetition, with the same key, is told of the same failure again.
    sandbox.fault("kept_500", 1)
    failed = pushed(invoice, now())
    assert (failed.status, failed.told["is_spent"]) == ("pending", True)

    intent = pushed(invoice, now())

    assert (intent.status, intent.told["round"], len(remote_invoices(invoice))) == ("pushed", 1, 1)
    assert remote_invoices(invoice)[0]["status"] == "paid"
    assert SandboxObject.objects.filter(kind="charge").count() == 1


def test_somebody_who_sends_it_again_after_a_refusal_begins_a_round(sandbox):
    invoice = an_issued_invoice(a_card_customer(card="pm_unknown"))
    refused = pushed(invoice, now())
    change_customer(customer=invoice.customer, changes={"payment_method": ""}, actor="test", reason="no card")

    retry_push(intent_id=refused.pk, at=now(), actor="ada", reason="without a card")
    intent = pushed(invoice, now())

    assert (intent.status, intent.told["retry_count"]) == ("pushed", 1)
