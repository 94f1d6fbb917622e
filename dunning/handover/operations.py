"""Make the file of what is handed over, log who takes it, and ask the next one of the house when nothing came of the last."""

import hashlib
import logging
from datetime import date, datetime, timedelta
from time import monotonic_ns
from typing import Any
from zoneinfo import ZoneInfo

from django.db import InterfaceError, transaction
from django.db.models import F

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.jobs import queue
from billing_site.kernel.reasons import checked_reason
from dunning.cases.arrears import debts_of, owed
from dunning.cases.models import SWEEP, DunningCase
from dunning.cases.operations import lock_case, wait
from dunning.core.calendar import local_day
from dunning.core.case_life import LIVE, CaseState
from dunning.handover.contents import file_of
from dunning.handover.models import Escalation, HandOverDownload, HandOverFile

logger = logging.getLogger(__name__)

TELL_OWNER = "dunning.tasks.tell_owner"
OWNER_MAX = 200
# What the sweep leaves of the two minutes of its job; the rest is made at the next one.
BUDGET = timedelta(seconds=20)
NO_FILE = "the file for collectors cannot be made ({problem}): it is tried again, and the log says more"
# From then on only people go on with a case.
ENDED = (CaseState.EXHAUSTED, CaseState.HANDED_OVER)


def make_files(*, at: datetime, budget: timedelta = BUDGET) -> int:
    """Make the file of each case that is handed over and has none, as far as the budget goes; returns how many. Twice makes none twice.

    A file that cannot be made stops no other: its case says so, and is tried after those that were not.
    """
    until_ns = monotonic_ns() + budget // timedelta(microseconds=1) * 1_000
    cases = DunningCase.objects.filter(state=CaseState.HANDED_OVER, hand_over_file=None)
    cases = cases.select_related("customer__legal_entity", "policy")
    made = 0
    for case in cases.order_by(F("looked_at").asc(nulls_first=True), "pk"):
        if monotonic_ns() >= until_ns:
            break
        # Before it is made: should the worker die of it, the next one begins with others.
        DunningCase.objects.filter(pk=case.pk).update(looked_at=at)
        made += _made(case, at=at)
    return made


def _made(case: DunningCase, *, at: datetime) -> bool:
    try:
        is_new = _make(case, at=at)
    except InterfaceError:
        # Without a connection to the database nothing can be done about any case.
        raise
    except Exception as problem:
        logger.exception("the file of case %s cannot be made", case.pk)
        wait(case=case, because=NO_FILE.format(problem=type(problem).__name__))
        return False
    wait(case=case, because="")
    return is_new


def _make(case: DunningCase, *, at: datetime) -> bool:
    debts = debts_of(customers=[case.customer_id], at=at).get(case.customer_id, [])
    if not debts:
        # Paid, or objected to: it is closed at the next sweep.
        return False
    content = file_of(case=case, debts=debts, at=at)
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
    return _ask(case, level=level, owner=owner.strip(), until=until, began_at=at, actor=actor, reason=said)


def escalate(*, at: datetime) -> int:
    """Ask the first of the path about cases that only people go on with, and the next one where nothing came of it by its day; returns how many.

    Of the last one nobody is asked after: that stands in the queue. A case that is closed asks nobody any more. One that fails stops no other.
    """
    ended = DunningCase.objects.filter(state__in=ENDED).values_list("pk", flat=True)
    asked = Escalation.objects.filter(ended_at=None).values_list("case", flat=True)
    return sum(_escalated(case_id, at=at) for case_id in sorted({*ended, *asked}))


def _escalated(case_id: int, *, at: datetime) -> bool:
    try:
        return _escalate(case_id, at=at)
    except InterfaceError:
        raise
    except Exception:
        logger.exception("nobody can be asked about case %s", case_id)
        return False


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
    _ask(case, level=level + 1, owner=rung.owner, until=until, began_at=at, actor=SWEEP, reason=reason[:300])
    return True


def _ask(case: DunningCase, **asked: Any) -> Escalation:
    """Ask somebody, who hears of it by a job that commits with it."""
    escalation = Escalation.objects.create(case=case, **asked)
    queue(TELL_OWNER, escalation.pk)
    return escalation


def _open(case: DunningCase) -> Escalation | None:
    return Escalation.objects.filter(case=case, ended_at=None).first()


def _end(escalation: Escalation, *, at: datetime, actor: str, because: str) -> None:
    escalation.ended_at, escalation.ended_by, escalation.ended_because = max(at, escalation.began_at), actor, because
    escalation.save(update_fields=["ended_at", "ended_by", "ended_because"])
