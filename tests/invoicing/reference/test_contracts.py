"""Random contracts, billed end to end and told again by the second opinion, agree to 0 cents.

`CONTRACT_EXAMPLES=10000` is the night's work. A failure names the seed and the contract: `CONTRACT_SEED=... CONTRACT_ONLY=17`
plays that one alone.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random, SystemRandom
from typing import Any

import pytest

from invoicing.catalog.operations import load_catalog
from invoicing.catalog.queries import published_version
from invoicing.customers.operations import create_customer
from invoicing.invoices.models import InvoiceLine
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.start import start_subscription
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from metering.core.parsing import Event
from metering.ingest import accept_events
from metering.models import UsageEvent
from tests.factories import settle_constraints
from tests.invoicing.reference.billing import Line, lines_of
from tests.invoicing.reference.contracts import METERS, RULES, Story, draw_story
from tests.metering.reference import Fact

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "300"))
SEED = os.environ.get("CONTRACT_SEED") or str(SystemRandom().randrange(2**32))
ONLY = os.environ.get("CONTRACT_ONLY")
AT_ONCE = 25
NUMBERS = [int(ONLY)] if ONLY else list(range(EXAMPLES))
BATCHES = [NUMBERS[first : first + AT_ONCE] for first in range(0, len(NUMBERS), AT_ONCE)]
WHO: dict[str, Any] = {"actor": "test", "reason": "random contract"}


@pytest.mark.django_db
@pytest.mark.parametrize("numbers", BATCHES, ids=lambda numbers: f"{numbers[0]}-{numbers[-1]}")
def test_random_contracts_are_billed_to_the_cent_as_the_second_opinion_bills_them(numbers: list[int]) -> None:
    stories = {number: draw_story(Random(f"{SEED}:{number}"), str(number)) for number in numbers}
    for story in stories.values():
        agree(story)

    accept(fact for story in stories.values() for fact in story.early)
    for number, story in stories.items():
        bill(story, until=story.billed_at)
        expected = lines_of(story.account, RULES, as_accepted(story.early), until=story.billed_at)
        assert billed(story) == expected, told(number, story)

    accept(fact for story in stories.values() for fact in story.late)
    for number, story in stories.items():
        bill(story, until=story.billed_again_at)
        expected = lines_of(story.account, RULES, as_accepted(story.facts), until=story.billed_again_at)
        assert billed(story, corrected=True) == expected, told(number, story)
        assert_no_gap_and_no_overlap(story)

    settle_constraints()
    assert verify() == []


def told(number: int, story: Story) -> str:
    """How to play a contract again, and what it was."""
    return f"CONTRACT_SEED={SEED} CONTRACT_ONLY={number}\n{story.account}"


def agree(story: Story) -> None:
    """Create the customer with its plans and subscriptions."""
    account = story.account
    plans = [dict(agreement.plan) for agreement in account.agreements]
    load_catalog(
        document={"meters": METERS, "products": [{"key": "product"}], "plans": plans},
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
        subscription = start_subscription(
            key=agreement.key,
            customer=customer,
            plan_version=published_version(plan_key=agreement.plan["key"]),
            started_at=agreement.started_at,
            anchor=agreement.anchor,
            **WHO,
        )
        if agreement.ended_at is not None:
            end_subscription(subscription=subscription, ended_at=agreement.ended_at, **WHO)


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


def bill(story: Story, *, until: datetime) -> None:
    """Issue every period that has ended."""
    report = issue_billing(as_of=until, at=until + timedelta(hours=7), customer_key=story.account.customer)
    assert report.failures == []
    for invoice in report.invoices:
        assert invoice.total.amount == sum(line.amount.amount for line in invoice.lines.all())


def billed(story: Story, *, corrected: bool = False) -> list[Line]:
    """The lines of all invoices; `corrected` by what was learnt about their usage later."""
    lines = InvoiceLine.objects.filter(invoice__customer__key=story.account.customer, kind="charge")
    return sorted(
        _line(line, corrected=corrected)
        for line in lines.select_related("invoice", "subscription", "price").prefetch_related("corrections")
    )


def _line(line: InvoiceLine, *, corrected: bool) -> Line:
    chain = sorted(line.corrections.all(), key=lambda link: link.known_from) if corrected else []
    return Line(
        agreement=line.subscription.key,
        price=line.price.key,
        period_start=line.invoice.period_start,
        period_end=line.invoice.period_end,
        service_start=line.service_start,
        service_end=line.service_end,
        quantity=Fraction(chain[-1].quantity_after if chain else line.quantity),
        amount=Fraction(line.amount.amount) + sum(Fraction(link.effect.amount) for link in chain),
    )


def assert_no_gap_and_no_overlap(story: Story) -> None:
    """Service periods of a price follow each other from the start of its agreement; so do its billing periods."""
    lines = defaultdict(list)
    for line in billed(story):
        lines[line.agreement, line.price].append(line)
    starts = {agreement.key: agreement.started_at for agreement in story.account.agreements}
    for (agreement, _), of_price in lines.items():
        assert of_price[0].service_start == starts[agreement]
        for one, following in pairwise(of_price):
            assert one.service_end == one.period_end == following.period_start == following.service_start
