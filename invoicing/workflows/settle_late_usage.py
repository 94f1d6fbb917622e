"""Settle late usage: each change of an issued line becomes a link of its chain, by a person or by the customer's terms."""

import logging
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from django.db import transaction

from billing_site.kernel.errors import BillingError, Conflict, InvalidInput, NotFound
from invoicing.core.proof import adjustment_document, line_document
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.invoices.consumers import consumer_of
from invoicing.invoices.event_roots import set_root_of_correction
from invoicing.invoices.models import CorrectionDecision, CorrectionRule, InvoiceLine, UsageCorrection
from invoicing.invoices.sealing import correction_digest
from invoicing.workflows.adjustment_changes import AdjustmentChange
from invoicing.workflows.hash_events import hashing_ahead
from invoicing.workflows.late_changes import (
    LateChange,
    change_mark,
    counted_late_changes,
    touched_customers,
    whole_effect,
)
from metering.rollup import roll_up

logger = logging.getLogger(__name__)

POLICY_ACTOR = "late usage policy"


@dataclass
class SettleReport:
    """What was settled, how many changes wait for a person, and whose could not be settled, and why."""

    settled: list[UsageCorrection] = field(default_factory=list)
    asked: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)


def decide_late_change(
    *, line_id: int, decision: str, mark: str, at: datetime, actor: str, reason: str
) -> UsageCorrection:
    """Keep what a person decided about a late change; the same decision a second time is the one that is kept.

    `mark` is that of the change as it was shown. Raises NotFound for a line without a late change, Conflict (code
    `outdated`) where the change is another by now, InvalidInput for a decision that there is not.
    """
    if decision not in CorrectionDecision.values:
        raise InvalidInput(f"must be one of {', '.join(CorrectionDecision.values)}", field="decision", code="unknown")
    roll_up()

    @transaction.atomic
    def decided() -> UsageCorrection:
        line = InvoiceLine.objects.select_related("invoice").filter(pk=line_id).first()
        if line is None:
            raise NotFound(f"there is no line {line_id}", field="line")
        lock_customer(customer_id=line.invoice.customer_id)
        found = counted_late_changes(at=at, line_ids=[line_id])
        if found.failures:
            raise Conflict(f"its late usage cannot be rated: {found.failures[0].message}")
        change = next(iter(found.changes), None)
        if change is None or change.mark != mark:
            return _decided_before(line, decision, mark, change)
        if not change.effect.amount and decision == CorrectionDecision.NEXT_INVOICE:
            raise InvalidInput("it changes no amount: there is nothing to invoice", field="decision", code="no_effect")
        return _append(change, decision=decision, rule=CorrectionRule.PEOPLE, at=at, actor=actor, reason=reason)

    return hashing_ahead(decided, at=at)


def settle_late_changes(*, at: datetime, customer_key: str = "") -> SettleReport:
    """Apply the customers' terms to every late change about which nobody is asked; again changes nothing (S0-061).

    Each customer is a transaction of its own, its row locked first; one customer's failure does not stop the others.
    """
    roll_up()
    return settle_counted_changes(at=at, customer_key=customer_key)


def settle_counted_changes(*, at: datetime, customer_key: str = "") -> SettleReport:
    """Settle what is rolled up already."""
    report = SettleReport()
    for customer in touched_customers(at=at, customer_key=customer_key):
        try:
            hashing_ahead(partial(_settle, customer, at=at, report=report), at=at)
        except (BillingError, AssertionError, ArithmeticError) as problem:
            logger.error("late usage of %s was not settled", customer.key, exc_info=problem)
            report.failures.append((customer.key, str(problem) or type(problem).__name__))
    return report


@transaction.atomic
def _settle(customer: Customer, *, at: datetime, report: SettleReport) -> None:
    # Counted under the lock: of many who settle at once one does it, and the others find nothing left.
    lock_customer(customer_id=customer.pk)
    found = counted_late_changes(at=at, customer_key=customer.key)
    settled: list[UsageCorrection] = []
    asked = 0
    for seen in found.changes:
        # What was settled a moment ago may have changed what is left to the minimum of the same invoice: together they may fall below it.
        change = _counted_again(seen, at=at) if settled and seen.has_adjustments else seen
        if change.decision is None:
            asked += 1
            continue
        reason = f"By the customer's terms: {change.rule.label}."
        settled.append(
            _append(change, decision=change.decision, rule=change.rule, at=at, actor=POLICY_ACTOR, reason=reason)
        )
    report.settled += settled
    report.asked += asked
    for failure in found.failures:
        where = f"{failure.line.invoice.number} line {failure.line.position}"
        report.failures.append((customer.key, f"{where}: {failure.message}"))


def _counted_again(change: LateChange, *, at: datetime) -> LateChange:
    [again] = counted_late_changes(at=at, line_ids=[change.line.pk]).changes
    return again


def _append(
    change: LateChange, *, decision: str, rule: CorrectionRule, at: datetime, actor: str, reason: str
) -> UsageCorrection:
    """Append the next link to the chain of a line whose customer is locked."""
    line, rated = change.line, change.reconsidered
    correction = UsageCorrection(
        original=line,
        customer_id=line.invoice.customer_id,
        known_from=change.before.known_through,
        known_through=change.after.known_through,
        quantity_before=change.before.quantity,
        quantity_after=change.after.quantity,
        window_count=change.after.window_count,
        event_count=change.after.event_count,
        windows_digest=change.after.windows_digest,
        currency=line.currency,
        amount_before=rated.before.amount,
        amount_after=rated.after.amount,
        effect=rated.effect,
        decision=CorrectionDecision(decision),
        rule=rule,
        actor=actor,
        reason=reason,
        decided_at=at,
        rated=line_document(line=rated.after),
        previous_digest=change.last.digest if change.last else line.digest,
    )
    set_root_of_correction(correction=correction, customer_key=consumer_of(line=line))
    correction.digest = correction_digest(correction=correction)
    correction.save(force_insert=True)
    for consequence in change.adjustments:
        _append_consequence(correction, consequence)
    return correction


def _append_consequence(cause: UsageCorrection, change: AdjustmentChange) -> None:
    """Append to the chain of an adjustment what the correction of a charge has made of it: decided with it, never alone."""
    line, links = change.line, change.last.known_through if change.last else change.line.known_through
    consequence = UsageCorrection(
        original=line,
        cause=cause,
        customer_id=cause.customer_id,
        known_from=links,
        known_through=links + 1,
        quantity_before=line.quantity,
        quantity_after=line.quantity,
        window_count=0,
        event_count=0,
        windows_digest="",
        currency=cause.currency,
        amount_before=change.before.amount,
        amount_after=change.after.amount,
        effect=change.effect,
        decision=cause.decision,
        rule=cause.rule,
        actor=cause.actor,
        reason=cause.reason,
        decided_at=cause.decided_at,
        rated=adjustment_document(line=change.after),
        previous_digest=change.last.digest if change.last else line.digest,
    )
    consequence.digest = correction_digest(correction=consequence)
    consequence.save(force_insert=True)


def _decided_before(line: InvoiceLine, decision: str, mark: str, change: LateChange | None) -> UsageCorrection:
    """Return the decision that a mark led to already; raises NotFound or Conflict where there is none like it."""
    last = line.corrections.order_by("-known_through").first()
    if last is not None and last.decision == decision and last.rule == CorrectionRule.PEOPLE:
        kept = change_mark(
            line_id=line.pk,
            known_from=last.known_from,
            windows_digest=last.windows_digest,
            effect=whole_effect(correction=last),
        )
        if kept == mark:
            return last
    if change is None:
        raise NotFound("it has no late change any more: it was settled meanwhile", field="line")
    raise Conflict("more has changed since this was shown: look at it again", code="outdated")
