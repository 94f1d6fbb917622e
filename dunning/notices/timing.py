"""Whether a notice still fits the moment at which it is sent: hours in which nobody is written to, a newer notice, the day that it names."""

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from billing_site.kernel.written_query import WrittenObjects
from dunning.cases.models import CaseStep, DunningCase, Outcome
from dunning.cases.operations import steps_to_come
from dunning.core.calendar import first_allowed, local_day, next_grave_day
from dunning.core.case_life import LIVE
from dunning.hearing import days_heard_late
from dunning.notices.models import Notice
from dunning.telling import REFERENCE

_OF_A_STEP = re.compile(rf"{REFERENCE}(\d+):(\d+)")


def superseded(*, step: CaseStep | None) -> str:
    """Return why the notice of a step is not sent any more: a later one of its case says more; "" where it is the newest, or of no step."""
    if step is None:
        return ""
    later = step.case.steps.filter(number__gt=step.number, outcome=Outcome.DONE).exclude(notice="")
    newer = later.order_by("number").first()
    return f"superseded before it was sent: {newer}, {newer.done_at:%Y-%m-%d}" if newer else ""


def quiet_until(*, notice: Notice, at: datetime) -> datetime | None:
    """Return when a notice of dunning may be sent, where its customer is not written to now; None: now."""
    if not notice.reference.startswith(REFERENCE):
        return None
    case = _LIVE_CASE.first(customer=notice.customer_id)
    if case is None:
        return None
    allowed = first_allowed(at=at, terms=case.policy.read, zone=ZoneInfo(notice.customer.timezone))
    return allowed if allowed > at else None


def day_to_name(*, notice: Notice, step: CaseStep | None, at: datetime) -> date | None:
    """Return the day that a notice, of this step, names when it is sent now: none that is over, and that of a step as it will be after a mail that comes late."""
    if notice.acts_on is None:
        return None
    zone = ZoneInfo(notice.customer.timezone)
    today, acts_on = local_day(at=at, zone=zone), notice.acts_on
    if step is not None:
        planned = next_grave_day(later=steps_to_come(case=step.case), zone=zone)
        if planned is None:
            return None
        earlier = step.case.steps.filter(number__lt=step.number).exclude(notice="")
        heard = days_heard_late(case=step.case, steps=list(earlier))
        late = (today - local_day(at=step.done_at, zone=zone)).days
        acts_on = planned + timedelta(days=max(0, late if heard is None else min(late, heard)))
    return acts_on if acts_on >= today else None


def step_of(*, notice: Notice) -> CaseStep | None:
    """Return the step that a notice tells of; None where it tells of something else."""
    found = _OF_A_STEP.fullmatch(notice.reference)
    if found is None:
        return None
    return _STEP.first(case=int(found[1]), number=int(found[2]), customer=notice.customer_id)


# Asked for each mail: written once.
_LIVE_CASE = WrittenObjects(
    lambda customer: (
        DunningCase.objects.filter(customer=customer, state__in=LIVE).select_related("policy").order_by("pk")[:1]
    ),
    customer=int,
)
_STEP = WrittenObjects(
    lambda case, number, customer: CaseStep.objects.select_related("case__customer", "case__policy").filter(
        case=case, number=number, case__customer=customer
    ),
    case=int,
    number=int,
    customer=int,
)
