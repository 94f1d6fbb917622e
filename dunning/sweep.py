"""The sweep of dunning: closes what is settled, opens cases of whoever is late, takes the steps that are due; again it finds nothing to do (S0-137)."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic_ns
from typing import TypeVar

from django.db import InterfaceError
from django.db.models import F

from billing_site.kernel.errors import BillingError
from billing_site.kernel.written_query import WrittenObjects, WrittenQuery
from dunning.acting import advance_due
from dunning.arrangements.models import Promise
from dunning.arrangements.queries import days_of_promises, open_promises
from dunning.cases.arrears import Debt, all_debts
from dunning.cases.models import CaseStep, DunningCase
from dunning.cases.operations import open_case, worth_chasing
from dunning.cases.queries import returned
from dunning.closing import close_if_settled, is_to_be_looked_at, lift_if_settled, look_at_promise
from dunning.core.case_life import LIVE, CaseState
from dunning.due import due_cases
from dunning.fairness import tell_what_is_new, untold
from dunning.policies.queries import policies_for
from dunning.recharging import plan_retries, retries_due
from dunning.restoring import restored_untold, tell_recovered
from invoicing.customers.restrictions import restricted_customers

logger = logging.getLogger(__name__)
One = TypeVar("One")
# A job is ended after two minutes (JOB_TIMEOUT_SECONDS).
BUDGET = timedelta(seconds=80)


@dataclass
class SweepReport:
    """What a sweep has done, and for which case or customer it failed and why."""

    opened: list[DunningCase] = field(default_factory=list)
    closed: int = 0
    steps: list[CaseStep] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    until_ns: int = 0
    is_cut_short: bool = False

    def __str__(self) -> str:
        done = f"{len(self.opened)} opened, {self.closed} closed, {len(self.steps)} steps, {len(self.failures)} failed"
        return f"{done}; the rest is left to the next sweep" if self.is_cut_short else done

    def within(self, ones: Iterable[One], *, parts: int = 1) -> Iterator[One]:
        """Yield what there is time for: until the end of the budget, or of one of so many parts of what is left of it."""
        begun_ns = monotonic_ns()
        until_ns = begun_ns + (self.until_ns - begun_ns) // parts
        for one in ones:
            if monotonic_ns() >= until_ns:
                self.is_cut_short = True
                return
            yield one


def sweep_dunning(*, at: datetime, budget: timedelta = BUDGET) -> SweepReport:
    """Bring every case to where it should be at a moment; each in transactions of its own, locked and read again.

    What is to be done is found in a few queries, whatever the number of cases. What there is no time for within the budget is left to the
    next sweep, which begins with what was looked at longest ago: cases that Stripe keeps waiting hold nobody else up.
    """
    report = SweepReport(until_ns=monotonic_ns() + budget // timedelta(microseconds=1) * 1_000)
    # Of promises Stripe is asked, too: steps have their time all the same.
    debts = all_debts(at=at)
    looked_at = 0
    for promise in report.within(_promises(debts, at=at), parts=3):
        looked_at += 1
        with _told(report, f"promise {promise.pk}"):
            look_at_promise(promise_id=promise.pk, at=at)
    if looked_at:
        # Stripe was asked, and may have told of payments.
        debts = all_debts(at=at)
    for case in report.within(_perhaps_settled(debts)):
        with _told(report, f"case {case.pk}"):
            report.closed += close_if_settled(case_id=case.pk, at=at)
    for customer_id in report.within(sorted(set(restricted_customers()) - set(debts))):
        with _told(report, f"customer {customer_id}"):
            lift_if_settled(customer_id=customer_id, at=at)
    chased = {number for (number,) in _CHASED.rows()}
    for customer_id in report.within(_to_be_chased({one: debts[one] for one in debts.keys() - chased}, at=at)):
        with _told(report, f"customer {customer_id}"):
            opened = open_case(customer_id=customer_id, at=at)
            report.opened += [opened] if opened else []
    for case in report.within(_marked(due_cases(debts=debts, at=at), at=at)):
        with _told(report, f"case {case.pk}"):
            step = advance_due(case=case, late=debts.get(case.customer_id, []), at=at)
            report.steps += [step] if step else []
    for case_id, invoice_ids in report.within(retries_due(debts=debts, at=at).items()):
        with _told(report, f"case {case_id}"):
            plan_retries(case_id=case_id, invoice_ids=invoice_ids, at=at)
    for case in report.within(restored_untold(at=at)):
        with _told(report, f"case {case.pk}"):
            tell_recovered(case_id=case.pk, at=at)
    for case_id in report.within(_with_news(debts)):
        with _told(report, f"case {case_id}"):
            tell_what_is_new(case_id=case_id, at=at)
    return report


def _perhaps_settled(debts: dict[int, list[Debt]]) -> Iterator[DunningCase]:
    """Yield the live cases whose invoice is late no more, or whose customer has come back since."""
    live = DunningCase.objects.filter(state__in=LIVE)
    back = returned(cases=live)
    for case in live.order_by("pk"):
        late = {debt.invoice_id for debt in debts.get(case.customer_id, ())}
        if case.anchor_invoice_id not in late or case.pk in back:
            yield case


def _to_be_chased(debts: Mapping[int, Sequence[Debt]], *, at: datetime) -> list[int]:
    """Return the customers who are late with as much as their policy chases."""
    policies = policies_for(customers=sorted(debts), at=at)
    return [one for one in sorted(debts) if worth_chasing(debts=debts[one], terms=policies[one].read)]


def _promises(debts: Mapping[int, Sequence[Debt]], *, at: datetime) -> Iterator[Promise]:
    """Yield the open promises of which something is to be said or done by now; the others are read in a few queries."""
    promises = _PROMISES.all()
    waited_for = days_of_promises(cases=[promise.case_id for promise in promises]) if promises else {}
    of_cases = {
        promise.case: promise
        for promise in promises
        if is_to_be_looked_at(
            promise=promise,
            waited_for=waited_for.get(promise.case_id),
            debts=debts.get(promise.case.customer_id, ()),
            at=at,
        )
    }
    for case in _marked(of_cases, at=at):
        yield of_cases[case]


def _marked(cases: Iterable[DunningCase], *, at: datetime) -> Iterator[DunningCase]:
    """Yield cases, each marked as looked at before: should the worker die of it, the next sweep begins with others."""
    for case in cases:
        DunningCase.objects.filter(pk=case.pk).update(looked_at=at)
        yield case


def _with_news(debts: dict[int, list[Debt]]) -> list[int]:
    """Return the cases of which all steps are done, and that nobody has taken over, whose customer is late with something that no notice has told: no step of them tells of that any more."""
    ended: dict[int, int] = dict(_ENDED.rows())
    new = untold(invoice_ids=[debt.invoice_id for customer_id in ended for debt in debts.get(customer_id, ())])
    return [
        case_id
        for customer_id, case_id in sorted(ended.items())
        if any(debt.invoice_id in new for debt in debts.get(customer_id, ()))
    ]


# Each sweep asks them: written once.
_CHASED = WrittenQuery(lambda: DunningCase.objects.filter(state__in=LIVE).values_list("customer"))
_ENDED = WrittenQuery(lambda: DunningCase.objects.filter(state=CaseState.EXHAUSTED).values_list("customer", "pk"))
_PROMISES = WrittenObjects(
    lambda: open_promises().select_related("case__customer").order_by(F("case__looked_at").asc(nulls_first=True), "pk")
)


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
