"""What many customers agreed to is read at once, and is what each of them agreed to."""

from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from billing_site.kernel.period import Period
from invoicing.catalog.queries import published_version
from invoicing.customers.models import Customer
from invoicing.subscriptions.agreements import agreements_of
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.snapshot import contract_agreed, contract_at, periods_agreed, periods_due
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee, usd_per_action

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
BY = {"actor": "test", "reason": "grew"}


def test_contracts_of_many_customers_take_as_many_queries_as_of_one_and_say_the_same(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    customers = customers_of_all_kinds()
    with django_assert_num_queries(13):
        agreements = agreements_of(customers=customers)

    with django_assert_num_queries(0):
        many = [
            (period, contract_agreed(agreements=agreements, customer=customer, period=period))
            for customer in customers
            for period in (Period(JULY, AUGUST), Period(AUGUST, SEPTEMBER))
        ]
        due = [periods_agreed(agreements=agreements, customer=customer, until=SEPTEMBER) for customer in customers]

    by_key = {customer.key: customer for customer in customers}
    assert [len(contract.snapshot.charges) for _, contract in many] == [2, 2, 0, 1, 5, 2, 0, 0]
    for period, contract in many:
        alone = contract_at(customer=by_key[contract.snapshot.customer], period=period)
        assert (contract.snapshot, contract.sources) == (alone.snapshot, alone.sources)
    assert due == [periods_due(customer=customer, until=SEPTEMBER) for customer in customers]


def customers_of_all_kinds() -> list[Customer]:
    """One with a plan, one in EUR from August on, one who changes seats and plan in July, one without subscription."""
    a_plan("pro")
    a_plan("team", usd_fee("10"), {**usd_fee("9"), "currency": "EUR"}, {**usd_per_action(), "key": "more"})
    plain, euro, moving, idle = (
        a_customer("plain"),
        a_customer("euro", currency="EUR"),
        a_customer("moving"),
        a_customer("idle"),
    )
    a_subscription(plain)
    a_subscription(euro, plan="team", started_at=AUGUST)
    moved = a_subscription(moving)
    change_quantity(subscription=moved, quantity=3, at=JULY + 5 * DAY, **BY)
    change_plan(subscription=moved, plan_version=published_version(plan_key="team"), at=JULY + 9 * DAY, **BY)
    change_quantity(subscription=moved, quantity=1, at=JULY + 9 * DAY, **BY)
    return [plain, euro, moving, idle]
