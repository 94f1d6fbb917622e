"""The life of a customer as a table: what circumstances call for, and what the table does not know."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing.core.access import AccessReason, Stretch, access_at
from invoicing.core.life_cycle import (
    FROM_EACH_STATE,
    TRANSITIONS,
    Circumstances,
    Driver,
    State,
    access_in_state,
    life_cycle_page,
    moves_due,
    trial_timer,
)
from invoicing.core.phases import PhaseKind

ROOT = Path(__file__).resolve().parents[3]
DAY_1 = datetime(2026, 7, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def day(number: int) -> datetime:
    return DAY_1 + timedelta(days=number - 1)


def stretch(kind: str, first: int, until: int | None = None, subscription: str = "sub_a") -> Stretch:
    ends_at = None if until is None else day(until)
    return Stretch(kind=PhaseKind(kind), starts_at=day(first), ends_at=ends_at, subscription=subscription, plan="pro")


def moved(
    state: str,
    at: datetime,
    *stretches: Stretch,
    can_pay: bool = True,
    owes: bool = False,
    since: datetime | None = None,
) -> list[str]:
    """Where the circumstances bring a customer registered on the first, one move after the other."""
    circumstances = Circumstances(registered_at=DAY_1, stretches=stretches, can_pay=can_pay, owes=owes)
    return [row.to.value for row in moves_due(state=State(state), since=since, circumstances=circumstances, at=at)]


TRIED = (stretch("trial", 1, 8), stretch("active", 8))


@pytest.mark.requirement("S0-121")
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # S0-123: a plan that is charged, and the means to pay for it once a trial is over.
        (moved("trial", day(2), stretch("active", 2)), ["active"]),
        (moved("trial", day(2) - TICK, stretch("active", 2)), []),
        (moved("trial", day(2), stretch("active", 2), can_pay=False), ["active"]),
        (moved("trial", day(8), *TRIED), ["active"]),
        (moved("trial", day(8), *TRIED, can_pay=False), []),
        (moved("trial", day(8), *TRIED, stretch("active", 2, None, "sub_b"), can_pay=False), ["active"]),
        # S0-124: the timer of 14 days, from the registration or from the first charge that cannot be collected.
        (moved("trial", day(15) - TICK), []),
        (moved("trial", day(15)), ["churned"]),
        (moved("trial", day(22) - TICK, *TRIED, can_pay=False), []),
        (moved("trial", day(22), *TRIED, can_pay=False), ["churned"]),
        (moved("trial", day(20), stretch("trial", 1, 31), stretch("active", 31)), []),
        (moved("trial", day(20), stretch("active", 31)), []),
        (moved("trial", day(14), stretch("trial", 1, 8)), []),
        (moved("trial", day(15), stretch("trial", 1, 8)), ["churned"]),
        (moved("trial", day(20), stretch("trial", 1, 18)), ["churned"]),
        # S0-125, S0-126: what is owed in vain, and paid.
        (moved("active", day(20), *TRIED, owes=True), ["past_due"]),
        (moved("past_due", day(20), *TRIED, owes=True), []),
        (moved("past_due", day(20), *TRIED), ["active"]),
        (moved("trial", day(20), *TRIED, owes=True), ["active", "past_due"]),
        # S0-127, S0-129: dunning decides, nothing else.
        (moved("suspended", day(90), *TRIED, owes=True), []),
        # S0-128: recovery, also of one who has left meanwhile.
        (moved("suspended", day(20), *TRIED), ["active"]),
        (moved("suspended", day(20), stretch("active", 1, 9)), ["active", "churned"]),
        # S0-130: the last subscription has ended; one that is planned is not the end.
        (moved("active", day(9) - TICK, stretch("active", 1, 9)), []),
        (moved("active", day(9), stretch("active", 1, 9)), ["churned"]),
        (moved("active", day(9), stretch("active", 1, 9), stretch("active", 20, None, "sub_b")), []),
        (moved("active", day(9), stretch("active", 1, 9), owes=True), ["past_due"]),
        (moved("trial", day(30), stretch("active", 1, 9)), ["active", "churned"]),
        # It comes back with a subscription, and its trial begins anew.
        (moved("churned", day(40), stretch("active", 1, 9), since=day(9)), []),
        (
            moved("churned", day(40), stretch("active", 1, 9), stretch("active", 39, None, "sub_b"), since=day(9)),
            ["trial", "active"],
        ),
        (moved("churned", day(40), stretch("trial", 39, 60), stretch("active", 60), since=day(9)), ["trial"]),
        (moved("trial", day(54), stretch("active", 1, 9), since=day(40)), ["churned"]),
    ],
)
def test_circumstances_bring_a_customer_from_state_to_state(found: list[str], expected: list[str]) -> None:
    assert found == expected


MOMENTS = st.integers(1, 60)
STRETCHES = st.lists(
    st.builds(
        lambda kind, first, length, subscription: stretch(
            kind, first, first + length if length else None, subscription
        ),
        st.sampled_from(["trial", "active", "paused"]),
        MOMENTS,
        st.integers(0, 20),
        st.sampled_from(["sub_a", "sub_b"]),
    ),
    max_size=5,
)


@given(
    state=st.sampled_from(State),
    since=st.none() | MOMENTS,
    at=MOMENTS,
    stretches=STRETCHES,
    can_pay=st.booleans(),
    owes=st.booleans(),
)
def test_whatever_the_circumstances_the_moves_are_rows_of_the_table_and_come_to_rest(
    state: State, since: int | None, at: int, stretches: list[Stretch], can_pay: bool, owes: bool
) -> None:
    circumstances = Circumstances(registered_at=DAY_1, stretches=stretches, can_pay=can_pay, owes=owes)
    since_at = day(min(since, at)) if since else None

    moves = moves_due(state=state, since=since_at, circumstances=circumstances, at=day(at))

    for one, other in pairwise(moves):
        assert one.to is other.start
    assert all(row in TRANSITIONS and Driver.SWEEP in row.drivers for row in moves)
    if moves:
        assert moves[0].start is state
        last = moves[-1].to
        rest = moves_due(state=last, since=day(at), circumstances=circumstances, at=day(at))
        assert last is State.CHURNED or rest == ()
    verdict = access_at(stretches=stretches, can_pay=can_pay, at=day(at))
    assert not access_in_state(state=State.SUSPENDED, verdict=verdict).is_allowed
    assert not access_in_state(state=State.CHURNED, verdict=verdict).is_allowed
    assert access_in_state(state=State.PAST_DUE, verdict=verdict).is_allowed == verdict.is_allowed


def test_the_timer_of_a_trial_is_told() -> None:
    circumstances = Circumstances(registered_at=DAY_1, stretches=TRIED, can_pay=False, owes=False)

    assert trial_timer(since=None, circumstances=circumstances, at=day(2)) == day(15)
    assert trial_timer(since=None, circumstances=circumstances, at=day(9)) == day(22)


def test_each_requirement_is_one_row_and_each_state_can_be_left() -> None:
    numbers = [row.requirement for row in TRANSITIONS if row.requirement.startswith("S0-")]

    assert numbers == [f"S0-{number}" for number in range(122, 131)]
    assert all(FROM_EACH_STATE.values())
    assert len({(row.start, row.to) for row in TRANSITIONS}) == len(TRANSITIONS)


def test_the_page_in_docs_is_the_table() -> None:
    assert (ROOT / "docs/life-cycle.md").read_text() == life_cycle_page(), "manage.py life_cycle > docs/life-cycle.md"


def test_a_past_due_customer_is_served_and_told() -> None:
    verdict = access_at(stretches=TRIED, can_pay=True, at=day(9))

    assert access_in_state(state=State.PAST_DUE, verdict=verdict).reason is AccessReason.PAST_DUE
    assert access_in_state(state=State.ACTIVE, verdict=verdict).reason is AccessReason.ACTIVE
