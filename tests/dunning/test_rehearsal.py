"""Who gets what tomorrow is what will be done tomorrow: with money on account, cards that were never charged, holds and promises."""

from datetime import timedelta

import pytest
from moneyed import Money

from dunning.arrangements.operations import NewInstalment, hold_dunning, promise_to_pay
from dunning.rehearsal import rehearse
from invoicing.customers.models import Customer
from tests.dunning.chasing import WHO, case_of, chase, late_customer, local
from tests.dunning.test_fair_steps import on_account

pytestmark = pytest.mark.django_db


def test_what_is_against_a_step_tomorrow_is_told_today_and_so_it_comes() -> None:
    keys = ("plain", "credit", "held", "promised", "until_noon")
    customers = {key: late_customer(key).customer for key in keys}
    customers["card"] = late_customer("card", settlement_channel="stripe").customer
    Customer.objects.filter(key="card").update(payment_method="pm_card_visa")
    eve, tomorrow = (local(f"2026-08-{day} 09:00", customers["plain"]) for day in ("17", "18"))
    chase(local("2026-08-16 09:00", customers["plain"]))
    on_account(customers["credit"], "500.00")
    hold_dunning(customer=customers["held"], kind="vip", until=None, at=eve, **WHO)
    hold_dunning(customer=customers["until_noon"], kind="other", until=tomorrow + timedelta(hours=3), at=eve, **WHO)
    instalment = NewInstalment((eve + timedelta(days=30)).date(), Money("31", "USD"))
    promise_to_pay(case_id=case_of(customers["promised"]).pk, instalments=[instalment], at=eve, **WHO)

    end = tomorrow + timedelta(hours=12)
    against = {row.customer.key: row.against.partition(":")[0] for row in rehearse(until=end, at=eve)}

    taken = chase(tomorrow).steps + chase(tomorrow + timedelta(hours=4)).steps
    assert against == {
        "plain": "",
        "until_noon": "",
        "card": "not charged yet",
        "credit": "money on account is to be applied first",
        "held": "held",
        "promised": "has promised to pay",
    }
    assert {step.case.customer.key for step in taken} == {key for key, why in against.items() if not why}
