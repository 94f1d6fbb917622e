"""A subscription in time: its phases, the billing periods they are billed in, and how a period is divided between them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from itertools import groupby, pairwise
from zoneinfo import ZoneInfo

from billing_site.kernel.period import Period
from invoicing.core.contract import Cadence
from invoicing.core.cycle import billing_periods, calendar_anchor, period_containing, share_of


class PhaseKind(StrEnum):
    """What a phase is to its customer: only an active one is charged."""

    TRIAL = "trial"
    ACTIVE = "active"
    PAUSED = "paused"


class Proration(StrEnum):
    """How what is owed per billing period is divided where the period is."""

    SECOND = "second"
    DAY = "day"
    NONE = "none"


class TiersOnChange(StrEnum):
    """Where tiers, free units and packages of a service begin that does not begin its billing period."""

    RESET = "reset"
    CARRY = "carry"


@dataclass(frozen=True)
class Phase:
    """A stretch `[starts_at, ends_at)` under one plan version, quantity and kind; `ends_at` None is open."""

    starts_at: datetime
    ends_at: datetime | None
    plan: int
    cadence: Cadence
    proration: Proration = Proration.SECOND
    kind: PhaseKind = PhaseKind.ACTIVE
    quantity: int = 1

    def __post_init__(self) -> None:
        assert self.ends_at is None or self.starts_at < self.ends_at, "a phase lasts"
        assert self.quantity >= 1, "a subscription holds something"

    def holds(self, moment: datetime) -> bool:
        """Say whether the moment is within the phase."""
        return self.starts_at <= moment and (self.ends_at is None or moment < self.ends_at)


@dataclass(frozen=True)
class Timeline:
    """All phases of one subscription, and what its billing periods are counted by."""

    phases: tuple[Phase, ...]
    timezone: str
    is_calendar: bool
    # Of an add-on: from when its parent's periods are counted, where that is not from the first of its own phases.
    counted_from: datetime | None = None

    def __post_init__(self) -> None:
        assert self.phases, "a subscription has a phase"
        assert self.counted_from is None or self.counted_from <= self.phases[0].starts_at, (
            "an add-on begins with its parent or later"
        )
        for one, other in pairwise(self.phases):
            assert one.ends_at == other.starts_at, "phases follow each other without gap or overlap"


@dataclass(frozen=True)
class QuantityService:
    """A part of a billing period with one quantity, and its share of the period."""

    quantity: int
    period: Period
    share: Fraction


@dataclass(frozen=True)
class PlanService:
    """A part of a billing period in which one plan version was charged without interruption; `parts` by quantity."""

    plan: int
    period: Period
    share: Fraction
    parts: tuple[QuantityService, ...]


def changed_from(
    *, phases: Sequence[Phase], at: datetime, until: datetime | None = None, change: Callable[[Phase], Phase]
) -> tuple[Phase, ...]:
    """Return the phases with everything from `at` on, or up to `until`, changed; the rest stays as it was."""
    parts = _cut(phases, at)
    if until is not None:
        parts = _cut(parts, until)
    return joined(
        [
            change(phase) if at <= phase.starts_at and (until is None or phase.starts_at < until) else phase
            for phase in parts
        ]
    )


def _cut(phases: Sequence[Phase], at: datetime) -> list[Phase]:
    parts: list[Phase] = []
    for phase in phases:
        if phase.starts_at < at and phase.holds(at):
            parts += [replace(phase, ends_at=at), replace(phase, starts_at=at)]
        else:
            parts.append(phase)
    return parts


def joined(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Return the phases with neighbours that say the same made one."""
    result: list[Phase] = []
    for phase in phases:
        if result and replace(result[-1], ends_at=phase.ends_at) == replace(phase, starts_at=result[-1].starts_at):
            result[-1] = replace(result[-1], ends_at=phase.ends_at)
        else:
            result.append(phase)
    return tuple(result)


def phase_at(*, phases: Sequence[Phase], moment: datetime) -> Phase | None:
    """Return the phase that holds the moment, or None."""
    return next((phase for phase in phases if phase.holds(moment)), None)


def period_at(*, timeline: Timeline, moment: datetime) -> Period | None:
    """Return the billing period in which the moment is billed, or None where no phase holds it."""
    phase = phase_at(phases=timeline.phases, moment=moment)
    if phase is None:
        return None
    anchor = _anchor(timeline, phase)
    return period_containing(anchor=anchor, cadence=phase.cadence, timezone=timeline.timezone, moment=moment)


def periods_charged(*, timeline: Timeline, until: datetime) -> Iterator[tuple[Cadence, Period]]:
    """Yield the billing periods that have ended by `until` and in which something is charged, with their cadence."""
    for cadence, period in periods_begun(timeline=timeline, until=until):
        if period.end <= until:
            yield cadence, period


def periods_begun(*, timeline: Timeline, until: datetime) -> Iterator[tuple[Cadence, Period]]:
    """Yield the billing periods that begin by `until` and in which something is or will be charged, with their cadence."""
    for cadence, phases in _stretches(timeline.phases):
        active = [phase for phase in phases if phase.kind is PhaseKind.ACTIVE]
        anchor, last = _anchor(timeline, phases[0]), phases[-1].ends_at
        for period in billing_periods(anchor=anchor, cadence=cadence, timezone=timeline.timezone, until=until):
            if last is not None and last <= period.start:
                break
            if any(_within(phase, period) for phase in active):
                yield cadence, period


def services_in(*, timeline: Timeline, period: Period) -> tuple[PlanService, ...]:
    """Return what is charged in a billing period, in the order of time; their shares add up exactly.

    The plan in force when the period begins says how the period is divided. Neighbouring phases of one plan
    version are one service of its meters: a change of quantity does not begin the tiers anew.
    """
    phases = [
        (phase, service)
        for phase in timeline.phases
        if (service := _within(phase, period)) is not None
        and period_at(timeline=timeline, moment=service.start) == period
    ]
    if not phases:
        return ()
    proration = phases[0][0].proration
    result: list[PlanService] = []
    is_first = True
    for phase, service in phases:
        if phase.kind is not PhaseKind.ACTIVE:
            continue
        share = _share(service, period, proration, timezone=timeline.timezone, is_first=is_first)
        is_first = False
        part = QuantityService(phase.quantity, service, share)
        if result and result[-1].plan == phase.plan and result[-1].period.end == service.start:
            before = result.pop()
            whole = Period(before.period.start, service.end)
            result.append(PlanService(phase.plan, whole, before.share + share, _with_part(before.parts, part)))
        else:
            result.append(PlanService(phase.plan, service, share, (part,)))
    return tuple(result)


def _with_part(parts: tuple[QuantityService, ...], part: QuantityService) -> tuple[QuantityService, ...]:
    *earlier, last = parts
    if last.quantity != part.quantity:
        return (*parts, part)
    whole = Period(last.period.start, part.period.end)
    return (*earlier, QuantityService(part.quantity, whole, last.share + part.share))


def _share(service: Period, period: Period, proration: Proration, *, timezone: str, is_first: bool) -> Fraction:
    match proration:
        case Proration.SECOND:
            return share_of(service=service, period=period)
        case Proration.DAY:
            return Fraction(_days(service, timezone), _days(period, timezone))
        case Proration.NONE:
            return Fraction(1 if is_first else 0)


def _days(period: Period, timezone: str) -> int:
    """Count calendar days: the day of a change belongs to what begins on it, so that parts add up to the whole."""
    zone = ZoneInfo(timezone)
    return (period.end.astimezone(zone).date() - period.start.astimezone(zone).date()).days


def _within(phase: Phase, period: Period) -> Period | None:
    start, end = max(phase.starts_at, period.start), min(phase.ends_at or period.end, period.end)
    return Period(start, end) if start < end else None


def _stretches(phases: Sequence[Phase]) -> Iterator[tuple[Cadence, list[Phase]]]:
    """Yield neighbouring phases of one cadence together: their billing periods are counted from where they begin."""
    for cadence, of_cadence in groupby(phases, key=lambda phase: phase.cadence):
        yield cadence, list(of_cadence)


def _anchor(timeline: Timeline, phase: Phase) -> datetime:
    start = next(of_cadence[0] for _, of_cadence in _stretches(timeline.phases) if phase in of_cadence).starts_at
    if timeline.is_calendar:
        return calendar_anchor(start=start, cadence=phase.cadence, timezone=timeline.timezone)
    if timeline.counted_from is not None:
        return timeline.counted_from
    return start


def counted_from(*, timeline: Timeline, moment: datetime) -> datetime:
    """Return from when the billing periods are counted in which a moment of the timeline is billed."""
    phase = phase_at(phases=timeline.phases, moment=moment) or timeline.phases[-1]
    return _anchor(timeline, phase)
