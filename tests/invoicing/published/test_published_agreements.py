"""What providers publish about fees in advance, commitments and credit is what the product bills, and the second opinion."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from moneyed import Money

from billing_site.kernel.money import exponent
from invoicing.catalog.operations import load_catalog
from invoicing.catalog.queries import published_version
from invoicing.core.contract import AdjustmentKind
from invoicing.credits.operations import GrantTerms, grant_credit
from invoicing.credits.queries import last_entry
from invoicing.invoices.models import Invoice
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.commit import TrancheWanted, commit_spend
from invoicing.subscriptions.committed import burndown_of
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.workflows.credit_balance import credit_balance
from invoicing.workflows.expire_credits import expire_credits
from invoicing.workflows.run_billing import issue_billing
from metering.ingest import accept_events
from tests.factories import a_customer, a_plan, a_subscription, an_event, settle_constraints, usd_per_action, use
from tests.invoicing.published.agreed import CommitmentCase, CreditCase, commitment_cases, credit_cases
from tests.invoicing.published.cases import MARCH, ChangeCase, advance_cases, midnight
from tests.invoicing.published.test_published_prices import a_fee, catalog_of, discounted
from tests.invoicing.reference.billing import FOR_EVER, Account, Agreement, Stretch, lines_of
from tests.invoicing.reference.dates import boundaries
from tests.invoicing.reference.grants import Lot, pay
from tests.invoicing.reference.promises import Promise, Tranche, first_draw
from tests.invoicing.reference.sheet import Sheet

pytestmark = pytest.mark.django_db

WHO = {"actor": "test", "reason": "as published"}
MONTHS = [datetime(2026 + number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(2, 17)]


def issued(until: datetime) -> list[Invoice]:
    """The invoices that a billing run issues."""
    report = issue_billing(as_of=until, at=until + timedelta(hours=7))
    assert not report.failures, report.failures
    settle_constraints()
    return report.invoices


def amounts_of(invoice: Invoice, **wanted: str) -> list[Fraction]:
    """The amounts of those of its lines."""
    return [Fraction(line.amount.amount) for line in invoice.lines.filter(**wanted).order_by("position")]


@pytest.mark.parametrize("case", advance_cases(), ids=lambda case: case.name)
def test_a_fee_invoiced_in_advance_that_changes_is_settled_as_published(case: ChangeCase) -> None:
    plans = {midnight(day): a_fee(f"plan_{day}", fee, case.currency, case.cadence) for day, fee in case.fees.items()}
    (first, at), (before, after) = plans, plans.values()
    for plan in plans.values():
        plan["prices"][0]["in_advance"] = True
    load_catalog(document={"products": [{"key": "product"}], "plans": list(plans.values())}, at=first, **WHO)
    subscription = a_subscription(
        a_customer(currency=case.currency), plan=before["key"], started_at=first, anchor="anniversary", key="sub"
    )
    _, end, *_ = boundaries_of(first, case.cadence)
    [opening] = issued(first)
    change_plan(subscription=subscription, plan_version=published_version(plan_key=after["key"]), at=at, **WHO)

    [invoice] = issued(end)

    paid, fee = Fraction(opening.total.amount), Fraction(list(case.fees.values())[-1])
    charges = amounts_of(invoice, kind="charge")
    stretches = [Stretch(since, until, plans[since]) for since, until in pairwise([*plans, FOR_EVER])]
    account = Account("cust_acme", case.currency, "UTC", (Agreement("sub", "anniversary", tuple(stretches)),))
    told = [line.amount for line in lines_of(account, {}, [], until=end) if line.period_start == first]
    rest = paid - min(paid, sum(told))
    second = {
        "unused": paid - told[0],
        "charged": told[-1],
        "additional": sum(told) - paid,
        "coming": fee,
        "next": sum(told) - min(paid, sum(told)) + fee - min(rest, fee),
    }
    [coming] = amounts_of(invoice, adjustment=AdjustmentKind.IN_ADVANCE.value)
    product = {
        "unused": paid - charges[0],
        "charged": charges[-1],
        "additional": sum(charges) - paid,
        "coming": coming + min(rest, fee),
        "next": Fraction(invoice.total.amount),
    }
    assert paid == Fraction(next(iter(case.fees.values())))
    assert product == second
    assert {name: second[name] for name in case.ours} == {name: Fraction(text) for name, text in case.ours.items()}
    assert (case.ours != case.published) == bool(case.why), "a difference, and only a difference, has its reason"


@pytest.mark.parametrize("case", commitment_cases(), ids=lambda case: case.name)
def test_committed_spend_is_invoiced_drawn_and_rolled_over_as_published(case: CommitmentCase) -> None:
    a_plan("usage", usd_per_action(case.unit_amount))
    subscription = a_subscription(a_customer(currency=case.currency), plan="usage", started_at=MARCH)
    promise = case.promise
    commitment = commit_spend(
        subscription=subscription,
        starts_at=MONTHS[case.idle],
        payment="in_advance" if promise.is_paid_before else "in_arrears",
        tranches=[TrancheWanted(months, Decimal(amount)) for months, amount in promise.tranches],
        rolls_over=promise.rolls_over,
        rollover_max=None if promise.rollover_max is None else Decimal(promise.rollover_max),
        overage_rate=Decimal(promise.overage_rate),
        at=MARCH,
        **WHO,
    )
    told: dict[str, list[Fraction]] = {"invoices": [], "drawn": [], "available": []}

    for number, used in enumerate(case.used):
        use("cust_acme", used, at=MONTHS[number] + timedelta(days=3))
        running = commitment.tranches.filter(starts_at__lte=MONTHS[number], ends_at__gt=MONTHS[number]).first()
        burndown = None if running is None else burndown_of(tranche=running)
        told["available"].append(Fraction(0) if burndown is None else Fraction(burndown.left))
        [invoice] = issued(MONTHS[number + 1])
        told["invoices"].append(Fraction(invoice.total.amount))
        drawn = amounts_of(invoice, adjustment=AdjustmentKind.COMMITMENT_DRAWDOWN.value)
        told["drawn"].append(-sum(drawn, Fraction(0)))

    charges = [Fraction(used) * Fraction(case.unit_amount) for used in case.used]
    again = list(months_told_again(promise, charges, idle=case.idle, decimals=exponent(case.currency)))
    assert told["invoices"] == [total for total, _, _ in again]
    assert told["available"] == [available for _, available, _ in again]
    if promise.is_paid_before:
        assert told["drawn"] == [drawn for _, _, drawn in again]
    for name, figures in case.ours.items():
        for ours, figure in zip(told[name], figures, strict=True):
            assert figure is None or ours == Fraction(figure), name
    assert (case.ours != case.published) == bool(case.why), "a difference, and only a difference, has its reason"


def months_told_again(
    promise: Promise, charges: Sequence[Fraction], *, idle: int, decimals: int
) -> Iterator[tuple[Fraction, Fraction, Fraction]]:
    """What the second opinion says of each month: its bill, what its tranche had before it, and what was drawn."""
    tranches, first = [], idle
    for length, amount in promise.tranches:
        tranches.append(Tranche(promise, MONTHS[first], MONTHS[first + length], Fraction(amount)))
        first += length
    for tranche, following in pairwise(tranches):
        tranche.following = following
    for (start, end), charged in zip(pairwise(MONTHS), charges, strict=False):
        total, available, drawn = charged, Fraction(0), Fraction(0)
        for tranche in [one for one in tranches if one.is_due(end)]:
            if promise.is_paid_before and not tranche.is_begun:
                total += tranche.promised
            tranche.is_begun = True
            if tranche.holds(start):
                available = tranche.left
                draw = first_draw(tranche, charged, decimals)
                drawn = draw.counted
                total += draw.beyond - (drawn if promise.is_paid_before else 0)
            if tranche.ends_with(start, end, FOR_EVER):
                tranche.is_over = True
                total += 0 if promise.is_paid_before else tranche.left
                if promise.is_paid_before:
                    tranche.close(FOR_EVER)
        yield total, available, drawn


@pytest.mark.parametrize("case", credit_cases(), ids=lambda case: case.name)
def test_credit_is_drawn_kept_and_expired_as_published(case: CreditCase) -> None:
    load_catalog(document=catalog_of(case.bill), at=MARCH, **WHO)
    customer = a_customer(currency=case.bill.currency)
    a_subscription(customer, plan="plan", started_at=MARCH)
    for coupon in case.bill.coupons:
        redeem_coupon(code=coupon["code"], customer=customer, subscription=None, at=MARCH, **WHO)
    for grant in case.grants:
        terms = GrantTerms(
            key=grant.key,
            kind="prepaid" if grant.is_prepaid else "promotional",
            name=grant.key,
            amount=Money(Decimal(grant.amount), case.bill.currency),
            priority=grant.priority,
            effective_at=grant.effective_at,
            expires_at=grant.expires_at,
        )
        grant_credit(customer=customer, terms=terms, at=MARCH, **WHO)
    accept_events(
        events=[
            an_event("cust_acme", line.quantity, at=MARCH + timedelta(days=3), event_type=line.key)
            for line in case.bill.lines
            if line.price["model"] != "flat"
        ]
    )

    live = credit_balance(customer=customer, at=MONTHS[1] - timedelta(seconds=1)).live
    [invoice] = issued(MONTHS[1])
    if case.after is not None:
        expire_credits(at=datetime.combine(case.after, time(), UTC))

    grants = list(customer.credit_grants.order_by("id"))
    product = {
        "drawn": moved(grants, "draw"),
        "to_pay": Fraction(invoice.total.amount),
        "left": {grant.key: Fraction(last_entry(grant=grant).balance.amount) for grant in grants},
        "expired": moved(grants, "expire"),
        "live": Fraction(live.amount),
    }
    second = told_again(case)
    assert product == second
    assert {name: figures(second[name]) for name in case.ours} == {
        name: figures(value) for name, value in case.ours.items()
    }
    assert (case.ours != case.published) == bool(case.why), "a difference, and only a difference, has its reason"


def told_again(case: CreditCase) -> dict[str, Any]:
    """What the second opinion says of lots and one bill."""
    charged = {line.key: Fraction(line.published) for line in case.bill.lines}
    to_pay = sum(charged.values()) - discounted(case.bill, charged, minimum=Fraction(0))
    lots = {grant.key: Lot(grant) for grant in case.grants}
    sheet = Sheet(MARCH, MONTHS[1], exponent(case.bill.currency))
    sheet.owe("", "charge", to_pay)
    pay(sheet, lots.values(), carried=Fraction(0))
    live = sum((lot.left for lot in lots.values()), Fraction(0))
    after = midnight(case.after)
    for lot in lots.values():
        if after is not None and lot.grant.expires_at is not None and lot.grant.expires_at <= after:
            lot.expired = lot.left
    return {
        "drawn": {key: lot.drawn for key, lot in lots.items() if lot.drawn},
        "to_pay": sheet.total,
        "left": {key: lot.left for key, lot in lots.items()},
        "expired": {key: lot.expired for key, lot in lots.items() if lot.expired},
        "live": live,
    }


def figures(value: Any) -> Any:
    """A figure, or the figures by name."""
    return {name: Fraction(one) for name, one in value.items()} if isinstance(value, Mapping) else Fraction(value)


def moved(grants: list[Any], kind: str) -> dict[str, Fraction]:
    """What left each grant in that way."""
    entries = [(grant.key, entry) for grant in grants for entry in grant.entries.filter(kind=kind)]
    return {key: -Fraction(entry.amount.amount) for key, entry in entries}


def boundaries_of(first: datetime, cadence: str) -> list[datetime]:
    """Where the first two billing periods begin, and the second ends."""
    bounds = boundaries(first, "anniversary", cadence, "UTC")
    return [next(bounds) for _ in range(3)]
