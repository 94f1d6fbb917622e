"""When the steps of a case come at the earliest, as things are: what waits does not come on the day that the policy has it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from dunning.arrangements.queries import days_of_promises, holds_at
from dunning.cases.models import DunningCase
from dunning.cases.operations import last_step, steps_after
from dunning.core.calendar import Planned, first_allowed, local_moment, next_weekday, plan_after
from dunning.hearing import all_not_told


@dataclass(frozen=True)
class Earliest:
    """A step that is to come, with the first moment at which it can be taken; `waits` where that is not the day that was planned, or something is against it,
    `waits_for_somebody` where nobody knows the end of that: a hold until it is lifted, an address that is to be mended.
    """

    planned: Planned
    waits: bool
    waits_for_somebody: bool


def hindered_until(*, cases: Collection[DunningCase], at: datetime) -> dict[int, datetime]:
    """Return from when on the next step of each case that something is against can be taken, by its number; a bounded number of queries.

    That is when its hold ends, when the day after the instalment that is waited for is over without it, and when the notice has kept its
    distance. What nobody knows the end of, a hold until it is lifted or an address that is mended, may end now.
    """
    found = {
        number: not_told.until if not_told.until and not_told.until > at else at
        for number, not_told in all_not_told(cases=cases, at=at).items()
    }
    zones = {case.pk: ZoneInfo(case.customer.timezone) for case in cases}
    for number, day in days_of_promises(cases=list(zones)).items():
        broken_on = next_weekday(day=day) + timedelta(days=1)
        broken_at = local_moment(day=broken_on, hour=time(), zone=zones[number])
        found[number] = max(at, broken_at, found.get(number, at))
    of_customers = {case.customer_id: case.pk for case in cases}
    for hold in holds_at(at=at).filter(customer__in=list(of_customers)):
        number = of_customers[hold.customer_id]
        found[number] = max(hold.until or at, found.get(number, at))
    return found


def next_at_the_earliest(
    *, case: DunningCase, hindered: Mapping[int, datetime], at: datetime
) -> tuple[datetime | None, bool]:
    """Return when the next step of a case comes at the earliest, and whether it waits; None where none is to come."""
    if case.next_due_at is None:
        return None, False
    begins = max(at, hindered.get(case.pk, at), case.next_due_at)
    comes_at = first_allowed(at=begins, terms=case.policy.read, zone=ZoneInfo(case.customer.timezone))
    return comes_at, case.pk in hindered or comes_at > case.next_due_at


def steps_at_the_earliest(*, case: DunningCase, at: datetime) -> Sequence[Earliest]:
    """Return what is still to come of a case, each at its earliest: what follows a step that waits keeps its distance to it."""
    last = last_step(case=case)
    ahead = steps_after(case=case, last=last)
    hindered = hindered_until(cases=[case], at=at)
    comes_at, waits = next_at_the_earliest(case=case, hindered=hindered, at=at)
    if not ahead or comes_at is None:
        return []
    first, later = ahead[0], ahead[1:]
    if comes_at > first.due_at:
        _, later = plan_after(
            taken=first,
            done_at=comes_at,
            terms=case.policy.read,
            anchor=case.anchor,
            zone=ZoneInfo(case.customer.timezone),
            delay_days=last.delay_days if last else 0,
        )
    for_somebody = hindered.get(case.pk) == at
    return [Earliest(replace(one, due_at=max(comes_at, one.due_at)), waits, for_somebody) for one in (first, *later)]
