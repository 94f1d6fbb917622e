"""When steps are due where the customer is: both policies of the requirements day by day, over changes of the clock."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dunning.core.calendar import Anchor, days_late, due_at, first_allowed, is_allowed, local_day, local_moment, plan
from dunning.core.policy import SHORT, STANDARD, Act, PolicyTerms, Step

KATHMANDU, SAO_PAULO, NEW_YORK = (
    ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("America/Sao_Paulo"),
    ZoneInfo("America/New_York"),
)
ZONES = (KATHMANDU, SAO_PAULO, NEW_YORK)
# New York: clocks go forward on the 8th of March 2026 and back on the 1st of November; São Paulo's did in 2018, at midnight.
DUE_DATES = (date(2026, 2, 20), date(2026, 10, 18), date(2018, 10, 20), date(2018, 2, 10), date(2028, 2, 27))


def calendar(terms: PolicyTerms, anchor: Anchor, zone: ZoneInfo) -> list[tuple[int, str, str]]:
    """The steps as (days after the day that counts, local hour, act)."""
    return [
        (
            (one.due_at.astimezone(zone).date() - anchor.day).days,
            one.due_at.astimezone(zone).strftime("%H:%M"),
            one.step.act.value,
        )
        for one in plan(terms=terms, anchor=anchor, zone=zone)
    ]


@pytest.mark.requirement("S1-021")
@pytest.mark.requirement("S1-022")
@pytest.mark.requirement("S1-023")
@pytest.mark.requirement("S1-024")
@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("due_date", DUE_DATES, ids=str)
def test_the_short_policy_reminds_warns_restricts_and_suspends_on_days_1_4_7_and_8(
    zone: ZoneInfo, due_date: date
) -> None:
    expected = [(1, "09:00", "notice"), (4, "09:00", "notice"), (7, "09:00", "restrict"), (8, "09:00", "suspend")]

    assert calendar(SHORT, Anchor(due_date), zone) == expected
    refused_at = local_moment(day=due_date, hour=time(13, 30), zone=zone)
    assert calendar(SHORT, Anchor(due_date, refused_at), zone) == expected


@pytest.mark.requirement("S0-125")
@pytest.mark.requirement("S0-127")
@pytest.mark.requirement("S0-129")
@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("day", DUE_DATES, ids=str)
def test_the_standard_policy_tells_at_once_suspends_on_day_14_and_closes_on_day_28(zone: ZoneInfo, day: date) -> None:
    rest = [
        (3, "09:00", "notice"),
        (7, "09:00", "notice"),
        (11, "09:00", "notice"),
        (14, "09:00", "suspend"),
        (21, "09:00", "notice"),
        (28, "09:00", "close"),
    ]

    refused_at = local_moment(day=day, hour=time(13, 30), zone=zone)
    assert calendar(STANDARD, Anchor(day, refused_at), zone) == [(0, "13:30", "notice"), *rest]
    # Who has the whole due date to pay is late on the day after.
    assert calendar(STANDARD, Anchor(day), zone) == [(1, "09:00", "notice"), *rest]


def test_a_change_of_the_clock_moves_the_moment_in_utc_and_not_the_local_hour() -> None:
    before, after = (
        due_at(step=Step(day, Act.SUSPEND), anchor=Anchor(date(2026, 3, 1)), delay_days=0, terms=SHORT, zone=NEW_YORK)
        for day in (6, 7)
    )

    assert (before, after) == (datetime(2026, 3, 7, 14, tzinfo=UTC), datetime(2026, 3, 8, 13, tzinfo=UTC))


def test_an_hour_that_the_clock_leaves_out_is_later_and_one_that_comes_twice_is_the_first() -> None:
    skipped = local_moment(day=date(2026, 3, 8), hour=time(2, 30), zone=NEW_YORK)
    twice = local_moment(day=date(2026, 11, 1), hour=time(1, 30), zone=NEW_YORK)

    assert skipped.astimezone(NEW_YORK).strftime("%d %H:%M") == "08 03:30"
    assert twice == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


def test_business_days_put_off_and_never_draw_nearer_nor_together() -> None:
    terms = replace(SHORT, business_days=True, holidays=(date(2026, 8, 17),))
    # The 14th of August 2026 is a Friday: day 1 is a Saturday, and the Monday after is a holiday.
    steps = plan(terms=terms, anchor=Anchor(date(2026, 8, 14)), zone=KATHMANDU)

    assert [str(local_day(at=one.due_at, zone=KATHMANDU)) for one in steps] == [
        "2026-08-18",
        "2026-08-19",
        "2026-08-21",
        "2026-08-24",
    ]


def test_a_week_may_end_on_another_day() -> None:
    terms = replace(SHORT, business_days=True, weekend=(5,))

    first = plan(terms=terms, anchor=Anchor(date(2026, 8, 14)), zone=KATHMANDU)[0]

    assert local_day(at=first.due_at, zone=KATHMANDU) == date(2026, 8, 16)


@pytest.mark.parametrize(
    ("hour", "expected"),
    [("07:59", "14 08:00"), ("08:00", "14 08:00"), ("19:59", "14 19:59"), ("20:00", "15 08:00"), ("23:59", "15 08:00")],
)
def test_what_falls_into_the_quiet_hours_comes_when_they_are_over(hour: str, expected: str) -> None:
    at = local_moment(day=date(2026, 8, 14), hour=time.fromisoformat(hour), zone=SAO_PAULO)

    moment = first_allowed(at=at, terms=STANDARD, zone=SAO_PAULO)

    assert moment.astimezone(SAO_PAULO).strftime("%d %H:%M") == expected


@given(
    at=some.datetimes(datetime(2018, 1, 1), datetime(2029, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),
    zone=some.sampled_from(ZONES),
    business_days=some.booleans(),
    quiet=some.tuples(some.times(), some.times()),
)
def test_nothing_is_ever_done_earlier_than_it_is_due_nor_when_it_may_not_be(
    at: datetime, zone: ZoneInfo, business_days: bool, quiet: tuple[time, time]
) -> None:
    terms = replace(STANDARD, business_days=business_days, quiet_from=quiet[0], quiet_until=quiet[1])
    midday = [hour for hour in (time(9), time(3), time(15), time(21)) if is_allowed_hour(hour, quiet)]
    if not midday:
        return
    terms = replace(terms, at_hour=midday[0])

    moment = first_allowed(at=at, terms=terms, zone=zone)

    assert moment >= at
    assert is_allowed(at=moment, terms=terms, zone=zone)


def is_allowed_hour(hour: time, quiet: tuple[time, time]) -> bool:
    begins, ends = quiet
    return not (begins <= hour < ends) if begins <= ends else ends <= hour < begins


def test_what_was_done_late_keeps_its_distance_to_what_follows() -> None:
    anchor = Anchor(date(2026, 8, 14))
    first = plan(terms=SHORT, anchor=anchor, zone=NEW_YORK)[0]
    done = first.due_at + timedelta(days=5)
    delay = days_late(due=first.due_at, done=done, zone=NEW_YORK)

    later = plan(terms=SHORT, anchor=anchor, zone=NEW_YORK, done=1, delay_days=delay)

    assert delay == 5
    assert [(local_day(at=one.due_at, zone=NEW_YORK) - local_day(at=done, zone=NEW_YORK)).days for one in later] == [
        3,
        6,
        7,
    ]


def test_a_step_done_minutes_after_it_was_due_delays_nothing() -> None:
    due = local_moment(day=date(2026, 8, 14), hour=time(9), zone=NEW_YORK)

    assert days_late(due=due, done=due + timedelta(hours=14), zone=NEW_YORK) == 0
    assert days_late(due=due, done=due + timedelta(hours=15), zone=NEW_YORK) == 1
