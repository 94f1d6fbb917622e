"""Whatever happens to a subscription, every event is billed once or listed with its reason, and every fee adds up."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period
from invoicing.catalog.queries import published_version
from invoicing.core.definition import price_from_definition
from invoicing.subscriptions.change import Change, ChangeKind, apply_change
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.override import OwnPrice
from invoicing.subscriptions.snapshot import contract_at, periods_due
from invoicing.workflows.compute_invoice import compute_invoice
from invoicing.workflows.unbilled_usage import UnbilledReason, uncharged_usage
from metering.rollup import roll_up
from tests.factories import a_customer, a_plan, a_subscription, settle_constraints, usd_fee, usd_per_action, use

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu"]
# The first of February of a leap year: clock changes in March, month ends of 29, 31 and 30 days follow.
START_DATE = datetime(2028, 2, 1)
DAYS = 120
moments = st.timedeltas(timedelta(0), timedelta(days=DAYS))
kinds = st.sampled_from([kind for kind in ChangeKind if kind is not ChangeKind.PLAN] + [ChangeKind.PLAN] * 3)
WHO = {"actor": "test", "reason": "drawn"}


@pytest.mark.django_db
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
@given(
    zone=st.sampled_from(ZONES),
    anchor=st.sampled_from(["calendar", "anniversary"]),
    offset=moments,
    trial=st.none() | st.timedeltas(timedelta(hours=1), timedelta(days=40)),
    wanted=st.lists(st.tuples(kinds, moments, st.sampled_from(["pro", "max", "fee"]), st.integers(1, 4)), max_size=6),
    used=st.lists(moments, min_size=1, max_size=6),
)
def test_every_event_is_rated_once_or_listed_whatever_is_changed_when(
    zone: str,
    anchor: str,
    offset: timedelta,
    trial: timedelta | None,
    wanted: list[tuple[ChangeKind, timedelta, str, int]],
    used: list[timedelta],
) -> None:
    with transaction.atomic():
        _check(zone, anchor, offset / 4, trial, wanted, used)
        transaction.set_rollback(True)


def _check(
    zone: str,
    anchor: str,
    offset: timedelta,
    trial: timedelta | None,
    wanted: list[tuple[ChangeKind, timedelta, str, int]],
    used: list[timedelta],
) -> None:
    midnight = START_DATE.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    start, until = midnight + offset, midnight + timedelta(days=DAYS + 45)
    a_plan("pro", usd_fee("31"), usd_per_action("0.01"), proration="second")
    a_plan("max", usd_fee("62"), usd_per_action("0.02"), proration="day")
    a_plan("fee", usd_fee("5"), proration="none")
    customer = a_customer(timezone=zone)
    a_subscription(customer, started_at=start, anchor=anchor, trial_ends_at=None if trial is None else start + trial)
    for kind, after, plan, quantity in wanted:
        own = own_price(quantity, midnight + after) if kind is ChangeKind.PRICE else None
        change = Change(kind, midnight + after, published_version(plan_key=plan), quantity, own)
        try:
            with transaction.atomic():
                apply_change(subscription=Subscription.objects.get(), change=change, **WHO)
        except BillingError as refused:
            note(f"{kind} at {change.at}: {refused}")
    for number, after in enumerate(used):
        use("cust_acme", str(2**number), at=midnight + after)
    settle_constraints()
    roll_up()

    billed = Decimal(0)
    for period in periods_due(customer=customer, until=until + timedelta(days=40)):
        invoice = compute_invoice(customer=customer, period=period, until=period.end).assembled
        metered = [line for line in invoice.lines if line.meter is not None]
        billed += sum((line.quantity for line in metered), Decimal(0))
        charges = contract_at(customer=customer, period=period).snapshot.charges
        _fees_meet_and_add_up(period, [one for one in charges if one.meter is None])
        assert sum((line.amount.amount for line in invoice.lines), Decimal(0)) == invoice.total.amount

    listed = sum((row.quantity for row in uncharged_usage(at=until)), Decimal(0))
    assert billed + listed == 2 ** len(used) - 1
    reasons = {row.reason for row in uncharged_usage(at=until)}
    assert UnbilledReason.UNKNOWN_CUSTOMER not in reasons


def own_price(number: int, at: datetime) -> OwnPrice:
    """A fee or a price of usage of its own, for five days or until further notice."""
    until = at + timedelta(days=5) if number > 2 else None
    if number % 2:
        return OwnPrice("base", price_from_definition({"model": "flat", "unit_amount": "7"}), until)
    return OwnPrice("actions", price_from_definition({"model": "per_unit", "unit_amount": "0.5"}), until)


def _fees_meet_and_add_up(period: Period, fees: list) -> None:  # type: ignore[type-arg]
    for one, other in pairwise(fees):
        assert one.service_period.end <= other.service_period.start, "no moment has two fees"
    assert sum((fee.share for fee in fees), Fraction(0)) <= 1
    if fees and sum((fee.service_period.duration for fee in fees), timedelta(0)) == period.duration:
        assert sum((fee.share for fee in fees), Fraction(0)) == 1
