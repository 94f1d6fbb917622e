"""The recurring revenue of many at one moment is that of the reports, whatever their contracts are made of."""

from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.catalog.models import Plan
from invoicing.catalog.queries import published_version
from invoicing.customers.models import Customer
from invoicing.reports.fees import fees_in_force
from invoicing.reports.recurring_now import recurring_at
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import PriceOverride
from invoicing.subscriptions.pause import pause_subscription
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee
from tests.invoicing.accounts import EAST, a_company

pytestmark = pytest.mark.django_db
WHO = {"actor": "ann", "reason": "as agreed"}
DAY = timedelta(days=1)


def own_price(customer: Customer, plan: str, price: dict[str, str], *, subscription: Any = None) -> None:
    PriceOverride.objects.create(
        customer=customer, subscription=subscription, plan=Plan.objects.get(key=plan), price_key="base",
        definition=price, starts_at=AUGUST, ends_at=AUGUST + 10 * DAY,
    )  # fmt: skip


def test_it_is_that_of_the_reports_at_every_moment_in_one_query() -> None:
    a_plan("pro", usd_fee("31"))
    a_plan("yearly", usd_fee("100"), cadence="year")
    a_plan("weekly", usd_fee("7"), cadence="week")
    a_plan("euro", usd_fee("9") | {"currency": "EUR"})
    seats, many, own, paused, gone = (a_customer(f"cust_{name}") for name in ("seats", "many", "own", "paused", "gone"))
    change_quantity(subscription=a_subscription(seats), quantity=3, at=AUGUST + 5 * DAY, **WHO)
    for plan in ("yearly", "weekly"):
        a_subscription(many, plan=plan, key=f"many_{plan}", anchor="anniversary")
    change_plan(
        subscription=a_subscription(many, key="many_pro"), plan_version=published_version(plan_key="yearly"),
        at=SEPTEMBER, **WHO,
    )  # fmt: skip
    first, second = a_subscription(own, key="own_first"), a_subscription(own, key="own_second")
    own_price(own, "pro", {"model": "flat", "unit_amount": "25.005"})
    own_price(own, "pro", {"model": "flat", "unit_amount": "1"}, subscription=second)
    pause_subscription(subscription=a_subscription(paused), at=AUGUST, **WHO)
    end_subscription(subscription=a_subscription(gone), ended_at=AUGUST + DAY, **WHO)
    a_company()
    customers = list(Customer.objects.order_by("pk"))
    fees = fees_in_force(customers=customers)

    for moment in (JULY - DAY, JULY, AUGUST, AUGUST + 5 * DAY, AUGUST + 10 * DAY, SEPTEMBER, SEPTEMBER + 300 * DAY):
        with CaptureQueriesContext(connection) as seen:
            found = recurring_at(customers={one.pk: one.currency for one in customers}, moment=moment)
        reported = {
            one.pk: round_money(sum((fee.monthly for fee in fees[one.pk] if fee.holds_at(moment)), Fraction(0)), one.currency)
            for one in customers
            if one.pk in fees
        }  # fmt: skip
        assert found == {number: amount for number, amount in reported.items() if amount}, moment
        assert len(seen) == 1

    found = recurring_at(customers={own.pk: "USD", many.pk: "USD"}, moment=AUGUST)
    assert found == {own.pk: Money("26.01", "USD"), many.pk: Money("69.67", "USD")}
    assert first.pk != second.pk and Customer.objects.get(key=EAST).billed_to_id is not None
