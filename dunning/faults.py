"""What is wrong with dunning: steps that are not as their policy and the steps before them say, or were taken though nobody was told."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

from django.db.models import Exists, OuterRef, Prefetch

from billing_site.kernel.among import among
from dunning.cases.models import SWEEP, CaseStep, DunningCase, Outcome
from dunning.cases.operations import planned_after
from dunning.core.calendar import Planned, days_late
from dunning.core.case_life import CaseState
from dunning.core.policy import GRAVE, Act
from dunning.notices.models import Notice
from dunning.telling import REFERENCE
from invoicing.core.life_cycle import State
from invoicing.customers.models import LifeCycleMove
from invoicing.workflows.verify import Finding

CHUNK = 500
NAME = "dunning holds"
_ACT_OF = {State.SUSPENDED.value: Act.SUSPEND, State.CHURNED.value: Act.CLOSE}


def check_dunning_holds() -> Iterator[Finding]:
    """Each step of dunning is the next one of its policy, on its day, after a notice; whoever dunning has suspended or closed has that step."""
    steps = Prefetch("steps", CaseStep.objects.order_by("number"))
    cases = DunningCase.objects.select_related("policy", "customer").prefetch_related(steps).order_by("pk")
    every = cases.iterator(chunk_size=CHUNK)
    while some := list(islice(every, CHUNK)):
        told = _told(some)
        for case in some:
            taken = list(case.steps.all())
            for subject, fault in (*_of_steps(case, taken), *_of_next(case, taken), *_untold(case, taken, told)):
                yield Finding(NAME, f"case {case.pk} of {case.customer.key}{subject}", fault)
    for state, act in _ACT_OF.items():
        taken_then = CaseStep.objects.filter(case__customer=OuterRef("customer"), act=act, done_at=OuterRef("moved_at"))
        moves = LifeCycleMove.objects.filter(actor=SWEEP, to_state=state).exclude(Exists(taken_then))
        for move in moves.select_related("customer").order_by("pk"):
            yield Finding(NAME, f"customer {move.customer.key}", f"dunning has made it {move.to_state} without a step")


def _of_steps(case: DunningCase, taken: Sequence[CaseStep]) -> Iterator[tuple[str, str]]:
    zone, before = ZoneInfo(case.customer.timezone), None
    for step in taken:
        planned = _next(case, before)
        if planned is None or (step.number, step.act, step.day) != (
            planned.number,
            planned.step.act.value,
            planned.step.day,
        ):
            yield f", step {step.number}", "it is not the next one of its policy"
            return
        if step.due_at != planned.due_at:
            yield f", step {step.number}", f"it says that it was due {step.due_at}, its policy {planned.due_at}"
        delay_days = (before.delay_days if before else 0) + days_late(due=planned.due_at, done=step.done_at, zone=zone)
        if step.delay_days != delay_days:
            yield f", step {step.number}", f"it says {step.delay_days} days late, it was {delay_days}"
        before = step


def _of_next(case: DunningCase, taken: Sequence[CaseStep]) -> Iterator[tuple[str, str]]:
    if case.state != CaseState.OPEN:
        return
    planned = _next(case, taken[-1] if taken else None)
    stated = (case.next_number, case.next_due_at)
    if stated != ((planned.number, planned.due_at) if planned else (None, None)):
        yield "", "the next step that it names is not that of its policy"


def _told(cases: Sequence[DunningCase]) -> dict[tuple[int, int], datetime]:
    """Return when the notice of each step was sent, by case and step; one query for all the cases."""
    references = {
        f"{REFERENCE}{case.pk}:{step.number}": (case, step.number)
        for case in cases
        if any(map(_is_grave, case.steps.all()))
        for step in case.steps.all()
    }
    sent = Notice.objects.filter(among("reference", references), state="sent")
    found: dict[tuple[int, int], datetime] = {}
    for reference, customer_id, moment in sent.values_list("reference", "customer", "sending_at"):
        case, number = references[reference]
        if moment is not None and customer_id == case.customer_id:
            found[case.pk, number] = moment
    return found


def _untold(
    case: DunningCase, taken: Sequence[CaseStep], told: Mapping[tuple[int, int], datetime]
) -> Iterator[tuple[str, str]]:
    for step in filter(_is_grave, taken):
        before = [told.get((case.pk, one.number)) for one in taken if one.number < step.number]
        if not any(moment is not None and moment <= step.done_at for moment in before):
            yield f", step {step.number}", "it was taken by itself though nobody was told before"


def _is_grave(step: CaseStep) -> bool:
    return step.act in GRAVE and step.outcome == Outcome.DONE and step.actor == SWEEP


def _next(case: DunningCase, last: CaseStep | None) -> Planned | None:
    return next(iter(planned_after(case=case, last=last)), None)
