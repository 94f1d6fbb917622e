"""When a step is due where the customer is: local dates and hours, so that a change of the clock moves nothing to another day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dunning.core.policy import PolicyTerms, Step

# Why something waits for its hour.
QUIET = "quiet hours, or a day off, where the customer is"
# Quiet hours, weekends and holidays in a row never put anything off for longer.
PUT_OFF_MAX = 60


@dataclass(frozen=True)
class Anchor:
    """The day from which the days of a debt are counted: its due date, or that of a refused charge at a moment."""

    day: date
    refused_at: datetime | None = None


@dataclass(frozen=True)
class Planned:
    """A step that is to come, its place in the policy (from 1), and when it is due."""

    number: int
    step: Step
    due_at: datetime


def local_moment(*, day: date, hour: time, zone: ZoneInfo) -> datetime:
    """Return a local hour in UTC; one that the change of the clock leaves out is so much later, of one that comes twice the first."""
    return datetime.combine(day, hour, zone).astimezone(UTC)


def local_day(*, at: datetime, zone: ZoneInfo) -> date:
    """Return which day it is there."""
    return at.astimezone(zone).date()


def is_allowed(*, at: datetime, terms: PolicyTerms, zone: ZoneInfo) -> bool:
    """Say whether anything may be done at a moment: not in the quiet hours, with business days on no day off."""
    local = at.astimezone(zone)
    return _is_working(local.date(), terms) and not _is_quiet(local.time(), terms)


def first_allowed(*, at: datetime, terms: PolicyTerms, zone: ZoneInfo) -> datetime:
    """Return the first moment from a moment on at which something may be done: never an earlier one."""
    moment = at
    for _ in range(PUT_OFF_MAX):
        local = moment.astimezone(zone)
        if not _is_working(local.date(), terms):
            moment = local_moment(day=local.date() + timedelta(days=1), hour=terms.at_hour, zone=zone)
        elif _is_quiet(local.time(), terms):
            is_evening = local.time() >= terms.quiet_until
            day = local.date() + timedelta(days=1 if is_evening else 0)
            moment = local_moment(day=day, hour=terms.quiet_until, zone=zone)
            if moment <= at:
                # The hour comes twice, and this is the second time: a day later it is past.
                moment = local_moment(day=day + timedelta(days=1), hour=terms.quiet_until, zone=zone)
        else:
            return moment
    raise AssertionError("a policy leaves days on which something may be done")


def due_at(*, step: Step, anchor: Anchor, delay_days: int, terms: PolicyTerms, zone: ZoneInfo) -> datetime:
    """Return when a step is due, so many days later than planned as the steps before it were done.

    Whoever was not refused has until the end of the due date: for him the first day is day 1. Day 0 of a refusal is at once.
    """
    if anchor.refused_at is not None and step.day == 0 and delay_days == 0:
        return first_allowed(at=anchor.refused_at, terms=terms, zone=zone)
    days = step.day if anchor.refused_at is not None else max(step.day, 1)
    day = anchor.day + timedelta(days=days + delay_days)
    return first_allowed(at=local_moment(day=day, hour=terms.at_hour, zone=zone), terms=terms, zone=zone)


def plan(
    *,
    terms: PolicyTerms,
    anchor: Anchor,
    zone: ZoneInfo,
    done: int = 0,
    done_on: date | None = None,
    delay_days: int = 0,
) -> Sequence[Planned]:
    """Return the steps that are to come after so many are done, the last of them on a day, in their order.

    Steps of different days never fall on one day, also where days off put them off to the same one.
    """
    found: list[Planned] = []
    last_day, last_on = (terms.steps[done - 1].day if done else -1), done_on
    for number, step in enumerate(terms.steps[done:], start=done + 1):
        due = due_at(step=step, anchor=anchor, delay_days=delay_days, terms=terms, zone=zone)
        if last_on is not None and step.day > last_day and local_day(at=due, zone=zone) <= last_on:
            next_day = local_moment(day=last_on + timedelta(days=1), hour=terms.at_hour, zone=zone)
            due = first_allowed(at=next_day, terms=terms, zone=zone)
        last_day, last_on = step.day, local_day(at=due, zone=zone)
        found.append(Planned(number, step, due))
    return found


def plan_after(
    *, taken: Planned, done_at: datetime, terms: PolicyTerms, anchor: Anchor, zone: ZoneInfo, delay_days: int
) -> tuple[int, Sequence[Planned]]:
    """Return by how many days what follows a step is late once that is taken at a moment, and when it is due then.

    `delay_days` are those of the steps before it.
    """
    delay = delay_days + days_late(due=taken.due_at, done=done_at, zone=zone)
    done_on = local_day(at=done_at, zone=zone)
    ahead = plan(terms=terms, anchor=anchor, zone=zone, done=taken.number, done_on=done_on, delay_days=delay)
    return delay, ahead


def next_grave_day(*, later: Sequence[Planned], zone: ZoneInfo) -> date | None:
    """Return the day of the next step that takes something from the customer, where it is; None: none is to come."""
    return next((local_day(at=one.due_at, zone=zone) for one in later if one.step.is_grave), None)


def days_late(*, due: datetime, done: datetime, zone: ZoneInfo) -> int:
    """Return by how many local days something was done later than it was due: what follows keeps its distance from it."""
    return max(0, (local_day(at=done, zone=zone) - local_day(at=due, zone=zone)).days)


def next_weekday(*, day: date) -> date:
    """Return the next day after a day on which banks work, as far as the week says."""
    found = day + timedelta(days=1)
    while found.isoweekday() > 5:
        found += timedelta(days=1)
    return found


def _is_working(day: date, terms: PolicyTerms) -> bool:
    return not terms.business_days or (day.weekday() not in terms.weekend and day not in terms.holidays)


def _is_quiet(hour: time, terms: PolicyTerms) -> bool:
    if terms.quiet_from <= terms.quiet_until:
        return terms.quiet_from <= hour < terms.quiet_until
    return hour >= terms.quiet_from or hour < terms.quiet_until
