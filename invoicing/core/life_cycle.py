"""The life of a customer as one table (S0-121): code, the database's trigger, the admin and docs/life-cycle.md are made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from invoicing.core.access import AccessReason, Stretch, Verdict
from invoicing.core.phases import PhaseKind

TRIAL_DAYS = 14


class State(StrEnum):
    """What a customer is to us; it begins in its trial when it is registered."""

    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    SUSPENDED = "suspended"
    CHURNED = "churned"


class Trigger(StrEnum):
    """What brings a move about."""

    REGISTERED = "registered"
    PLAN_AND_MEANS = "plan_and_means"
    TRIAL_OVER = "trial_over"
    NOT_PAID = "not_paid"
    PAID = "paid"
    DUNNING_FAILED = "dunning_failed"
    RECOVERED = "recovered"
    DUNNING_EXHAUSTED = "dunning_exhausted"
    CANCELLED = "cancelled"
    CAME_BACK = "came_back"


class Driver(StrEnum):
    """Who may make a move."""

    REGISTRATION = "registration"
    SWEEP = "sweep"
    PERSON = "person"
    DUNNING = "dunning"


@dataclass(frozen=True)
class Transition:
    """One row: from where to where, what for, which requirement asks for it, what it does to billing, and who drives it."""

    start: State | None
    to: State
    trigger: Trigger
    when: str
    requirement: str
    billing: str
    drivers: tuple[Driver, ...]


TRANSITIONS = (
    Transition(
        start=None,
        to=State.TRIAL,
        trigger=Trigger.REGISTERED,
        when="a customer is registered",
        requirement="S0-122",
        billing="Usage is metered from then on; nothing is billed without a subscription, nor in its trial.",
        drivers=(Driver.REGISTRATION,),
    ),
    Transition(
        start=State.TRIAL,
        to=State.ACTIVE,
        trigger=Trigger.PLAN_AND_MEANS,
        when="a subscription is charged, and after a trial there is the means of payment that it needs",
        requirement="S0-123",
        billing="What the subscription charges is invoiced when each billing period ends.",
        drivers=(Driver.SWEEP,),
    ),
    Transition(
        start=State.TRIAL,
        to=State.CHURNED,
        trigger=Trigger.TRIAL_OVER,
        when=f"{TRIAL_DAYS} days have passed since the registration, or since a trial ended without the means of payment,"
        " and no trial runs or is planned",
        requirement="S0-124",
        billing="Subscriptions that still run end; what was charged until then is on the final invoice.",
        drivers=(Driver.SWEEP,),
    ),
    Transition(
        start=State.ACTIVE,
        to=State.PAST_DUE,
        trigger=Trigger.NOT_PAID,
        when="an invoice is overdue, or the charge of an open one was refused",
        requirement="S0-125",
        billing="Charging goes on, and so does service; dunning begins.",
        drivers=(Driver.SWEEP,),
    ),
    Transition(
        start=State.PAST_DUE,
        to=State.ACTIVE,
        trigger=Trigger.PAID,
        when="nothing is overdue or refused any more: a retry or a person paid",
        requirement="S0-126",
        billing="Dunning ends.",
        drivers=(Driver.SWEEP,),
    ),
    Transition(
        start=State.PAST_DUE,
        to=State.SUSPENDED,
        trigger=Trigger.DUNNING_FAILED,
        when="several attempts to collect have failed (day 14 to 21)",
        requirement="S0-127",
        billing="Service is refused; what runs is still charged until it is paused or ended.",
        drivers=(Driver.DUNNING, Driver.PERSON),
    ),
    Transition(
        start=State.SUSPENDED,
        to=State.ACTIVE,
        trigger=Trigger.RECOVERED,
        when="nothing is overdue or refused any more",
        requirement="S0-128",
        billing="Service is given again; charging has never stopped.",
        drivers=(Driver.SWEEP,),
    ),
    Transition(
        start=State.SUSPENDED,
        to=State.CHURNED,
        trigger=Trigger.DUNNING_EXHAUSTED,
        when="dunning has come to its end (day 28 or later)",
        requirement="S0-129",
        billing="Subscriptions end; a final invoice covers what was charged until then; the customer is off-boarded.",
        drivers=(Driver.DUNNING, Driver.PERSON),
    ),
    Transition(
        start=State.ACTIVE,
        to=State.CHURNED,
        trigger=Trigger.CANCELLED,
        when="the last subscription has ended",
        requirement="S0-130",
        billing="Subscriptions that still run end; a final invoice covers what was charged until then; the customer is off-boarded.",
        drivers=(Driver.SWEEP, Driver.PERSON),
    ),
    Transition(
        start=State.CHURNED,
        to=State.TRIAL,
        trigger=Trigger.CAME_BACK,
        when="a subscription runs again: a new one, or one whose end was taken back",
        requirement="reactivation",
        billing="As after a registration: what the subscription charges is invoiced.",
        drivers=(Driver.SWEEP,),
    ),
)
FROM_EACH_STATE = {state: tuple(row for row in TRANSITIONS if row.start is state) for state in State}


@dataclass(frozen=True)
class Circumstances:
    """What decides about a customer's state: its phases, whether it can pay, and whether an invoice waits for money in vain."""

    registered_at: datetime
    stretches: Sequence[Stretch]
    can_pay: bool
    owes: bool


def transition_between(*, start: State, to: State) -> Transition | None:
    """Return the row of a move, or None where the table knows none."""
    return next((row for row in FROM_EACH_STATE[start] if row.to is to), None)


def moves_due(
    *, state: State, since: datetime | None, circumstances: Circumstances, at: datetime
) -> tuple[Transition, ...]:
    """Return the moves that circumstances call for at a moment, one after the other; none where the state is right.

    `since` is when the customer came to this state, None where it has never moved. Only what the sweep drives is
    here: suspending and giving up are decided by dunning or a person.
    """
    moves: list[Transition] = []
    while trigger := _trigger_due(state, since, circumstances, at):
        [move] = [row for row in FROM_EACH_STATE[state] if row.trigger is trigger]
        assert Driver.SWEEP in move.drivers, "circumstances drive what the sweep may do"
        moves.append(move)
        assert len(moves) <= len(State), "no circle of moves at one moment"
        if move.to is State.CHURNED:
            # Its billing ends what still runs: what comes after is to be asked anew.
            break
        state, since = move.to, at
    return tuple(moves)


def access_in_state(*, state: State, verdict: Verdict, is_restricted: bool = False) -> Verdict:
    """Return what the phases say about access as the customer's state has it: suspended and churned are refused, restricted is only said."""
    match state:
        case State.SUSPENDED:
            return replace(verdict, reason=AccessReason.SUSPENDED, changes_at=None)
        case State.CHURNED:
            return replace(verdict, reason=AccessReason.CHURNED)
        case State.PAST_DUE if verdict.reason is AccessReason.ACTIVE:
            return replace(verdict, reason=AccessReason.RESTRICTED if is_restricted else AccessReason.PAST_DUE)
    return verdict


def trial_timer(*, since: datetime | None, circumstances: Circumstances, at: datetime) -> datetime:
    """Return when a trial is over for good: 14 days after it began, or after a charge that cannot be collected did (S0-124)."""
    days = timedelta(days=TRIAL_DAYS)
    tried = _tried(circumstances, at)
    begun = [
        one.starts_at + days
        for one in circumstances.stretches
        if one.kind is PhaseKind.ACTIVE and _holds(one, at) and one.subscription in tried
    ]
    ends = [
        one.ends_at
        for one in circumstances.stretches
        if one.kind is PhaseKind.TRIAL and one.ends_at is not None and _lasts_beyond(one, since)
    ]
    return max([(since or circumstances.registered_at) + days, *begun, *ends])


def _trigger_due(state: State, since: datetime | None, circumstances: Circumstances, at: datetime) -> Trigger | None:
    stretches = circumstances.stretches
    match state:
        case State.TRIAL:
            unpaid = set() if circumstances.can_pay else _tried(circumstances, at)
            if any(_was_charged(one, since, at) and one.subscription not in unpaid for one in stretches):
                return Trigger.PLAN_AND_MEANS
            is_expected = any(one.starts_at > at for one in stretches)
            if not is_expected and at >= trial_timer(since=since, circumstances=circumstances, at=at):
                return Trigger.TRIAL_OVER
        case State.ACTIVE:
            if circumstances.owes:
                return Trigger.NOT_PAID
            if stretches and all(one.ends_at is not None and one.ends_at <= at for one in stretches):
                return Trigger.CANCELLED
        case State.PAST_DUE:
            return None if circumstances.owes else Trigger.PAID
        case State.SUSPENDED:
            return None if circumstances.owes else Trigger.RECOVERED
        case State.CHURNED:
            if any(_holds(one, at) for one in stretches):
                return Trigger.CAME_BACK
    return None


def _tried(circumstances: Circumstances, at: datetime) -> set[str]:
    """Return the subscriptions whose trial is over."""
    return {
        one.subscription
        for one in circumstances.stretches
        if one.kind is PhaseKind.TRIAL and one.ends_at is not None and one.ends_at <= at
    }


def _was_charged(one: Stretch, since: datetime | None, at: datetime) -> bool:
    return one.kind is PhaseKind.ACTIVE and one.starts_at <= at and _lasts_beyond(one, since)


def _lasts_beyond(one: Stretch, moment: datetime | None) -> bool:
    return moment is None or one.ends_at is None or one.ends_at > moment


def _holds(one: Stretch, at: datetime) -> bool:
    return one.starts_at <= at and (one.ends_at is None or at < one.ends_at)


def life_cycle_page() -> str:
    """Return the table as the page docs/life-cycle.md."""
    rows = [
        "| from | to | when | trigger | requirement | billing | driven by |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {_words(row.start)} | {_words(row.to)} | {row.when} | `{row.trigger}` | {row.requirement} | {row.billing}"
            f" | {', '.join(row.drivers)} |"
            for row in TRANSITIONS
        ),
    ]
    return "\n".join(
        [
            "# The life of a customer",
            "",
            "Made of `invoicing/core/life_cycle.py` by `manage.py life_cycle`; a test compares. Any other move is refused, by",
            "the code and by the database (trigger `follows_the_life_cycle`). A person moves a customer for a reason of his own.",
            "",
            *rows,
            "",
        ]
    )


def _words(state: State | None) -> str:
    return "–" if state is None else state.value.replace("_", " ")
