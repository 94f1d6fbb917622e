"""Random contracts, billed end to end and told again by the second opinion, agree to 0 cents.

`CONTRACT_EXAMPLES=10000` is the night's work. A failure names the seed and the contract: `CONTRACT_SEED=... CONTRACT_ONLY=17`
plays that one alone.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random, SystemRandom
from typing import Any

import pytest

from billing_site.kernel.errors import InvalidInput
from invoicing.catalog.operations import load_catalog
from invoicing.catalog.queries import published_version
from invoicing.core.definition import price_from_definition
from invoicing.customers.models import Customer
from invoicing.customers.operations import create_customer
from invoicing.invoices.models import InvoiceLine
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.override import OwnPrice, Scope, override_price
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.subscriptions.start import start_subscription
from invoicing.subscriptions.trial import move_trial_end
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from metering.core.parsing import Event
from metering.ingest import accept_events
from metering.models import UsageEvent
from tests.factories import settle_constraints
from tests.invoicing.reference.billing import FOR_EVER, Line
from tests.invoicing.reference.contracts import Deed, Story, draw_story
from tests.invoicing.reference.discounts import Redeemed
from tests.invoicing.reference.invoices import Bill, first_books, run
from tests.invoicing.reference.plans import METERS, RULES
from tests.metering.reference import Fact

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "300"))
SEED = os.environ.get("CONTRACT_SEED") or str(SystemRandom().randrange(2**32))
ONLY = os.environ.get("CONTRACT_ONLY")
AT_ONCE = 25
NUMBERS = [int(ONLY)] if ONLY else list(range(EXAMPLES))
BATCHES = [NUMBERS[first : first + AT_ONCE] for first in range(0, len(NUMBERS), AT_ONCE)]
WHO: dict[str, Any] = {"actor": "test", "reason": "random contract"}


@pytest.mark.requirement("S0-135")
@pytest.mark.django_db
@pytest.mark.parametrize("numbers", BATCHES, ids=lambda numbers: f"{numbers[0]}-{numbers[-1]}")
def test_random_contracts_are_billed_to_the_cent_as_the_second_opinion_bills_them(numbers: list[int]) -> None:
    print(f"CONTRACT_SEED={SEED}")
    stories = {number: draw_story(Random(f"{SEED}:{number}"), str(number)) for number in numbers}
    for story in stories.values():
        agree(story)

    books = {number: first_books() for number in numbers}
    for wave in range(max(len(story.waves) for story in stories.values())):
        running = {number: story for number, story in stories.items() if wave < len(story.waves)}
        accept(fact for story in running.values() for fact in story.waves[wave].facts)
        for number, story in running.items():
            for deed in story.deeds:
                if deed.wave == wave:
                    do(deed, customer=story.account.customer)
            until = story.waves[wave].billed_at
            new = bill(story, until=until)
            expected = run(books[number], story.account, RULES, as_accepted(story.known_at(wave)), until=until)
            if new != expected:
                pytest.fail(told(number, story, ours=new, theirs=expected), pytrace=False)
            now = billed(story, corrected=True)
            if now != books[number].lines:
                pytest.fail(told(number, story, ours=now, theirs=books[number].lines), pytrace=False)

    for story in stories.values():
        assert_no_gap_and_no_overlap(story)
    settle_constraints()
    found = verify()
    assert not found, "\n".join(map(str, found))


def told(number: int, story: Story, *, ours: Sequence[Bill | Line] = (), theirs: Sequence[Bill | Line] = ()) -> str:
    """How to play a contract again, what it was, and what only one of the two says of it."""
    rows = [f"CONTRACT_SEED={SEED} CONTRACT_ONLY={number}", f"{story.account.currency} {story.account.timezone}"]
    for agreement in story.account.agreements:
        rows += [f"{agreement.key} {agreement.anchor} until {agreement.ended_at}, trial {agreement.trial_ends_at}"]
        rows += [f"  {s.start} {s.end} {s.kind} x{s.seats} {s.plan}" for s in agreement.stretches]
    rows += [f"{deed.wave} {deed.at} {deed.what} {deed.agreement} {deed.seats} {deed.own}" for deed in story.deeds]
    rows += [f"{one.at} {one.agreement or 'all'} redeems {one.coupon}" for one in story.account.redeemed]
    rows += [f"run {wave.billed_at}" for wave in story.waves]
    rows += [f"the product: {one}" for one in _in_rows(ours) if one not in _in_rows(theirs)]
    rows += [f"the second opinion: {one}" for one in _in_rows(theirs) if one not in _in_rows(ours)]
    return "\n".join(rows)


def _in_rows(found: Sequence[Bill | Line]) -> list[str]:
    rows = []
    for place, one in enumerate(found):
        if isinstance(one, Bill):
            rows.append(f"{place}. bill {one.start} {one.end} corrected {one.corrected}")
        for line in one.lines if isinstance(one, Bill) else [one]:
            rows.append(
                f"{line.agreement} {line.plan} {line.price} {line.period_start} {line.period_end}"
                f" in {line.service_start} {line.service_end}: {line.quantity} costs {line.amount}"
            )
    return rows


def agree(story: Story) -> None:
    """Create the customer with its plans and subscriptions."""
    account = story.account
    plans = {
        stretch.plan["key"]: dict(stretch.plan) for agreement in account.agreements for stretch in agreement.stretches
    } | {deed.plan["key"]: dict(deed.plan) for deed in story.deeds if deed.plan}
    load_catalog(
        document={
            "meters": METERS,
            "products": [{"key": "product"}],
            "plans": list(plans.values()),
            "coupons": [dict(one.coupon) for one in account.redeemed],
        },
        at=datetime.fromisoformat("2023-01-01T00:00:00Z"),
        **WHO,
    )
    customer = create_customer(
        key=account.customer,
        name=account.customer,
        currency=account.currency,
        timezone=account.timezone,
        email="",
        settlement_channel="manual",
        **WHO,
    )
    for agreement in account.agreements:
        first = agreement.stretches[0]
        subscription = start_subscription(
            key=agreement.key,
            customer=customer,
            plan_version=published_version(plan_key=first.plan["key"]),
            started_at=agreement.started_at,
            anchor=agreement.anchor,
            quantity=first.seats,
            trial_ends_at=agreement.trial_ends_at,
            **WHO,
        )
        if agreement.ended_at is not None:
            end_subscription(subscription=subscription, ended_at=agreement.ended_at, **WHO)


def do(deed: Deed, *, customer: str) -> None:
    """Do to the product's subscription what was done in the story."""
    if deed.redeemed is not None:
        redeem(deed.redeemed, customer=customer)
        return
    subscription = Subscription.objects.get(key=deed.agreement)
    if deed.plan is not None:
        version = published_version(plan_key=deed.plan["key"])
        change_plan(subscription=subscription, plan_version=version, at=deed.at, **WHO)
    elif deed.what == "seats":
        change_quantity(subscription=subscription, quantity=deed.seats, at=deed.at, **WHO)
    elif deed.own is not None:
        definition = deed.own.definition
        own = OwnPrice(
            price_key=deed.own.price,
            price=None if definition is None else price_from_definition(definition),
            until=None if deed.own.end == FOR_EVER else deed.own.end,
            scope=Scope.CUSTOMER if deed.own.of_customer else Scope.SUBSCRIPTION,
        )
        override_price(subscription=subscription, own=own, at=deed.at, **WHO)
    elif deed.what == "refused":
        with pytest.raises(InvalidInput) as refused:
            pause_subscription(subscription=subscription, at=deed.at, **WHO)
        assert refused.value.field == "at"
    else:
        verb = {
            "pause": pause_subscription,
            "resume": resume_subscription,
            "move": move_trial_end,
            "reactivate": reactivate_subscription,
        }[deed.what]
        verb(subscription=subscription, at=deed.at, **WHO)


def redeem(redeemed: Redeemed, *, customer: str) -> None:
    """Redeem a coupon for one subscription of a customer, or for all."""
    subscription = Subscription.objects.get(key=redeemed.agreement) if redeemed.agreement else None
    redeem_coupon(
        code=redeemed.coupon["code"],
        customer=Customer.objects.get(key=customer),
        subscription=subscription,
        at=redeemed.at,
        **WHO,
    )


def accept(facts: Iterable[Fact]) -> None:
    """Accept what happened, in the order in which it became known."""
    events = [
        Event(
            event_id=fact.key,
            idempotency_key=fact.key,
            event_type=fact.event_type,
            timestamp=fact.at,
            customer_id=fact.customer,
            quantity=Decimal(fact.quantity.numerator) / Decimal(fact.quantity.denominator),
            namespace_id="",
            properties=dict(fact.properties),
        )
        for fact in facts
    ]
    if events:
        receipt = accept_events(events=events)
        assert receipt.accepted == len(events)


def as_accepted(facts: Sequence[Fact]) -> list[Fact]:
    """The facts with the numbers that they got: events of one request are numbered in no order that a sender knows."""
    keys = [fact.key for fact in facts]
    numbers = dict(UsageEvent.objects.filter(idempotency_key__in=keys).values_list("idempotency_key", "id"))
    return [replace(fact, number=numbers[fact.key]) for fact in facts]


def bill(story: Story, *, until: datetime) -> list[Bill]:
    """Issue every period that has ended."""
    report = issue_billing(as_of=until, at=until + timedelta(hours=7), customer_key=story.account.customer)
    assert report.failures == []
    bills = []
    for invoice in report.invoices:
        lines = list(
            invoice.lines.select_related("invoice", "subscription", "price__plan_version__plan").order_by("position")
        )
        assert invoice.total.amount == sum(line.amount.amount for line in lines)
        charges = sorted(_line(line, corrected=False) for line in lines if line.kind != "correction")
        corrected = sum((Fraction(line.amount.amount) for line in lines if line.kind == "correction"), Fraction(0))
        bills.append(Bill(invoice.period_start, invoice.period_end, tuple(charges), corrected))
        assert Fraction(invoice.total.amount) == bills[-1].total
    return bills


def billed(story: Story, *, corrected: bool = False) -> list[Line]:
    """The lines of all invoices; `corrected` by what was learnt about their usage later."""
    lines = InvoiceLine.objects.filter(invoice__customer__key=story.account.customer).exclude(kind="correction")
    return sorted(
        _line(line, corrected=corrected)
        for line in lines.select_related("invoice", "subscription", "price__plan_version__plan").prefetch_related(
            "corrections"
        )
    )


def _line(line: InvoiceLine, *, corrected: bool) -> Line:
    chain = sorted(line.corrections.all(), key=lambda link: link.known_from) if corrected else []
    is_discount = line.adjustment == "discount"
    return Line(
        agreement=line.subscription.key if line.subscription else "",
        period_start=line.invoice.period_start,
        period_end=line.invoice.period_end,
        service_start=line.invoice.period_start if is_discount else line.service_start,
        service_end=line.invoice.period_end if is_discount else line.service_end,
        plan=line.price.plan_version.plan.key if line.price else "",
        price=line.price.key if line.price else line.description if is_discount else line.adjustment,
        quantity=Fraction(chain[-1].quantity_after if chain and line.price else line.quantity),
        amount=Fraction(line.amount.amount) + sum(Fraction(link.effect.amount) for link in chain),
    )


def assert_no_gap_and_no_overlap(story: Story) -> None:
    """What is charged of an agreement is its active stretches, each moment in one service of each price."""
    lines = [line for line in billed(story) if line.plan]
    for agreement in story.account.agreements:
        spans = sorted({(line.service_start, line.service_end) for line in lines if line.agreement == agreement.key})
        for line in lines:
            assert line.agreement != agreement.key or line.period_start <= line.service_start < line.service_end
            assert line.service_end <= line.period_end
        for price in {(line.plan, line.price) for line in lines if line.agreement == agreement.key}:
            of_price = [line for line in lines if (line.agreement, line.plan, line.price) == (agreement.key, *price)]
            assert all(one.service_end <= following.service_start for one, following in pairwise(of_price))
        active = [stretch for stretch in agreement.stretches if stretch.kind == "active"]
        for start, end in spans:
            assert any(stretch.start <= start for stretch in active) and any(end <= stretch.end for stretch in active)
