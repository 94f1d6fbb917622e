"""Make the file of what is handed over, log who takes it, and ask the next one of the house when nothing came of the last."""

import hashlib
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.reasons import checked_reason
from dunning.cases.arrears import debts_of, owed
from dunning.cases.models import SWEEP, DunningCase
from dunning.cases.operations import lock_case
from dunning.core.calendar import local_day
from dunning.core.case_life import LIVE, CaseState
from dunning.handover.contents import zipped
from dunning.handover.models import Escalation, HandOverDownload, HandOverFile

OWNER_MAX = 200
# From then on only people go on with a case.
ENDED = (CaseState.EXHAUSTED, CaseState.HANDED_OVER)


def make_files(*, at: datetime) -> int:
    """Make the file of each case that is handed over and has none; returns how many. Twice makes none twice."""
    cases = DunningCase.objects.filter(state=CaseState.HANDED_OVER, hand_over_file=None)
    return sum(_make(case, at=at) for case in cases.select_related("customer__legal_entity", "policy").order_by("pk"))


def _make(case: DunningCase, *, at: datetime) -> bool:
    debts = debts_of(customers=[case.customer_id], at=at).get(case.customer_id, [])
    if not debts:
        # Paid, or objected to: it is closed at the next sweep.
        return False
    content = zipped(case=case, debts=debts, at=at)
    _, is_new = HandOverFile.objects.get_or_create(
        case=case,
        defaults={
            "name": f"hand-over-{case.customer.key}-{case.pk}.zip",
            "made_at": at,
            "currency": case.customer.currency,
            "amount": owed(debts, currency=case.customer.currency),
            "content": content,
            "digest": hashlib.sha256(content).hexdigest(),
        },
    )
    return is_new


@transaction.atomic
def take_file(*, case_id: int, at: datetime, actor: str) -> HandOverFile:
    """Return the file of a case for whoever downloads it, and write that down. Raises NotFound, and Conflict where it is not what was made."""
    file = HandOverFile.objects.filter(case=case_id).first()
    if file is None:
        raise NotFound("there is no file yet: it is made within minutes of the hand-over", field="case")
    if hashlib.sha256(bytes(file.content)).hexdigest() != file.digest:
        raise Conflict("the file is not the one that was made: its digest differs", field="case")
    HandOverDownload.objects.create(file=file, downloaded_at=at, actor=actor)
    return file


@transaction.atomic
def assign_case(*, case_id: int, owner: str, until: date, at: datetime, actor: str, reason: str) -> Escalation:
    """Ask somebody to do something about a case until the end of a day, in place of who was asked before. Raises InvalidInput, Conflict."""
    said = checked_reason(reason=reason)
    case = lock_case(case_id=case_id)
    if not case.is_live:
        raise Conflict("the case is closed: nobody is asked about it", field="case")
    if not owner.strip() or len(owner) > OWNER_MAX:
        raise InvalidInput(f"name somebody, in at most {OWNER_MAX} characters", field="owner")
    if until < local_day(at=at, zone=ZoneInfo(case.customer.timezone)):
        raise InvalidInput("that day is over", field="until")
    present = _open(case)
    level = present.level if present else 0
    if present is not None:
        _end(present, at=at, actor=actor, because=said)
    return Escalation.objects.create(
        case=case, level=level, owner=owner.strip(), until=until, began_at=at, actor=actor, reason=said
    )


def escalate(*, at: datetime) -> int:
    """Ask the first of the path about cases that only people go on with, and the next one where nothing came of it by its day; returns how many.

    Of the last one nobody is asked after: that stands in the queue. A case that is closed asks nobody any more.
    """
    ended = DunningCase.objects.filter(state__in=ENDED).values_list("pk", flat=True)
    asked = Escalation.objects.filter(ended_at=None).values_list("case", flat=True)
    return sum(_escalate(case_id, at=at) for case_id in sorted({*ended, *asked}))


@transaction.atomic
def _escalate(case_id: int, *, at: datetime) -> bool:
    case = lock_case(case_id=case_id)
    present, today = _open(case), local_day(at=at, zone=ZoneInfo(case.customer.timezone))
    if CaseState(case.state) not in LIVE:
        if present is not None:
            _end(present, at=at, actor=SWEEP, because=f"the case is {case.state}")
        return False
    path, level = case.policy.read.escalation, present.level if present else 0
    if present is None and CaseState(case.state) not in ENDED:
        return False
    if (present is not None and present.until >= today) or level >= len(path):
        return False
    if present is not None:
        _end(present, at=at, actor=SWEEP, because=f"nothing came of it by {present.until}")
    rung = path[level]
    reason = f"step {level + 1} of the escalation path of {case.policy}"
    until = today + timedelta(days=rung.days)
    Escalation.objects.create(
        case=case, level=level + 1, owner=rung.owner, until=until, began_at=at, actor=SWEEP, reason=reason[:300]
    )
    return True


def _open(case: DunningCase) -> Escalation | None:
    return Escalation.objects.filter(case=case, ended_at=None).first()


def _end(escalation: Escalation, *, at: datetime, actor: str, because: str) -> None:
    escalation.ended_at, escalation.ended_by, escalation.ended_because = max(at, escalation.began_at), actor, because
    escalation.save(update_fields=["ended_at", "ended_by", "ended_because"])
