"""Many at once, and killed anywhere: whole invoices or none, numbers without a gap, nothing charged that was not in force."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from moneyed import Money

from billing_site.kernel.errors import BillingError, Conflict
from invoicing.catalog.coupon_document import read_coupon
from invoicing.catalog.coupons import create_coupon
from invoicing.catalog.models import PlanVersion
from invoicing.catalog.operations import load_catalog
from invoicing.credits.models import CreditEntry
from invoicing.credits.operations import GrantTerms, grant_credit
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceStatus
from invoicing.ledger.models import JournalEntry
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.workflows.issue_invoice import issue_invoice, refresh_draft
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from tests.factories import (
    ACTIONS_METER,
    AUGUST,
    JULY,
    a_customer,
    a_plan,
    a_subscription,
    usd_fee,
    usd_per_action,
    use,
)
from tests.races import at_once, unexpected

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def _plan() -> None:
    a_plan("pro", usd_fee("31"), usd_per_action("1"))


@pytest.mark.usefixtures("_plan")
def test_one_draft_issued_by_four_at_once_is_one_invoice() -> None:
    a_subscription(a_customer())
    [draft] = draft_billing(as_of=AUGUST, at=AUGUST).invoices

    outcomes = at_once(*[lambda: issue_invoice(invoice_id=draft.pk, at=AUGUST, actor="test", reason="now")] * 4)

    assert {outcome.number for outcome in outcomes} == {"INV-2026-00001"}
    assert JournalEntry.objects.count() == 1
    assert verify() == []


@pytest.mark.usefixtures("_plan")
def test_people_issue_drafts_while_runs_refresh_and_issue_the_same_ones_and_nobody_deadlocks() -> None:
    for number in range(6):
        a_subscription(a_customer(f"cust_{number}"))
    drafts = draft_billing(as_of=AUGUST, at=AUGUST).invoices
    for number in range(6):
        use(f"cust_{number}", "5", at=JULY + timedelta(hours=number))

    def issue_all(order: list[Invoice]) -> None:
        for draft in order:
            try:
                issue_invoice(invoice_id=draft.pk, at=AUGUST, actor="test", reason="now")
            except Conflict:  # usage has overtaken it: people look at the new figures and issue those
                refresh_draft(invoice_id=draft.pk, at=AUGUST, actor="test", reason="outdated")
                issue_invoice(invoice_id=draft.pk, at=AUGUST, actor="test", reason="now")

    outcomes = at_once(
        lambda: issue_all(drafts),
        lambda: issue_all(drafts[::-1]),
        lambda: draft_billing(as_of=AUGUST, at=AUGUST),
        lambda: issue_billing(as_of=AUGUST, at=AUGUST),
    )

    assert [one for one in outcomes if isinstance(one, BaseException)] == []
    numbers = sorted(Invoice.objects.values_list("number", flat=True))
    assert numbers == [f"INV-2026-{ordinal:05d}" for ordinal in range(1, 7)]
    assert verify() == []


@pytest.mark.usefixtures("_plan")
def test_a_subscription_that_ends_while_it_is_billed_is_charged_as_ended_or_stays() -> None:
    middle = JULY + timedelta(days=15)
    subscriptions = [a_subscription(a_customer(f"cust_{number}")) for number in range(6)]

    def end_all() -> list[str]:
        refused = []
        for subscription in subscriptions:
            try:
                end_subscription(subscription=subscription, ended_at=middle, actor="test", reason="leaves")
            except BillingError:
                refused.append(subscription.key)
        return refused

    outcomes = at_once(lambda: issue_billing(as_of=AUGUST, at=AUGUST), end_all)

    assert unexpected(outcomes) == []
    for line in InvoiceLine.objects.select_related("subscription"):
        assert line.subscription.ended_at in (None, line.service_end)
    assert Invoice.objects.filter(status=InvoiceStatus.ISSUED).count() == 6
    assert verify() == []


@pytest.mark.usefixtures("_plan")
def test_verify_finds_nothing_while_billing_goes_on() -> None:
    for number in range(10):
        a_subscription(a_customer(f"cust_{number}"))

    def verify_often() -> list[Any]:
        return [finding for _ in range(5) for finding in verify()]

    outcomes = at_once(lambda: issue_billing(as_of=AUGUST, at=AUGUST), verify_often, verify_often)

    assert unexpected(outcomes) == []
    assert outcomes[1] == [] and outcomes[2] == []


def test_one_catalog_loaded_by_four_at_once_is_one_catalog() -> None:
    document = {
        "meters": [ACTIONS_METER],
        "products": [{"key": "p", "name": "P"}],
        "plans": [{"key": "pro", "name": "Pro", "product": "p", "prices": [usd_fee(), usd_per_action()]}],
    }

    outcomes = at_once(
        *[lambda: load_catalog(document=document, at=JULY, actor="test", reason="at once")] * 4,
    )

    assert unexpected(outcomes) == []
    assert PlanVersion.objects.count() == 1


def test_one_customer_created_by_four_at_once_is_one_customer() -> None:
    outcomes = at_once(*[lambda: a_customer()] * 4)

    assert unexpected(outcomes) == []
    assert len({outcome.pk for outcome in outcomes}) == 1
    assert Customer.objects.get().history.count() == 1


@pytest.mark.usefixtures("_plan")
def test_of_two_subscriptions_to_the_same_meter_started_at_once_one_is_refused() -> None:
    customer = a_customer()

    outcomes = at_once(
        lambda: a_subscription(customer, key="one"),
        lambda: a_subscription(customer, key="two"),
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InvalidFields", "Subscription"]
    assert Subscription.objects.count() == 1


@pytest.mark.parametrize(
    ("zone", "series"), [("Pacific/Auckland", "INV-2027"), ("UTC", "INV-2026"), ("America/New_York", "INV-2026")]
)
@pytest.mark.usefixtures("_plan")
def test_at_new_year_the_series_is_that_of_the_customers_year(zone: str, series: str) -> None:
    a_subscription(a_customer(timezone=zone))
    new_year_in_auckland = AUGUST.replace(month=12, day=31, hour=12)

    first = issue_billing(as_of=AUGUST + timedelta(days=1), at=new_year_in_auckland).invoices[0]

    assert first.number == f"{series}-00001"


class Killed(Exception):
    """The process is gone between two statements."""


def killed_after(statements: int) -> Callable[..., Any]:
    left = iter(range(statements))

    def execute(run: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if next(left, None) is None:
            raise Killed(sql)
        return run(sql, parameters, many, context)

    return execute


def kills(statements_max: int) -> Iterator[Callable[..., Any]]:
    for statements in range(statements_max):
        yield killed_after(statements)


@pytest.mark.usefixtures("_plan")
def test_a_run_killed_before_any_of_its_statements_leaves_whole_invoices_or_none() -> None:
    a_subscription(a_customer("cust_one", settlement_channel="stripe", payment_method="pm_card_visa"))
    a_subscription(a_customer("cust_two"))
    use("cust_one", "5", at=JULY)
    kills_survived = 0

    for killer in kills(400):
        try:
            with connection.execute_wrapper(killer):
                issue_billing(as_of=AUGUST, at=AUGUST)
            break
        except Killed:
            kills_survived += 1
        issued = Invoice.objects.filter(status=InvoiceStatus.ISSUED).count()
        assert JournalEntry.objects.count() == issued
        assert Invoice.objects.count() == issued, "no draft is left behind by a run that issues"

    assert kills_survived > 40
    assert sorted(Invoice.objects.values_list("number", flat=True)) == ["INV-2026-00001", "INV-2026-00002"]
    assert verify() == []


@pytest.mark.usefixtures("_plan")
def test_a_connection_lost_in_the_middle_stops_the_run_and_the_next_one_goes_on() -> None:
    for number in range(3):
        a_subscription(a_customer(f"cust_{number}"))
    lost = iter([False] * 60)

    def lose(run: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if next(lost, True):
            raise OperationalError("server closed the connection unexpectedly")
        return run(sql, parameters, many, context)

    with pytest.raises(OperationalError), connection.execute_wrapper(lose):
        issue_billing(as_of=AUGUST, at=AUGUST)
    assert not transaction.get_connection().in_atomic_block

    issue_billing(as_of=AUGUST, at=AUGUST)

    assert Invoice.objects.filter(status=InvoiceStatus.ISSUED).count() == 3
    assert verify() == []


@pytest.mark.usefixtures("_plan")
def test_the_last_redemption_of_a_coupon_is_one_customers_however_many_ask_at_once() -> None:
    entry, _ = read_coupon(document={"code": "LAST", "percent_off": "10", "max_redemptions": 1})
    create_coupon(entry=entry, actor="test", reason="set up")
    customers = [a_customer(f"cust_{place}") for place in range(4)]

    outcomes = at_once(
        *[
            lambda customer=customer: redeem_coupon(
                code="LAST", customer=customer, subscription=None, at=JULY, actor="test", reason="now"
            )
            for customer in customers
        ]
    )

    assert not unexpected(outcomes)
    assert Discount.objects.count() == 1


def test_two_invoices_issued_at_once_never_draw_more_than_a_lot_has() -> None:
    a_plan("pro", usd_fee("40"))
    a_plan("seats", usd_fee("40"), cadence="week")
    acme = a_customer()
    a_subscription(acme, key="sub_month")
    a_subscription(acme, key="sub_week", plan="seats", anchor="anniversary")
    terms = GrantTerms(
        key="gift", kind="promotional", name="Gift", amount=Money("50", "USD"), effective_at=JULY, priority=1
    )
    grant_credit(customer=acme, terms=terms, at=JULY, actor="test", reason="set up")
    drafts = draft_billing(as_of=AUGUST, at=AUGUST).invoices

    outcomes = at_once(
        *[
            lambda draft=draft: issue_invoice(invoice_id=draft.pk, at=AUGUST, actor="test", reason="now")
            for draft in drafts
        ]
    )

    assert len(drafts) == 5 and not unexpected(outcomes)
    entries = list(CreditEntry.objects.order_by("sequence"))
    assert entries[-1].balance.amount == 50 + sum(entry.amount.amount for entry in entries[1:]) >= 0
    issue_billing(as_of=AUGUST, at=AUGUST)
    assert CreditEntry.objects.latest("sequence").balance.amount == 0
    assert verify() == []
