"""The sweep of dunning: closes what is settled, opens cases of whoever is late, takes the steps that are due; again it finds nothing to do (S0-137)."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.db import InterfaceError

from billing_site.kernel.errors import BillingError
from dunning.acting import advance_case
from dunning.arrangements.queries import open_promises
from dunning.cases.arrears import Debt, all_debts
from dunning.cases.models import CaseStep, DunningCase
from dunning.cases.operations import open_case
from dunning.closing import close_if_settled, lift_if_settled, look_at_promise
from dunning.core.case_life import LIVE, CaseState
from dunning.fairness import tell_what_is_new, untold
from dunning.recharging import plan_retries
from dunning.restoring import restored_untold, tell_recovered
from invoicing.core.life_cycle import Trigger
from invoicing.customers.models import LifeCycleMove
from invoicing.customers.restrictions import restricted_customers

logger = logging.getLogger(__name__)


@dataclass
class SweepReport:
    """What a sweep has done, and for which case or customer it failed and why."""

    opened: list[DunningCase] = field(default_factory=list)
    closed: int = 0
    steps: list[CaseStep] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.opened)} opened, {self.closed} closed, {len(self.steps)} steps, {len(self.failures)} failed"


def sweep_dunning(*, at: datetime) -> SweepReport:
    """Bring every case to where it should be at a moment; each in transactions of its own, locked and read again."""
    report = SweepReport()
    for promise in open_promises():
        with _told(report, f"promise {promise.pk}"):
            look_at_promise(promise_id=promise.pk, at=at)
    debts = all_debts(at=at)
    for case in _perhaps_settled(debts):
        with _told(report, f"case {case.pk}"):
            report.closed += close_if_settled(case_id=case.pk, at=at)
    for customer_id in sorted(set(restricted_customers()) - set(debts)):
        with _told(report, f"customer {customer_id}"):
            lift_if_settled(customer_id=customer_id, at=at)
    chased = set(DunningCase.objects.filter(state__in=LIVE).values_list("customer", flat=True))
    for customer_id in sorted(set(debts) - chased):
        with _told(report, f"customer {customer_id}"):
            opened = open_case(customer_id=customer_id, at=at)
            report.opened += [opened] if opened else []
    due = DunningCase.objects.filter(state=CaseState.OPEN, next_due_at__lte=at).order_by("next_due_at", "pk")
    for case_id in list(due.values_list("pk", flat=True)):
        with _told(report, f"case {case_id}"):
            step = advance_case(case_id=case_id, at=at)
            report.steps += [step] if step else []
    _recharge(debts, report, at=at)
    _restore(report, at=at)
    _tell_what_is_new(debts, report, at=at)
    return report


def _perhaps_settled(debts: dict[int, list[Debt]]) -> Iterable[DunningCase]:
    """Return the live cases whose invoice is late no more, or whose customer has come back."""
    back = set(LifeCycleMove.objects.filter(trigger=Trigger.CAME_BACK.value).values_list("customer", flat=True))
    for case in DunningCase.objects.filter(state__in=LIVE).order_by("pk"):
        late = {debt.invoice_id for debt in debts.get(case.customer_id, ())}
        if case.anchor_invoice_id not in late or (case.state != CaseState.OPEN and case.customer_id in back):
            yield case


def _recharge(debts: dict[int, list[Debt]], report: SweepReport, *, at: datetime) -> None:
    refused = {
        customer_id: [debt.invoice_id for debt in late if debt.refusal]
        for customer_id, late in debts.items()
        if any(debt.refusal for debt in late)
    }
    cases = DunningCase.objects.filter(state__in=LIVE, customer__in=refused).order_by("pk")
    for case in cases:
        with _told(report, f"case {case.pk}"):
            plan_retries(case_id=case.pk, invoice_ids=refused[case.customer_id], at=at)


def _restore(report: SweepReport, *, at: datetime) -> None:
    for case in restored_untold(at=at):
        with _told(report, f"case {case.pk}"):
            tell_recovered(case_id=case.pk, at=at)


def _tell_what_is_new(debts: dict[int, list[Debt]], report: SweepReport, *, at: datetime) -> None:
    """Remind of what is late since a case has come to its end: no step of it tells of that any more."""
    ended = dict(
        DunningCase.objects.filter(state__in=(CaseState.EXHAUSTED, CaseState.HANDED_OVER)).values_list("customer", "pk")
    )
    late = [debt.invoice_id for customer_id in ended for debt in debts.get(customer_id, ())]
    new = untold(invoice_ids=late)
    for customer_id, case_id in sorted(ended.items()):
        if any(debt.invoice_id in new for debt in debts.get(customer_id, ())):
            with _told(report, f"case {case_id}"):
                tell_what_is_new(case_id=case_id, at=at)


class _told:  # noqa: N801 - reads as a statement
    """Let a failure stop one case and no other, and be told in the report; one that nobody foresaw with its trace in the log."""

    def __init__(self, report: SweepReport, subject: str) -> None:
        self.report, self.subject = report, subject

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> bool:
        if isinstance(problem, BillingError):
            logger.warning("dunning of %s stands still: %s", self.subject, problem)
            self.report.failures.append((self.subject, problem.message))
            return True
        # Without a connection to the database nothing can be done about any case.
        if not isinstance(problem, Exception) or isinstance(problem, InterfaceError):
            return False
        logger.error("dunning of %s fails", self.subject, exc_info=problem)
        self.report.failures.append((self.subject, f"{type(problem).__name__}: {problem}"))
        return True
