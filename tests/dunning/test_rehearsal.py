"""Who gets what tomorrow is what will be done tomorrow: with money on account, cards that were never charged, holds and promises."""

from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from moneyed import Money

from dunning.arrangements.operations import NewInstalment, hold_dunning, promise_to_pay
from dunning.earliest import steps_at_the_earliest
from dunning.notices.models import Notice
from dunning.policies.operations import ensure_presets
from dunning.rehearsal import rehearse, tomorrow_ends
from dunning.rehearsing_beside import rehearse_beside
from invoicing.core.life_cycle import Driver, State
from invoicing.customers.models import Customer
from invoicing.customers.restrictions import restrict_service
from invoicing.payments.models import PaymentFailure
from invoicing.workflows.move_life_cycle import move_customer, sweep_life_cycles
from tests.dunning.chasing import WHO, by_policy, case_of, chase, late_customer, local, pay, turn
from tests.dunning.test_fair_steps import at_stripe, on_account
from tests.factories import AUGUST
from tests.invoicing.selling import item, once

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


def test_what_waits_for_somebody_waits_for_somebody_at_night_too_as_the_case_says() -> None:
    """The rehearsal took the end of the quiet hours for the end of a hold that nobody has lifted."""
    held, promised = (late_customer(key).customer for key in ("held", "promised"))
    evening = local("2026-08-18 22:30", held)
    chase(local("2026-08-16 09:00", held))
    hold_dunning(customer=held, kind="vip", until=None, at=evening, **WHO)
    instalment = NewInstalment(evening.date() + timedelta(days=30), Money("31", "USD"))
    promise_to_pay(case_id=case_of(promised).pk, instalments=[instalment], at=evening, **WHO)

    rows = rehearse(until=tomorrow_ends(at=evening), at=evening)

    said = {row.customer.key: row.waits_for_somebody for row in rows}
    assert said == {"held": True, "promised": False}
    for customer in (held, promised):
        first = steps_at_the_earliest(case=case_of(customer), at=evening)[0]
        assert first.waits and first.waits_for_somebody is said[customer.key]


def test_the_rehearsal_names_the_mail_that_is_sent_and_what_is_skipped() -> None:
    restricted, suspended = late_customer("restricted").customer, late_customer("suspended").customer
    at = local("2026-08-15 23:00", restricted)
    restrict_service(customer=restricted, at=AUGUST, **WHO)
    sweep_life_cycles(at=local("2026-08-16 00:30", suspended))
    ensure_presets()
    move_customer(
        customer=suspended, to=State.SUSPENDED, driver=Driver.PERSON, at=local("2026-08-16 01:00", suspended), **WHO
    )

    end = local("2026-08-31 23:00", restricted)
    rows = rehearse(until=end, at=local("2026-08-16 02:00", restricted))

    of = {
        key: [(row.planned.step.day, row.notice, row.skipped) for row in rows if row.customer.key == key]
        for key in ("restricted", "suspended")
    }
    assert at < end and of["restricted"][0] == (0, "reminder", "")
    assert (14, "", "the customer is suspended already") in of["suspended"]
    chase(local("2026-08-16 09:00", restricted))
    days = dict(Notice.objects.filter(kind="reminder").values_list("customer__key", "acts_on"))
    assert days == {row.customer.key: row.acts_on for row in rows if row.planned.number == 1} == dict.fromkeys(days)


def test_an_instalment_and_a_broken_promise_are_rehearsed_as_they_are_told() -> None:
    customer = late_customer().customer
    chase(local("2026-08-16 09:00", customer))
    promise_to_pay(
        case_id=case_of(customer).pk,
        instalments=[
            NewInstalment(date(2026, 8, 20), Money("10", "USD")),
            NewInstalment(date(2026, 8, 28), Money("21", "USD")),
        ],
        at=local("2026-08-16 14:00", customer),
        **WHO,
    )

    assert beside("2026-08-16 15:00", customer) == []
    assert beside("2026-08-17 09:00", customer) == [
        ("an instalment is due", "instalment_due", Money("10", "USD"), "2026-08-18 08:00", "2026-08-20")
    ]
    chase(local("2026-08-18 08:00", customer))
    assert Notice.objects.get(kind="instalment_due").told["instalment"] == "10.00"
    assert beside("2026-08-18 09:00", customer) == []
    # Thursday's instalment is missed when Friday is over.
    broken = [("a promise is broken", "promise_broken", Money("31", "USD"), "2026-08-22 08:00", "None")]
    assert beside("2026-08-21 09:00", customer) == broken
    chase(local("2026-08-22 08:00", customer))
    assert Notice.objects.filter(kind="promise_broken").exists()
    hold_dunning(customer=customer, kind="legal", until=None, at=local("2026-08-22 09:00", customer), **WHO)
    assert beside("2026-08-22 10:00", customer) == []


def test_cards_and_news_after_the_last_step_are_rehearsed_and_so_is_service_that_is_back() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    turn(local("2026-08-16 09:00", customer), local("2026-08-24 09:00", customer))
    another = once(customer, item("10"), at=AUGUST + timedelta(days=9))
    at = local("2026-08-25 09:00", customer)
    PaymentFailure.objects.create(
        invoice=invoice, reference="ch_1", code="processing_error", message="declined", occurred_at=at
    )
    at_stripe(invoice, at)
    at_stripe(another, at)

    rows = beside("2026-08-25 10:00", customer)
    assert [row[:3] for row in rows] == [
        ("late besides what was told", "reminder", Money("10", "USD")),
        (f"a card is charged again: {invoice.number}", "", Money("31", "USD")),
    ]
    pay(invoice, at)
    pay(another, at)
    assert [row[:2] for row in beside("2026-08-25 11:00", customer)] == [("service is back", "restored")]
    chase(local("2026-08-25 11:00", customer))
    assert Notice.objects.filter(kind="restored").count() == 1
    assert beside("2026-08-25 12:00", customer) == []


def test_the_queries_of_what_comes_besides_do_not_grow_with_the_cases() -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            found.append(
                len(rehearse_beside(until=local("2026-08-18 23:00", customer), at=local("2026-08-17 09:00", customer)))
            )
        return len(seen)

    def promises(key: str) -> Customer:
        customer = late_customer(key).customer
        chase(local("2026-08-16 09:00", customer))
        instalment = NewInstalment(date(2026, 8, 20), Money("31", "USD"))
        promise_to_pay(
            case_id=case_of(customer).pk, instalments=[instalment], at=local("2026-08-16 14:00", customer), **WHO
        )
        return customer

    found: list[int] = []
    customer = promises("cust_a")
    before = queries()
    promises("cust_b")
    promises("cust_c")

    assert queries() == before
    assert found == [1, 3]


def beside(moment: str, customer: Customer) -> list[tuple[str, str, Money, str, str]]:
    """What comes besides the steps until the end of the next day."""
    at = local(moment, customer)
    return [
        (row.what, row.notice, row.amount, f"{row.comes_at:%Y-%m-%d %H:%M}" if row.comes_at else "", str(row.acts_on))
        for row in rehearse_beside(until=tomorrow_ends(at=at), at=at)
    ]
