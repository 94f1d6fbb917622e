"""A subscription in time: phases without gap or overlap, and periods divided so that the parts are the whole."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.period import Period
from invoicing.core.contract import Cadence
from invoicing.core.phases import (
    Phase,
    PhaseKind,
    Proration,
    Timeline,
    changed_from,
    period_at,
    periods_charged,
    services_in,
)

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Karachi", "Asia/Kathmandu", "Australia/Lord_Howe"]
JULY = datetime(2026, 7, 1, tzinfo=UTC)
AUGUST = datetime(2026, 8, 1, tzinfo=UTC)

Change = tuple[timedelta, Callable[[Phase], Phase]]
changes = st.one_of(
    st.integers(1, 3).map(lambda plan: lambda phase: replace(phase, plan=plan)),
    st.integers(1, 5).map(lambda quantity: lambda phase: replace(phase, quantity=quantity)),
    st.sampled_from(PhaseKind).map(lambda kind: lambda phase: replace(phase, kind=kind)),
    st.sampled_from(Proration).map(lambda proration: lambda phase: replace(phase, plan=9, proration=proration)),
    st.sampled_from(Cadence).map(lambda cadence: lambda phase: replace(phase, plan=7, cadence=cadence)),
)
steps = st.timedeltas(timedelta(0), timedelta(days=500))


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """A subscription that began in a year with a leap day and clock changes, and was changed a few times."""
    start = draw(st.datetimes(datetime(2027, 9, 1), datetime(2028, 6, 1), timezones=st.just(UTC)))
    phases: tuple[Phase, ...] = (
        Phase(start, None, plan=1, cadence=draw(st.sampled_from(Cadence)), proration=draw(st.sampled_from(Proration))),
    )
    for after, change in draw(st.lists(st.tuples(steps, changes), max_size=6)):
        phases = changed_from(phases=phases, at=start + after, change=change)
    return Timeline(phases, timezone=draw(st.sampled_from(ZONES)), is_calendar=draw(st.booleans()))


def one_cadence(timeline: Timeline) -> Timeline:
    phases = tuple(replace(phase, cadence=Cadence.MONTH) for phase in timeline.phases)
    return replace(timeline, phases=phases)


@given(timeline=timelines(), after=steps, change=changes)
def test_a_change_leaves_no_gap_no_overlap_and_the_past_alone(
    timeline: Timeline, after: timedelta, change: Callable[[Phase], Phase]
) -> None:
    at = timeline.phases[0].starts_at + after

    phases = changed_from(phases=timeline.phases, at=at, change=change)

    assert all(one.ends_at == other.starts_at for one, other in pairwise(phases))
    assert (phases[0].starts_at, phases[-1].ends_at) == (timeline.phases[0].starts_at, None)
    for moment in (at - timedelta(microseconds=1), timeline.phases[0].starts_at):
        if timeline.phases[0].starts_at <= moment < at:
            assert terms(phases, moment) == terms(timeline.phases, moment)
    for moment in (at, at + timedelta(days=100)):
        assert terms(phases, moment) == terms((change(at_moment(timeline.phases, moment)),), moment)
    assert changed_from(phases=phases, at=at, change=change) == phases, "the same change again changes nothing"


def at_moment(phases: tuple[Phase, ...], moment: datetime) -> Phase:
    return next(phase for phase in phases if phase.holds(moment))


def terms(phases: tuple[Phase, ...], moment: datetime) -> Phase:
    return replace(at_moment(phases, moment), starts_at=JULY, ends_at=None)


@given(timeline=timelines(), after=steps)
def test_every_charged_moment_is_in_one_service_of_the_one_period_that_bills_it(
    timeline: Timeline, after: timedelta
) -> None:
    moment = timeline.phases[0].starts_at + after
    phase = at_moment(timeline.phases, moment)

    period = period_at(timeline=timeline, moment=moment)

    assert period is not None
    holding = [service for service in services_in(timeline=timeline, period=period) if moment in service.period]
    assert len(holding) == (1 if phase.kind is PhaseKind.ACTIVE else 0)
    assert all(service.plan == phase.plan for service in holding)
    seats = [part.quantity for service in holding for part in service.parts if moment in part.period]
    assert seats == [phase.quantity for _ in holding]


@given(timeline=timelines())
def test_charged_periods_hold_every_charged_second_once(timeline: Timeline) -> None:
    start = timeline.phases[0].starts_at
    until = start + timedelta(days=900)

    charged = [
        service.period
        for _, period in periods_charged(timeline=timeline, until=until + timedelta(days=800))
        for service in services_in(timeline=timeline, period=period)
    ]

    assert all(not one.overlaps(other) for one, other in pairwise(sorted(charged)))
    for phase in timeline.phases:
        if phase.kind is PhaseKind.ACTIVE and phase.starts_at < until:
            whole = Period(phase.starts_at, min(phase.ends_at or until, until))
            parts = [part for service in charged if (part := service.intersection(whole)) is not None]
            assert sum((part.duration for part in parts), timedelta(0)) == whole.duration


@given(timeline=timelines().map(one_cadence), after=steps, proration=st.sampled_from(Proration))
def test_parts_of_a_divided_period_add_up_to_the_whole(
    timeline: Timeline, after: timedelta, proration: Proration
) -> None:
    """However often a period is cut: by plan, by quantity, over clock changes and leap days."""
    period = period_at(timeline=timeline, moment=timeline.phases[0].starts_at + after)
    assert period is not None
    cut = [replace(phase, proration=proration) for phase in timeline.phases]
    charged = replace(timeline, phases=tuple(replace(phase, kind=PhaseKind.ACTIVE) for phase in cut))
    paused = replace(timeline, phases=tuple(cut))
    uncut = replace(timeline, phases=(replace(charged.phases[0], ends_at=None),))

    def total(one: Timeline) -> Fraction:
        services = services_in(timeline=one, period=period)
        assert all(sum(part.share for part in service.parts) == service.share for service in services)
        return sum((service.share for service in services), Fraction(0))

    assert total(charged) == total(uncut) <= 1
    if period.start >= timeline.phases[0].starts_at:
        assert total(charged) == 1
    assert 0 <= total(paused) <= total(charged)


@pytest.mark.parametrize(
    ("proration", "expected"),
    [
        (Proration.SECOND, [Fraction(29, 62), Fraction(33, 62)]),
        (Proration.DAY, [Fraction(14, 31), Fraction(17, 31)]),
        (Proration.NONE, [Fraction(1), Fraction(0)]),
    ],
)
def test_a_change_at_noon_of_the_15th_divides_july_as_the_plan_says(
    proration: Proration, expected: list[Fraction]
) -> None:
    phases = (Phase(JULY, None, plan=1, cadence=Cadence.MONTH, proration=proration),)
    noon = datetime(2026, 7, 15, 12, tzinfo=UTC)
    timeline = Timeline(
        changed_from(phases=phases, at=noon, change=lambda phase: replace(phase, plan=2)), "UTC", is_calendar=True
    )

    services = services_in(timeline=timeline, period=Period(JULY, AUGUST))

    assert [service.share for service in services] == expected


def test_the_day_of_a_change_is_the_customers_not_utcs() -> None:
    midnight = datetime(2026, 7, 1, tzinfo=ZoneInfo("Asia/Kathmandu")).astimezone(UTC)
    phases = (Phase(midnight, None, plan=1, cadence=Cadence.MONTH, proration=Proration.DAY),)
    at = datetime(2026, 7, 15, 0, 5, tzinfo=ZoneInfo("Asia/Kathmandu")).astimezone(UTC)
    timeline = Timeline(
        changed_from(phases=phases, at=at, change=lambda phase: replace(phase, plan=2)),
        "Asia/Kathmandu",
        is_calendar=True,
    )
    period = period_at(timeline=timeline, moment=midnight)

    assert period is not None
    shares = [service.share for service in services_in(timeline=timeline, period=period)]
    assert shares == [Fraction(14, 31), Fraction(17, 31)]


def test_a_day_proration_over_a_clock_change_counts_days_not_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 1, tzinfo=berlin).astimezone(UTC)
    at = datetime(2026, 3, 29, tzinfo=berlin).astimezone(UTC)
    phases = (Phase(start, None, plan=1, cadence=Cadence.MONTH, proration=Proration.DAY),)
    timeline = Timeline(
        changed_from(phases=phases, at=at, change=lambda phase: replace(phase, plan=2)),
        "Europe/Berlin",
        is_calendar=True,
    )
    period = period_at(timeline=timeline, moment=start)

    assert period is not None
    shares = [service.share for service in services_in(timeline=timeline, period=period)]
    assert shares == [Fraction(28, 31), Fraction(3, 31)]


def test_a_change_of_seats_leaves_the_service_of_meters_whole() -> None:
    phases = (Phase(JULY, None, plan=1, cadence=Cadence.MONTH),)
    at = datetime(2026, 7, 11, tzinfo=UTC)
    timeline = Timeline(
        changed_from(phases=phases, at=at, change=lambda phase: replace(phase, quantity=3)), "UTC", is_calendar=True
    )

    [service] = services_in(timeline=timeline, period=Period(JULY, AUGUST))

    assert (service.period, service.share) == (Period(JULY, AUGUST), 1)
    assert [(part.quantity, part.share) for part in service.parts] == [(1, Fraction(10, 31)), (3, Fraction(21, 31))]


def test_a_plan_of_another_cadence_counts_its_periods_from_where_it_begins() -> None:
    start = datetime(2026, 1, 31, 9, tzinfo=UTC)
    at = datetime(2026, 3, 10, tzinfo=UTC)
    phases = (Phase(start, None, plan=1, cadence=Cadence.MONTH),)
    timeline = Timeline(
        changed_from(phases=phases, at=at, change=lambda phase: replace(phase, plan=2, cadence=Cadence.YEAR)),
        "UTC",
        is_calendar=False,
    )

    periods = list(periods_charged(timeline=timeline, until=datetime(2027, 4, 1, tzinfo=UTC)))

    assert [
        (cadence.value, period.start.isoformat()[:10], period.end.isoformat()[:10]) for cadence, period in periods
    ] == [
        ("month", "2026-01-31", "2026-02-28"),
        ("month", "2026-02-28", "2026-03-31"),
        ("year", "2026-03-10", "2027-03-10"),
    ]
