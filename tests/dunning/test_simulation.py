"""Many customers over many months, with payments as they come: nobody who has paid is touched, everybody who has not is, on the right day.

What should happen is worked out a second time here, in days and without a database. CI lives through a few customers; at night
`DUNNING_CUSTOMERS=10000 DUNNING_MONTHS=24 DUNNING_SEED=...` lives through many. The seed is printed, and any run can be had again by it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from moneyed import Money

from dunning.cases.models import CaseStep, DunningCase
from dunning.core.policy import SHORT, STANDARD, PolicyTerms
from dunning.policies.operations import assign_policy, ensure_presets
from dunning.sweep import sweep_dunning
from invoicing.core.life_cycle import State, transition_between
from invoicing.customers.models import Customer, LifeCycleMove
from invoicing.invoices.models import Invoice
from invoicing.payments.models import PaymentFailure
from invoicing.workflows.answer_access import answer_access
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from invoicing.workflows.settle_payment import settle_payment
from tests.dunning.chasing import WHO, deliver
from tests.factories import a_customer, a_plan, a_subscription, usd_fee
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db

CUSTOMERS = int(os.environ.get("DUNNING_CUSTOMERS", "10"))
MONTHS = int(os.environ.get("DUNNING_MONTHS", "2"))
SEED = int(os.environ.get("DUNNING_SEED", "20261122"))
ZONES = ("Asia/Kathmandu", "America/Sao_Paulo", "America/New_York")
LADDERS: dict[str, PolicyTerms] = {"standard": STANDARD, "short": SHORT}
# Clocks change in New York on the 1st of November 2026 and the 14th of March 2027.
BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
EVERY = timedelta(hours=6)


@dataclass
class Bill:
    """An invoice as it will go: issued, perhaps refused (and heard of later), perhaps paid, perhaps in two parts."""

    issued_at: datetime
    due: date
    refused_at: datetime | None
    heard_at: datetime | None
    paid_at: datetime | None
    first_part_at: datetime | None
    row: Invoice | None = None

    def is_late(self, at: datetime, zone: ZoneInfo) -> bool:
        """Whether it is late at a moment, as far as is known by then."""
        if at < self.issued_at or (self.paid_at is not None and self.paid_at <= at):
            return False
        return self.due < at.astimezone(zone).date() or self.is_refused(at)

    def is_refused(self, at: datetime) -> bool:
        return self.heard_at is not None and self.heard_at <= at


@dataclass
class Life:
    """A customer: where it is, how it is chased, and its bills."""

    key: str
    zone: ZoneInfo
    policy: str
    bills: list[Bill] = field(default_factory=list)


def a_life(number: int, chance: Random) -> Life:
    """A customer who pays at once, late, or never, as chance has it."""
    zone = ZoneInfo(chance.choice(ZONES))
    life = Life(f"cust_{number}", zone, chance.choice(list(LADDERS)))
    habit = chance.choice(("prompt", "late", "late", "very late", "never", "mixed"))
    for month in range(MONTHS):
        day = date(2026 + (9 + month) // 12, (9 + month) % 12 + 1, chance.randrange(1, 28))
        issued_at = datetime(day.year, day.month, day.day, 12, tzinfo=zone).astimezone(UTC)
        due = day + timedelta(days=7)
        how = chance.choice(("prompt", "late", "very late", "never")) if habit == "mixed" else habit
        days = {"prompt": (0, 7), "late": (8, 24), "very late": (20, 60), "never": (0, 1)}[how]
        paid_at = issued_at + timedelta(days=chance.randrange(*days), minutes=chance.randrange(1, 1440))
        refused_at = heard_at = None
        if chance.random() < 0.4:
            hour = datetime(day.year, day.month, day.day, chance.randrange(13, 19), chance.randrange(60), tzinfo=zone)
            refused_at = hour.astimezone(UTC) + timedelta(days=chance.randrange(3))
            # News of a refusal comes late, and in any order; also after the payment.
            heard_at = refused_at + timedelta(hours=chance.choice((0, 0, 1, 9, 30, 55)))
        part = issued_at + (paid_at - issued_at) / 2 if chance.random() < 0.2 else None
        life.bills.append(Bill(issued_at, due, refused_at, heard_at, None if how == "never" else paid_at, part))
    return life


def expected(life: Life, sweeps: list[datetime]) -> Iterator[tuple[str, int, datetime]]:
    """Which steps are taken when: worked out in local days, sweep by sweep."""
    ladder = LADDERS[life.policy].steps
    anchor, base, refused, done, delay = None, date.min, None, 0, 0
    for at in sweeps:
        late = [bill for bill in life.bills if bill.is_late(at, life.zone)]
        if anchor is not None and anchor not in late:
            anchor = None
        if anchor is None and late:
            anchor = min(late, key=lambda bill: (first_day(bill, at, life.zone), bill.issued_at))
            base, done, delay = first_day(anchor, at, life.zone), 0, 0
            refused = anchor.refused_at if anchor.is_refused(at) and base != anchor.due else None
        local = at.astimezone(life.zone)
        if anchor is None or done == len(ladder) or not 8 <= local.hour < 20:
            continue
        day = ladder[done].day if refused else max(ladder[done].day, 1)
        due = datetime(base.year, base.month, base.day, 9, tzinfo=life.zone) + timedelta(days=day + delay)
        if refused and day == delay == 0:
            due = refused.astimezone(life.zone)
        if at >= due:
            done += 1
            delay += max(0, (local.date() - due.date()).days)
            yield life.key, done, at


def first_day(bill: Bill, at: datetime, zone: ZoneInfo) -> date:
    """From which day on a bill's days are counted, as far as is known."""
    if bill.refused_at is not None and bill.is_refused(at):
        return min(bill.due, bill.refused_at.astimezone(zone).date())
    return bill.due


def settle(bill: Bill, amount: Money, at: datetime, part: str) -> None:
    assert bill.row is not None
    settle_payment(
        invoice_id=bill.row.pk, channel="manual", reference=f"{bill.row.pk} {part}", amount=amount, received_at=at
    )


def live(lives: list[Life], customers: dict[str, Customer], sweeps: list[datetime], chance: Random) -> None:
    """Turn the clock: what comes between two sweeps comes in any order, sweeps come twice now and then."""
    before = BEGIN - EVERY
    for at in sweeps:
        for life in chance.sample(lives, len(lives)):
            for number, bill in enumerate(life.bills):
                if before < bill.issued_at <= at:
                    key = f"{life.key}-{number}"
                    bill.row = once(customers[life.key], item("100"), key=key, at=bill.issued_at)
                if bill.first_part_at is not None and before < bill.first_part_at <= at:
                    settle(bill, Money("30", "USD"), bill.first_part_at, "part")
                if bill.paid_at is not None and before < bill.paid_at <= at:
                    settle(bill, Money("70" if bill.first_part_at else "100", "USD"), bill.paid_at, "rest")
                if bill.heard_at is not None and before < bill.heard_at <= at:
                    assert bill.row is not None and bill.refused_at is not None
                    PaymentFailure.objects.create(
                        invoice=bill.row,
                        reference=f"ch_{life.key}_{number}",
                        code="card_declined",
                        message="declined",
                        occurred_at=bill.refused_at,
                    )
        for _ in range(chance.choice((1, 1, 1, 2))):
            assert sweep_dunning(at=at).failures == []
            deliver(at)
        if at.hour == 0:
            assert sweep_life_cycles(at=at).failures == []
        before = at


@pytest.mark.requirement("S0-121")
@pytest.mark.requirement("S1-044")
def test_nobody_who_has_paid_is_touched_and_everybody_who_has_not_is_on_the_right_day() -> None:
    print(f"DUNNING_SEED={SEED} DUNNING_CUSTOMERS={CUSTOMERS} DUNNING_MONTHS={MONTHS}")
    chance = Random(SEED)
    lives = [a_life(number, chance) for number in range(CUSTOMERS)]
    a_plan("pro", usd_fee("31"))
    ensure_presets()
    customers = {}
    for life in lives:
        customers[life.key] = a_customer(life.key, timezone=str(life.zone), net_terms_days=7)
        a_subscription(customers[life.key], started_at=BEGIN.replace(month=9))
        assign_policy(policy=life.policy, customer=customers[life.key], country="", at=BEGIN, **WHO)
    days = 31 * MONTHS + 38
    sweeps = [BEGIN + EVERY * turn for turn in range(days * 4)]

    live(lives, customers, sweeps, chance)

    taken = CaseStep.objects.order_by("done_at").values_list("case__customer__key", "number", "done_at")
    assert sorted(taken) == sorted(step for life in lives for step in expected(life, sweeps))
    nobody_is_touched_who_has_paid({life.key: life for life in lives})
    for move in LifeCycleMove.objects.all():
        assert transition_between(start=State(move.from_state), to=State(move.to_state)) is not None
    acts = CaseStep.objects.filter(outcome="done").values_list("act", flat=True)
    assert {"notice", "restrict", "suspend", "close"} <= set(acts), "the seed leads everywhere"
    assert DunningCase.objects.filter(state="settled").exists()


def nobody_is_touched_who_has_paid(lives: dict[str, Life]) -> None:
    """Each step that took something, each suspension and each end fell on somebody who was late at that moment; whoever owes nothing is served."""
    for step in CaseStep.objects.filter(outcome="done").select_related("case__customer"):
        life = lives[step.case.customer.key]
        assert any(bill.is_late(step.done_at, life.zone) for bill in life.bills), step
    for move in LifeCycleMove.objects.filter(to_state__in=("suspended",)).select_related("customer"):
        life = lives[move.customer.key]
        assert any(bill.is_late(move.moved_at, life.zone) for bill in life.bills), move
    at = CaseStep.objects.order_by("-done_at").values_list("done_at", flat=True)[0]
    churned = set(LifeCycleMove.objects.filter(to_state="churned").values_list("customer__key", flat=True))
    for key, life in lives.items():
        if key not in churned and not any(bill.is_late(at, life.zone) for bill in life.bills):
            assert answer_access(customer_key=key, at=at).verdict.is_allowed, key
