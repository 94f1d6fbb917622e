"""Which cases have a step whose time has come and that nothing arranged is against: found in a few queries, whatever the number of cases."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.db.models import F

from dunning.arrangements.models import Hold
from dunning.arrangements.queries import holds_at, open_promises
from dunning.cases.models import DunningCase
from dunning.cases.operations import wait
from dunning.core.calendar import QUIET, is_allowed
from dunning.core.case_life import CaseState

PROMISED = "the customer has promised to pay"


def arranged_against(*, hold: Hold | None, is_promised: bool) -> str:
    """Return what people have arranged that the next step of a case waits for, also before its day; "": nothing."""
    if hold is not None:
        return f"held: {hold}"
    return PROMISED if is_promised else ""


def why_not_now(*, case: DunningCase, hold: Hold | None, is_promised: bool, at: datetime) -> str:
    """Return what is against taking any step of a case at a moment; "": nothing."""
    arranged = arranged_against(hold=hold, is_promised=is_promised)
    if arranged:
        return arranged
    return "" if is_allowed(at=at, terms=case.policy.read, zone=ZoneInfo(case.customer.timezone)) else QUIET


def due_cases(*, at: datetime) -> list[int]:
    """Return the cases whose next step is due, those that were looked at longest ago first; of one that waits, why is kept on it.

    Before the step is taken all is read again, locked.
    """
    due = DunningCase.objects.filter(state=CaseState.OPEN, next_due_at__lte=at).select_related("customer", "policy")
    cases = list(due.order_by(F("looked_at").asc(nulls_first=True), "next_due_at", "pk"))
    holds: dict[int, Hold] = {}
    for hold in holds_at(at=at).filter(customer__in=[case.customer_id for case in cases]).order_by("-starts_at", "-id"):
        # The first one stays: as `hold_of` has it.
        holds[hold.customer_id] = hold
    promised = set(open_promises().filter(case__in=[case.pk for case in cases]).values_list("case", flat=True))
    found = []
    for case in cases:
        because = why_not_now(case=case, hold=holds.get(case.customer_id), is_promised=case.pk in promised, at=at)
        if because:
            wait(case=case, because=because)
        else:
            found.append(case.pk)
    return found
