"""Play random contracts: billed end to end by the product, told again by the second opinion, compared to the cent.

`CONTRACT_EXAMPLES=10000` is the night's work. A failure names the seed and the contract: `CONTRACT_SEED=... CONTRACT_ONLY=17`
plays that one alone, `CONTRACT_ONLY=17,230` two of them.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random, SystemRandom

import pytest

from invoicing.catalog.operations import load_catalog
from invoicing.credits.models import CreditEntry
from invoicing.customers.operations import create_customer
from invoicing.invoices.models import InvoiceLine
from invoicing.subscriptions.commitment import CommitmentTranche
from invoicing.subscriptions.committed import burndown_of
from invoicing.workflows.expire_credits import expire_credits
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from metering.core.parsing import Event
from metering.ingest import accept_events
from metering.models import UsageEvent
from tests.factories import nothing_is_checked_before_issue, settle_constraints
from tests.invoicing.reference.billing import Account, Line
from tests.invoicing.reference.contracts import Story, draw_story
from tests.invoicing.reference.deeds import Deed, done
from tests.invoicing.reference.doing import WHO, do
from tests.invoicing.reference.invoices import QUIET, Bill, Books, first_books, run, run_out, spoken
from tests.invoicing.reference.plans import METERS, RULES
from tests.metering.reference import Fact

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "300"))
SEED = os.environ.get("CONTRACT_SEED") or str(SystemRandom().randrange(2**32))
ONLY = os.environ.get("CONTRACT_ONLY")
AT_ONCE = 25
NUMBERS = [int(number) for number in ONLY.split(",")] if ONLY else list(range(EXAMPLES))
BATCHES = [NUMBERS[first : first + AT_ONCE] for first in range(0, len(NUMBERS), AT_ONCE)]


def play(numbers: Sequence[int]) -> None:
    """Let these contracts of the seed happen, and compare after each billing run."""
    print(f"CONTRACT_SEED={SEED}")
    # Odd lives are what this is about: nobody is asked whether their invoices may go out.
    nothing_is_checked_before_issue()
    stories = {number: draw_story(Random(f"{SEED}:{number}"), str(number)) for number in numbers}
    register(list(stories.values()))
    books = {number: first_books() for number in numbers}
    for wave in range(max(len(story.waves) for story in stories.values())):
        running = {number: story for number, story in stories.items() if wave < len(story.waves)}
        accept(fact for story in running.values() for fact in story.waves[wave].facts)
        for number, story in running.items():
            account = story.done_at(wave)
            for deed in story.deeds:
                if deed.wave == wave:
                    with told_where(number, story):
                        do(deed, account=story.account)
                    note(books[number], deed, account)
            until = story.waves[wave].billed_at
            with told_where(number, story):
                new = bill(story, until=until)
            expected = run(books[number], account, RULES, as_accepted(story.known_at(wave)), until=until)
            for ours, theirs in (
                (new, expected),
                (billed(story, corrected=True), books[number].lines),
                (burndowns(story), burndowns_told(books[number])),
            ):
                if ours != theirs:
                    pytest.fail(told(number, story, ours=ours, theirs=theirs), pytrace=False)
        # Everybody's credit runs out in one sweep.
        at = max(story.waves[wave].billed_at for story in running.values())
        expire_credits(at=at)
        for number, story in stories.items():
            run_out(books[number], story.done_at(wave), at=at)
            if lots(story) != lots_told(books[number]):
                pytest.fail(told(number, story, ours=lots(story), theirs=lots_told(books[number])), pytrace=False)

    for story in stories.values():
        assert_no_gap_and_no_overlap(story)
    settle_constraints()
    found = verify()
    assert not found, "\n".join(map(str, found))


@contextmanager
def told_where(number: int, story: Story) -> Iterator[None]:
    """Name the contract where the product refuses what was done, or fails."""
    try:
        yield
    except Exception as problem:
        problem.add_note(told(number, story))
        raise


def told(number: int, story: Story, *, ours: Sequence[object] = (), theirs: Sequence[object] = ()) -> str:
    """How to play a contract again, what it was, and what only one of the two says of it."""
    rows = [f"CONTRACT_SEED={SEED} CONTRACT_ONLY={number}", f"{story.account.currency} {story.account.timezone}"]
    for agreement in done(story.account, story.deeds).agreements:
        rows += [f"{agreement.key} {agreement.anchor} until {agreement.ended_at}, trial {agreement.trial_ends_at}"]
        rows += [f"  {s.start} {s.end} {s.kind} x{s.seats} {s.plan}" for s in agreement.stretches]
    for deed in story.deeds:
        terms = deed.own or deed.redeemed or deed.promise or deed.grant or ""
        rows += [f"{deed.wave} {deed.at} {deed.what} {deed.agreement} {deed.seats} {terms}"]
    rows += [f"run {wave.billed_at}" for wave in story.waves]
    rows += [f"the product: {one}" for one in _in_rows(ours) if one not in _in_rows(theirs)]
    rows += [f"the second opinion: {one}" for one in _in_rows(theirs) if one not in _in_rows(ours)]
    return "\n".join(rows)


def _in_rows(found: Sequence[object]) -> list[str]:
    rows = []
    for place, one in enumerate(found):
        if isinstance(one, Bill):
            rows.append(f"{place}. bill {one.start} {one.end} corrected {one.corrected}")
        for line in one.lines if isinstance(one, Bill) else [one]:
            rows.append(
                f"{line.agreement} {line.plan} {line.price} {line.period_start} {line.period_end}"
                f" in {line.service_start} {line.service_end}: {line.quantity} costs {line.amount}"
                if isinstance(line, Line)
                else str(line)
            )
    return rows


def register(stories: Sequence[Story]) -> None:
    """Create the customers, and load the catalog: first what is sold since ever, then what is sold later."""
    plans = [plan for story in stories for plan in story.plans]
    coupons = [deed.redeemed.coupon for story in stories for deed in story.deeds if deed.redeemed is not None]
    for number in range(max(len(plan) for plan in plans)):
        load_catalog(
            document={
                "meters": METERS,
                "products": [{"key": "product"}],
                "plans": [plan[number] for plan in plans if number < len(plan)],
                "coupons": [dict(coupon) for coupon in coupons],
            },
            at=datetime.fromisoformat("2023-01-01T00:00:00Z"),
            **WHO,
        )
    for story in stories:
        create_customer(
            key=story.account.customer,
            name=story.account.customer,
            currency=story.account.currency,
            timezone=story.account.timezone,
            email="",
            settlement_channel="manual",
            **WHO,
        )


def note(books: Books, deed: Deed, account: Account) -> None:
    """Write down in the books of the second opinion what no line says yet."""
    if deed.promise is not None:
        books.promise(deed.promise, account)
    elif deed.what == "void" and deed.grant is not None:
        books.void(deed.grant)
    elif deed.grant is not None:
        books.grant(deed.grant)


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
            invoice.lines.select_related(
                "invoice", "subscription", "price__plan_version__plan", "credit_grant"
            ).order_by("position")
        )
        assert invoice.total.amount == sum(line.amount.amount for line in lines)
        charges = spoken(_line(line, corrected=False) for line in lines if line.kind != "correction")
        corrected = sum((Fraction(line.amount.amount) for line in lines if line.kind == "correction"), Fraction(0))
        bills.append(Bill(invoice.period_start, invoice.period_end, tuple(charges), corrected))
        assert Fraction(invoice.total.amount) == bills[-1].total
    return bills


def billed(story: Story, *, corrected: bool = False) -> list[Line]:
    """The lines of all invoices but credit; `corrected` by what was learnt about their usage later."""
    lines = InvoiceLine.objects.filter(invoice__customer__key=story.account.customer).exclude(kind="correction")
    rows = lines.exclude(adjustment="credit").select_related("invoice", "subscription", "price__plan_version__plan")
    return spoken(_line(line, corrected=corrected) for line in rows.prefetch_related("corrections"))


def _line(line: InvoiceLine, *, corrected: bool) -> Line:
    chain = sorted(line.corrections.all(), key=lambda link: link.known_from) if corrected else []
    price = line.price.key if line.price else line.adjustment
    if line.adjustment == "discount":
        price = line.description
    elif line.credit_grant is not None:
        price = f"credit {line.credit_grant.key}"
    is_of_bill = price.startswith((*QUIET, "Discount"))
    return Line(
        agreement=line.subscription.key if line.subscription else "",
        period_start=line.invoice.period_start,
        period_end=line.invoice.period_end,
        service_start=line.invoice.period_start if is_of_bill else line.service_start,
        service_end=line.invoice.period_end if is_of_bill else line.service_end,
        plan=line.price.plan_version.plan.key if line.price else "",
        price=price,
        quantity=Fraction(chain[-1].quantity_after if chain and line.price else line.quantity),
        amount=Fraction(line.amount.amount) + sum(Fraction(link.effect.amount) for link in chain),
    )


def burndowns(story: Story) -> list[tuple[Fraction, ...]]:
    """What became of each tranche of promised spend: all of it, in parts that add up."""
    found = []
    for tranche in CommitmentTranche.objects.filter(subscription__customer__key=story.account.customer):
        one = burndown_of(tranche=tranche)
        parts = (one.spent, one.trued_up, one.expired, one.rolled_over, one.left)
        assert sum(parts) == one.promised + one.rolled_in, f"{tranche} adds up"
        found.append(tuple(map(Fraction, (one.promised, one.rolled_in, *parts))))
    return sorted(found)


def burndowns_told(books: Books) -> list[tuple[Fraction, ...]]:
    """The same, told by the second opinion."""
    return sorted(
        (
            one.promised,
            one.rolled_in,
            one.taken,
            one.made_up,
            one.expired,
            one.rolled_over,
            one.promised + one.rolled_in - one.taken - one.made_up - one.expired - one.rolled_over,
        )
        for one in books.tranches
    )


def lots(story: Story) -> list[tuple[str, Fraction, Fraction, Fraction, Fraction]]:
    """What became of each grant: drawn, expired, taken back, and left."""
    found: dict[str, dict[str, Fraction]] = {}
    for entry in CreditEntry.objects.filter(grant__customer__key=story.account.customer).select_related("grant"):
        of = found.setdefault(entry.grant.key, defaultdict(Fraction))
        of[entry.kind] += Fraction(entry.amount.amount)
    return sorted(
        (key, -of["draw"], -of["expire"], -of["void"], sum(of.values(), Fraction(0))) for key, of in found.items()
    )


def lots_told(books: Books) -> list[tuple[str, Fraction, Fraction, Fraction, Fraction]]:
    """The same, told by the second opinion."""
    return sorted((lot.grant.key, lot.drawn, lot.expired, lot.taken_back, lot.left) for lot in books.lots)


def assert_no_gap_and_no_overlap(story: Story) -> None:
    """What is charged of an agreement is its active stretches, each moment in one service of each price."""
    lines = [line for line in billed(story) if line.plan]
    for agreement in done(story.account, story.deeds).agreements:
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
