"""Whether a customer has heard of what is coming: nothing is taken from somebody who was never told, nor sooner than the notice said."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from django.db.models.functions import Lower

from dunning.cases.models import CaseStep, DunningCase
from dunning.core.calendar import local_day, local_moment
from dunning.core.case_life import CaseState
from dunning.core.notice_life import NoticeState
from dunning.notices.models import MailEventKind, Notice
from dunning.notices.queries import blocked_addresses
from dunning.telling import REFERENCE

# What a case says that waits for it: the queue of the index finds it by these words.
NEVER_TOLD = "was never told"
TOLD_LATE = "was told late"


@dataclass(frozen=True)
class NotTold:
    """Why the step that is next would find somebody who was not told in time, and until when; None: until a notice arrives."""

    why: str
    until: datetime | None = None


def why_not_told(*, case: DunningCase, at: datetime) -> str:
    """Return why the step that is next would take something from somebody who was not told in time; "" where it may be taken.

    At least one notice of an earlier step of the case was sent to an address that works. By as many days as all of them were
    sent later than they were decided, the step is put off: the notice keeps its distance to what it tells of.
    """
    not_told = all_not_told(cases=[case], at=at).get(case.pk)
    return not_told.why if not_told else ""


def all_not_told(*, cases: Iterable[DunningCase], at: datetime) -> dict[int, NotTold]:
    """Return the same of each case whose next step is not to be taken, by its number; three queries, however many they are."""
    grave = [case for case in cases if _is_grave(case)]
    steps: dict[int, list[CaseStep]] = {case.pk: [] for case in grave}
    for step in CaseStep.objects.filter(case__in=list(steps)).exclude(notice="").order_by("case", "number"):
        steps[step.case_id].append(step)
    references = [_reference(step) for those in steps.values() for step in those]
    notices = Notice.objects.filter(reference__in=references)
    sent_at = _sent_at(notices)
    newest = {
        notice.reference.rpartition(":")[0]: notice
        for notice in notices.defer("text", "html", "told").order_by("planned_at", "pk")
    }
    found: dict[int, NotTold] = {}
    for case in grave:
        not_told = _not_told(case, steps[case.pk], sent_at, newest.get(f"{REFERENCE}{case.pk}"), at=at)
        if not_told is not None:
            found[case.pk] = not_told
    return found


def days_heard_late(*, case: DunningCase, steps: Sequence[CaseStep]) -> int | None:
    """Return by how many days the notice of these steps that came soonest was sent later than it was decided; None: none was sent that arrived."""
    notices = Notice.objects.filter(reference__in=[_reference(step) for step in steps])
    return _days_late(steps, _sent_at(notices), ZoneInfo(case.customer.timezone))


def _is_grave(case: DunningCase) -> bool:
    if case.next_number is None or case.next_due_at is None:
        return False
    return case.policy.read.steps[case.next_number - 1].is_grave


def _not_told(
    case: DunningCase,
    steps: Sequence[CaseStep],
    sent_at: Mapping[str, datetime],
    newest: Notice | None,
    *,
    at: datetime,
) -> NotTold | None:
    assert case.next_due_at is not None, "a step that is next has its day"
    zone = ZoneInfo(case.customer.timezone)
    late = _days_late(steps, sent_at, zone)
    if late is None:
        return NotTold(f"{NEVER_TOLD} ({_what_became_of_it(newest)})")
    first_day = local_day(at=case.next_due_at, zone=zone) + timedelta(days=late)
    if first_day <= local_day(at=at, zone=zone):
        return None
    until = local_moment(day=first_day, hour=time(), zone=zone)
    return NotTold(f"{TOLD_LATE}: not before {first_day}", until)


def _sent_at(notices: "QuerySet[Notice]") -> dict[str, datetime]:
    """Return when those of the notices that were sent and arrived were, by their references."""
    bounced = blocked_addresses().filter(event__kind=MailEventKind.BOUNCE).values("address")
    sent = (
        notices.filter(state=NoticeState.SENT.value)
        .exclude(events__kind=MailEventKind.BOUNCE)
        .alias(address=Lower("to_address"))
        .exclude(address__in=bounced)
    )
    return {
        reference: moment for reference, moment in sent.values_list("reference", "sending_at") if moment is not None
    }


def _days_late(steps: Sequence[CaseStep], sent_at: Mapping[str, datetime], zone: ZoneInfo) -> int | None:
    late = [
        (local_day(at=sent_at[reference], zone=zone) - local_day(at=step.done_at, zone=zone)).days
        for step in steps
        if (reference := _reference(step)) in sent_at
    ]
    return max(0, min(late)) if late else None


def _reference(step: CaseStep) -> str:
    return f"{REFERENCE}{step.case_id}:{step.number}"


def _what_became_of_it(newest: Notice | None) -> str:
    if newest is None:
        return "no step before this one wrote to the customer"
    if newest.state == NoticeState.SENT:
        return f"{newest.get_kind_display()} went to {newest.to_address}, which bounces"
    why = f", {newest.why}" if newest.why else ""
    return f"{newest.get_kind_display()} is {newest.get_state_display().lower()}{why}"


def cases_never_told() -> "QuerySet[DunningCase]":
    """Return the cases that wait because no notice has reached their customer: somebody mends its address, or goes on by hand."""
    cases = DunningCase.objects.filter(state=CaseState.OPEN, waits_because__startswith=NEVER_TOLD)
    return cases.select_related("customer").order_by("next_due_at", "pk")
