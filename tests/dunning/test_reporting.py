"""Services report failed payments over the API, and dunning takes them up (S1-020, S1-101)."""

from typing import Any

import pytest

from dunning.cases.models import DunningCase
from invoicing.customers.operations import change_customer
from invoicing.payments.models import PaymentFailure
from tests.billing_site.api.caller import Caller
from tests.dunning.chasing import WHO, chase, late_customer, local, pay
from tests.factories import a_customer

pytestmark = pytest.mark.django_db

PATH = "/api/v1/dunning/process"
BODY = {"tenant_id": "cust_acme", "failure_count": 1, "invoice_amount": {"amount": "31.00", "currency": "USD"}}


@pytest.fixture
def invoice(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An open invoice that is not due yet."""
    invoice = late_customer()
    monkeypatch.setattr("dunning.api.now", lambda: local("2026-08-03 10:00", invoice.customer))
    return invoice


@pytest.mark.requirement("S1-020")
@pytest.mark.requirement("S1-101")
def test_a_reported_failure_opens_a_case_and_the_same_count_again_changes_nothing(invoice: Any) -> None:
    caller = Caller("dunning:write")

    first, again = caller.post(PATH, BODY), caller.post(PATH, BODY)

    assert first.status_code == 200, first.json()
    told = first.json()
    assert (told["recorded"], told["allowed"], told["invoice"]) == (True, True, invoice.number)
    assert told["case"] == {
        "state": "open",
        "policy": "standard",
        "days_from": "2026-08-03",
        "next_step": {"day": 0, "act": "notice", "notice": "payment_failed", "due_at": "2026-08-03T10:00:00Z"},
    }
    assert (again.json()["recorded"], PaymentFailure.objects.count(), DunningCase.objects.count()) == (False, 1, 1)
    [step] = chase(local("2026-08-03 10:05", invoice.customer)).steps
    assert step.notice == "payment_failed"
    assert caller.post(PATH, BODY | {"failure_count": 2}).json()["recorded"]


@pytest.mark.requirement("S1-101")
def test_what_is_paid_by_then_another_amount_or_an_unknown_tenant_is_refused(invoice: Any) -> None:
    caller = Caller("dunning:write")

    other = caller.post(PATH, BODY | {"invoice_amount": {"amount": "30.00", "currency": "USD"}})
    euros = caller.post(PATH, BODY | {"invoice_amount": {"amount": "31.00", "currency": "EUR"}})
    nobody = caller.post(PATH, BODY | {"tenant_id": "cust_nobody"})
    never = caller.post(PATH, BODY | {"failure_count": 0})
    pay(invoice, local("2026-08-03 09:00", invoice.customer))
    paid = caller.post(PATH, BODY)

    assert [one.status_code for one in (other, euros, nobody, never, paid)] == [409, 422, 404, 422, 409]
    assert not DunningCase.objects.exists()


def test_the_failure_of_an_account_is_that_of_who_pays_for_it(invoice: Any) -> None:
    account = a_customer("cust_branch")
    change_customer(customer=account, changes={"billed_to": "cust_acme"}, **WHO)

    told = Caller("dunning:write").post(PATH, BODY | {"tenant_id": "cust_branch"})

    assert told.json()["case"]["state"] == "open"
    assert DunningCase.objects.get().customer == invoice.customer
