"""Prices of one customer's own, in time: which holds when, and how a new one is laid over those that there are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from billing_site.kernel.period import Period
from invoicing.core.contract import Price
from invoicing.core.phases import Phase, PlanService, Timeline, changed_from, services_in

# Numbers that no plan version has: they stand for a plan with one price replaced.
FIRST_MARK = 10**15


@dataclass(frozen=True)
class Override:
    """A price that is charged during `[starts_at, ends_at)` in place of the one in the plan; `ends_at` None is open."""

    price: Price
    starts_at: datetime
    ends_at: datetime | None


@dataclass(frozen=True)
class PricedService:
    """A part of a service with the price of its own that holds in it, or None for the plan's."""

    service: PlanService
    override: Override | None


def laid_over(*, overrides: Iterable[Override], since: datetime, until: datetime | None) -> tuple[Override, ...]:
    """Return what is left of overrides, in the order of time, where something else holds during `[since, until)`."""
    left = []
    for override in overrides:
        if override.starts_at < since:
            ends_at = since if override.ends_at is None else min(override.ends_at, since)
            left.append(replace(override, ends_at=ends_at))
        if until is not None and (override.ends_at is None or override.ends_at > until):
            left.append(replace(override, starts_at=max(override.starts_at, until)))
    return tuple(sorted(left, key=lambda override: override.starts_at))


def in_force(*, general: Sequence[Override], special: Sequence[Override]) -> tuple[Override, ...]:
    """Return what holds of a customer's overrides where a subscription has some of its own, which come first."""
    left = tuple(general)
    for override in special:
        left = laid_over(overrides=left, since=override.starts_at, until=override.ends_at)
    return tuple(sorted((*left, *special), key=lambda override: override.starts_at))


def priced_services(
    *, timeline: Timeline, period: Period, service: PlanService, overrides: Sequence[Override]
) -> tuple[PricedService, ...]:
    """Divide a service of a billing period where another price begins or ends to hold, as a change of plan would.

    The overrides do not overlap; the shares of the parts add up to the service's own.
    """
    phases = timeline.phases
    for number, override in enumerate(overrides, start=FIRST_MARK):
        phases = _marked(phases, override, plan=service.plan, mark=number)
    marked = dict(enumerate(overrides, start=FIRST_MARK))
    parts = [
        PricedService(replace(part, plan=service.plan), marked.get(part.plan))
        for part in services_in(timeline=replace(timeline, phases=phases), period=period)
        if service.period.start <= part.period.start and part.period.end <= service.period.end
    ]
    assert sum(part.service.share for part in parts) == service.share, "parts of a service add up to it"
    return tuple(parts)


def _marked(phases: tuple[Phase, ...], override: Override, *, plan: int, mark: int) -> tuple[Phase, ...]:
    """Give the phases of a plan another number while an override holds."""
    return changed_from(
        phases=phases,
        at=override.starts_at,
        until=override.ends_at,
        change=lambda phase: replace(phase, plan=mark) if phase.plan == plan else phase,
    )
