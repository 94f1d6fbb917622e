"""Whether a customer has heard of what is coming: nothing is taken from somebody who was never told, nor sooner than the notice said."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from django.db.models.functions import Lower

from dunning.cases.models import CaseStep, DunningCase
from dunning.core.calendar import local_day
from dunning.core.case_life import CaseState
from dunning.core.notice_life import NoticeState
from dunning.notices.models import MailEventKind, Notice
from dunning.notices.queries import blocked_addresses
from dunning.telling import REFERENCE

# What a case says that waits for it: the queue of the index finds it by these words.
NEVER_TOLD = "was never told"
TOLD_LATE = "was told late"


def why_not_told(*, case: DunningCase, at: datetime) -> str:
    """Return why the step that is next would take something from somebody who was not told in time; "" where it may be taken.

    At least one notice of an earlier step of the case was sent to an address that works. By as many days as all of them were
    sent later than they were decided, the step is put off: the notice keeps its distance to what it tells of.
    """
    if case.next_number is None or case.next_due_at is None:
        return ""
    if not case.policy.read.steps[case.next_number - 1].is_grave:
        return ""
    steps = list(case.steps.exclude(notice="").order_by("number"))
    late = days_heard_late(case=case, steps=steps)
    if late is None:
        return f"{NEVER_TOLD}: {_what_became_of_it(case, steps)}"
    zone = ZoneInfo(case.customer.timezone)
    first_day = local_day(at=case.next_due_at, zone=zone) + timedelta(days=late)
    return "" if first_day <= local_day(at=at, zone=zone) else f"{TOLD_LATE}: not before {first_day}"


def days_heard_late(*, case: DunningCase, steps: Sequence[CaseStep]) -> int | None:
    """Return by how many days the notice of these steps that came soonest was sent later than it was decided; None: none was sent that arrived."""
    bounced = blocked_addresses().filter(event__kind=MailEventKind.BOUNCE).values("address")
    sent = (
        _notices(case, steps)
        .filter(state=NoticeState.SENT.value)
        .exclude(events__kind=MailEventKind.BOUNCE)
        .alias(address=Lower("to_address"))
        .exclude(address__in=bounced)
    )
    sent_at = {notice.reference: notice.sending_at for notice in sent if notice.sending_at is not None}
    zone = ZoneInfo(case.customer.timezone)
    late = [
        (local_day(at=sent_at[reference], zone=zone) - local_day(at=step.done_at, zone=zone)).days
        for step in steps
        if (reference := _reference(step)) in sent_at
    ]
    return max(0, min(late)) if late else None


def _notices(case: DunningCase, steps: Sequence[CaseStep]) -> "QuerySet[Notice]":
    return Notice.objects.filter(customer=case.customer_id, reference__in=[_reference(step) for step in steps])


def _reference(step: CaseStep) -> str:
    return f"{REFERENCE}{step.case_id}:{step.number}"


def _what_became_of_it(case: DunningCase, steps: Sequence[CaseStep]) -> str:
    newest = _notices(case, steps).order_by("-planned_at", "-pk").first()
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
