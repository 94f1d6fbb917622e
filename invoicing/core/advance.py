"""Which invoice takes the fees of a billing period in advance: that of the period before it, or an opening one."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from billing_site.kernel.period import Period
from invoicing.core.cycle import period_before
from invoicing.core.phases import PlanService, Timeline, periods_begun, services_in


@dataclass(frozen=True)
class AdvancePeriod:
    """A billing period with what is charged in it as agreed now, and the period on whose invoice its fees ride.

    An opening one is the period of the same cadence that ends where service begins: nothing of the subscription is charged in it.
    """

    period: Period
    services: tuple[PlanService, ...]
    rides_on: Period
    is_opening: bool


def periods_in_advance(*, timeline: Timeline, until: datetime) -> Iterator[AdvancePeriod]:
    """Yield the billing periods that begin by `until`, each with the period on whose invoice its fees would ride.

    That is the charged period before it where service goes on from there; at the start, after a trial or a pause, and
    where the period before ends later (a year that became months), an opening one.
    """
    before: Period | None = None
    told: set[Period] = set()
    for cadence, period in periods_begun(timeline=timeline, until=until):
        services = services_in(timeline=timeline, period=period)
        # A month in which the plan was billed by the year for some days comes up before and after them.
        if not services or period in told:
            continue
        told.add(period)
        begins = services[0].period.start
        is_opening = before is None or not begins <= before.end < period.end
        if is_opening or before is None:
            rides_on = period_before(moment=begins, cadence=cadence, timezone=timeline.timezone)
        else:
            rides_on = before
        yield AdvancePeriod(period, services, rides_on, is_opening)
        before = period
