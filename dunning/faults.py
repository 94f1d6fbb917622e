"""What is wrong with dunning: steps that are not as their policy and the steps before them say, or were taken though nobody was told."""

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from django.db.models import Prefetch

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
    for case in cases.iterator(chunk_size=CHUNK):
        taken = list(case.steps.all())
        for subject, fault in (*_of_steps(case, taken), *_of_next(case, taken), *_untold(case, taken)):
            yield Finding(NAME, f"case {case.pk} of {case.customer.key}{subject}", fault)
    for move in LifeCycleMove.objects.filter(actor=SWEEP, to_state__in=_ACT_OF).select_related("customer"):
        act = _ACT_OF[move.to_state]
        if not CaseStep.objects.filter(case__customer=move.customer, act=act, done_at=move.moved_at).exists():
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


def _untold(case: DunningCase, taken: Sequence[CaseStep]) -> Iterator[tuple[str, str]]:
    grave = [step for step in taken if step.act in GRAVE and step.outcome == Outcome.DONE and step.actor == SWEEP]
    if not grave:
        return
    references = {f"{REFERENCE}{case.pk}:{step.number}": step.number for step in taken}
    sent = Notice.objects.filter(reference__in=references, state="sent", customer=case.customer)
    told = {references[notice.reference]: notice.sending_at for notice in sent if notice.sending_at is not None}
    for step in grave:
        if not any(number < step.number and at <= step.done_at for number, at in told.items()):
            yield f", step {step.number}", "it was taken by itself though nobody was told before"


def _next(case: DunningCase, last: CaseStep | None) -> Planned | None:
    return next(iter(planned_after(case=case, last=last)), None)
