"""A charge that was planned is not made while a hold, a promise or an objection of later is against it."""

from datetime import timedelta

from django.db import transaction
from moneyed import Money

from billing_site.kernel.clock import now
from dunning.arrangements.operations import decide_objection, hold_dunning, lift_hold, object_to
from dunning.tasks import charge_again
from invoicing.customers.operations import change_customer
from invoicing.payments.charging import plan_charge
from tests.dunning.chasing import WHO
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice, run_queued_jobs


def test_what_was_arranged_after_a_charge_was_planned_keeps_it_waiting(sandbox) -> None:
    invoice = an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))
    run_queued_jobs()
    change_customer(customer=invoice.customer, changes={"payment_method": "pm_card_visa"}, **WHO)
    at = now() - timedelta(minutes=1)
    with transaction.atomic():
        attempt = plan_charge(invoice=invoice, reference="retry:1", at=at, actor="test", reason="another card")
    assert attempt is not None
    objection = object_to(invoice_id=invoice.pk, amount=Money("80", "USD"), at=at, **WHO)
    hold = hold_dunning(customer=invoice.customer, kind="vip", until=None, at=at, **WHO)

    def outcome() -> tuple[str, str]:
        status = charge_again(attempt.pk)
        attempt.refresh_from_db()
        return status, attempt.outcome.split(":")[0]

    assert outcome() == ("planned", "held")
    lift_hold(hold_id=hold.pk, at=at, **WHO)
    assert outcome() == ("planned", "the customer objects to a part of it")
    decide_objection(objection_id=objection.pk, at=at, **WHO)
    assert outcome() == ("paid", "the bank has accepted the charge")
