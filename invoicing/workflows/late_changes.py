"""Late changes: what became known about the usage of issued lines since they were rated, and what it means in money.

Windows always take in late events and cancellations; an issued line knows events up to a number. Where a window of
its time was touched by a greater number, the whole line is rated again with the usage of today, at the price that
is stored with it: effect = that amount - (amount of the line + its corrections).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import reduce
from typing import Any

from django.db import connection
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import EXACT, total, wire
from billing_site.kernel.period import Period
from invoicing.core.contract import Usage
from invoicing.core.correction import Reconsidered, reconsider
from invoicing.core.proof import carries_of, charge_from_inputs, usage_from_document
from invoicing.customers.models import Customer, LateUsagePolicy
from invoicing.invoices.adjustments import true_up_after
from invoicing.invoices.consumers import consumer_of, with_consumers
from invoicing.invoices.crediting import CREDITING
from invoicing.invoices.models import CorrectionDecision, CorrectionRule, InvoiceLine, UsageCorrection
from invoicing.subscriptions.committed import SPEND_KINDS
from invoicing.workflows.adjustment_changes import (
    AdjustmentChange,
    adjustment_changes,
    lines_with_adjustments,
    true_up_change,
)
from invoicing.workflows.compute_invoice import usage_of_charge
from invoicing.workflows.explain_invoice import NOT_RATABLE
from metering.counting import IS_COUNTED, known_through
from metering.queries import billing_usage
from metering.rollup import roll_up

# What the rules of a customer make of a change; without a decision a person is asked.
ByPolicy = tuple[CorrectionDecision | None, CorrectionRule]


@dataclass(frozen=True)
class LateChange:
    """What changed about one issued line since it, or its last correction, was rated.

    `has_adjustments` says that minimum, maximum, commitment and the like look at the line, whether or not this changes them.
    `events_added` and `events_cancelled` are those of the line's own time; a level that was carried in from before
    it changes a time-weighted sum without any. `first_learnt_at` is when the first of them was accepted.
    """

    line: InvoiceLine
    last: UsageCorrection | None
    before: Usage
    after: Usage
    reconsidered: Reconsidered
    events_added: int
    events_cancelled: int
    first_hour: datetime
    first_learnt_at: datetime | None
    decision: CorrectionDecision | None
    rule: CorrectionRule
    has_adjustments: bool
    adjustments: tuple[AdjustmentChange, ...] = ()

    @property
    def effect(self) -> Money:
        """What the customer owes more, with what minimum, maximum and the like make of it; negative where it is less."""
        return total((self.reconsidered.effect, *(one.effect for one in self.adjustments)), self.line.currency)

    @property
    def quantity(self) -> Decimal:
        """How much more was used; negative where it is less."""
        return self.reconsidered.quantity

    @property
    def mark(self) -> str:
        """A digest of what a person was shown: a decision about it holds only while it is still so."""
        return change_mark(
            line_id=self.line.pk,
            known_from=self.before.known_through,
            windows_digest=self.after.windows_digest,
            effect=self.effect,
        )


@dataclass(frozen=True)
class LateFailure:
    """An issued line whose late usage cannot be rated, and why."""

    line: InvoiceLine
    message: str


@dataclass(frozen=True)
class LateChanges:
    """The open late changes, by customer and invoice; `uncounted` lines more have touched windows but were not looked at."""

    changes: tuple[LateChange, ...]
    failures: tuple[LateFailure, ...] = ()
    uncounted: int = 0

    def effects(self) -> list[Money]:
        """Return the money effect of all changes, by currency."""
        codes = sorted({change.line.currency for change in self.changes})
        return [total((one.effect for one in self.changes if one.line.currency == code), code) for code in codes]


@dataclass(frozen=True)
class _Candidate:
    line_id: int
    known_from: int
    first_hour: datetime


def late_changes(*, at: datetime, customer_key: str = "") -> LateChanges:
    """Return what changed about the lines issued by `at`, with its money effect and what policy would do (S0-061).

    Of a customer, where one is named: with the accounts that are billed to it.
    Includes every event accepted before the call; writes nothing but usage windows.
    """
    roll_up()
    return counted_late_changes(at=at, customer_key=customer_key)


def counted_late_changes(
    *, at: datetime, customer_key: str = "", line_ids: Sequence[int] = (), lines_max: int | None = None
) -> LateChanges:
    """Return the late changes as far as events are rolled up; at most `lines_max` lines are looked at."""
    candidates = _candidates(at=at, customer_key=customer_key, line_ids=line_ids)
    looked_at = candidates[:lines_max] if lines_max is not None else candidates
    lines = with_consumers(InvoiceLine.objects.all()).select_related("price__plan_version__plan")
    by_id = lines.prefetch_related("corrections__consequences").in_bulk([candidate.line_id for candidate in looked_at])
    adjusted = lines_with_adjustments(invoice_ids={line.invoice_id for line in by_id.values()})
    usages, failures = _present_usage(list(by_id.values()))
    learnt = _events_learnt(looked_at, usages)
    changes: list[LateChange] = []
    for candidate in looked_at:
        if candidate.line_id not in usages:
            continue
        try:
            line = by_id[candidate.line_id]
            change = _change(candidate, line, usages[candidate.line_id], learnt, adjusted.get(line.invoice_id, ()))
        except NOT_RATABLE as problem:
            failures.append(LateFailure(by_id[candidate.line_id], f"{type(problem).__name__} {problem}".rstrip()))
            continue
        if change is not None:
            changes.append(change)
    changes.sort(key=lambda change: _place(change.line))
    return LateChanges(tuple(changes), tuple(failures), uncounted=len(candidates) - len(looked_at))


def change_mark(*, line_id: int, known_from: int, windows_digest: str, effect: Money) -> str:
    """Return the digest of a change as it was shown, or as a correction keeps it."""
    return digest_of({"line": line_id, "known_from": known_from, "windows": windows_digest, "effect": wire(effect)})


def by_policy(
    *, line: InvoiceLine, effect: Money, moves_prepaid: bool, corrections: Sequence[UsageCorrection]
) -> ByPolicy:
    """Return what the customer's terms make of an effect; no decision means that a person is asked.

    What is prepaid may pay for all of it: nothing more is owed, less is left. What is below the materiality is absorbed with what
    was so before: many small changes of a line are not given up one by one.
    """
    customer = line.invoice.customer
    if not effect.amount:
        charged = moves_prepaid and customer.late_usage_policy != LateUsagePolicy.ABSORB
        return (CorrectionDecision.NEXT_INVOICE if charged else CorrectionDecision.ABSORBED), CorrectionRule.NO_EFFECT
    small = (whole_effect(correction=link) for link in corrections if link.rule == CorrectionRule.IMMATERIAL)
    if abs(total((effect, *small), line.currency).amount) < customer.late_materiality:
        return CorrectionDecision.ABSORBED, CorrectionRule.IMMATERIAL
    if customer.late_usage_policy == LateUsagePolicy.ABSORB:
        return CorrectionDecision.ABSORBED, CorrectionRule.ABSORB
    if customer.late_usage_policy == LateUsagePolicy.NEXT_INVOICE:
        return CorrectionDecision.NEXT_INVOICE, CorrectionRule.NEXT_INVOICE
    return None, CorrectionRule.PEOPLE


def touched_customers(*, at: datetime, customer_key: str = "") -> list[Customer]:
    """Return the customers with issued lines whose windows were touched since; some of them may be unchanged."""
    lines = [candidate.line_id for candidate in _candidates(at=at, customer_key=customer_key, line_ids=())]
    return list(Customer.objects.filter(invoices__lines__in=lines).distinct().order_by("id"))


def whole_effect(*, correction: UsageCorrection) -> Money:
    """Return the effect of the correction of a charge with those of the adjustments that it changed."""
    return total((correction.effect, *(one.effect for one in correction.consequences.all())), correction.currency)


def _place(line: InvoiceLine) -> tuple[Any, ...]:
    return line.invoice.customer.name, line.invoice.customer_id, line.service_start, line.invoice_id, line.position


def _candidates(*, at: datetime, customer_key: str, line_ids: Sequence[int]) -> list[_Candidate]:
    with connection.cursor() as cursor:
        cursor.execute(_CANDIDATES, {"at": at, "customer": customer_key, "lines": list(line_ids) or None})
        return [_Candidate(*row) for row in cursor.fetchall()]


def _present_usage(lines: Sequence[InvoiceLine]) -> tuple[dict[int, Usage], list[LateFailure]]:
    """Return what each line's meter counts in its service period today, one question a customer and period."""
    groups: dict[tuple[str, Period], list[InvoiceLine]] = {}
    for line in lines:
        span = Period(line.service_start.astimezone(UTC), line.service_end.astimezone(UTC))
        groups.setdefault((consumer_of(line=line), span), []).append(line)
    usages: dict[int, Usage] = {}
    failures: list[LateFailure] = []
    for (customer, span), of_span in groups.items():
        try:
            keys = sorted({line.meter_key for line in of_span})
            measured = billing_usage(customer_id=customer, meter_keys=keys, period=span)
        except BillingError as problem:
            failures += [LateFailure(line, problem.message) for line in of_span]
            continue
        for line in of_span:
            try:
                usage = usage_of_charge(charge_from_inputs(line.rated["inputs"]), measured[line.meter_key])
            except NOT_RATABLE as problem:
                failures.append(LateFailure(line, f"{type(problem).__name__} {problem}".rstrip()))
                continue
            usages[line.pk] = replace(usage, carried=_carried(line))
    return usages, failures


def _carried(line: InvoiceLine) -> Decimal:
    """Return what a line's meter counts today in the services that it carries on from."""
    carried = Decimal(0)
    for span in carries_of(inputs=line.rated["inputs"]):
        measured = billing_usage(customer_id=consumer_of(line=line), meter_keys=[line.meter_key], period=span)
        carried = EXACT.add(carried, measured[line.meter_key].quantity)
    return carried


def _change(
    candidate: _Candidate,
    line: InvoiceLine,
    after: Usage,
    learnt: dict[int, tuple[int, int, datetime | None]],
    lines: Sequence[InvoiceLine],
) -> LateChange | None:
    """Return the change of a line, or None where what was touched counts the same as before."""
    links = sorted(line.corrections.all(), key=lambda link: link.known_through)
    last = links[-1] if links else None
    before = usage_from_document((last or line).rated["inputs"]["usage"])
    assert before.known_through == candidate.known_from, "a chain ends at its last link"
    same = (after.windows_digest, after.quantity, after.carried, after.by_size)
    if same == (before.windows_digest, before.quantity, before.carried, before.by_size):
        return None
    reconsidered = reconsider(
        charge=charge_from_inputs(line.rated["inputs"]), before=before, after=after, currency=line.currency
    )
    invoiced = last.amount_after if last else line.amount
    assert reconsidered.before.amount == invoiced, "what was invoiced rates the same"
    adjustments = tuple(adjustment_changes(line=line, amount=reconsidered.after.amount, lines=lines))
    # What counts towards a commitment is what is charged, as minimum and maximum spend have made it: before discounts.
    counted = [one.effect for one in adjustments if one.line.adjustment in SPEND_KINDS]
    if (later := true_up_after(line=line)) is not None:
        spent_more = total((reconsidered.effect, *counted), line.currency)
        adjustments += tuple(true_up_change(row=later, spent_more=spent_more))
    effect = total((reconsidered.effect, *(one.effect for one in adjustments)), line.currency)
    moves_prepaid = any(one.effect.amount and one.line.adjustment in CREDITING for one in adjustments)
    decision, rule = by_policy(line=line, effect=effect, moves_prepaid=moves_prepaid, corrections=links)
    added, cancelled, first_learnt_at = learnt.get(line.pk, (0, 0, None))
    return LateChange(
        line=line,
        last=last,
        before=before,
        after=after,
        reconsidered=reconsidered,
        events_added=added,
        events_cancelled=cancelled,
        first_hour=max(candidate.first_hour, line.service_start),
        first_learnt_at=first_learnt_at,
        decision=decision,
        rule=rule,
        has_adjustments=bool(lines) or later is not None,
        adjustments=adjustments,
    )


def _events_learnt(
    candidates: Sequence[_Candidate], usages: dict[int, Usage]
) -> dict[int, tuple[int, int, datetime | None]]:
    """Return, by line, how many events count now and did not, how many counted and do not, and since when that is known."""
    known = [one for one in candidates if one.line_id in usages]
    if not known:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            _EVENTS_COUNTED,
            {
                "lines": [one.line_id for one in known],
                "known_from": [one.known_from for one in known],
                "known_through": [usages[one.line_id].known_through for one in known],
            },
        )
        return {line: (int(added), int(cancelled), first) for line, added, cancelled, first in cursor.fetchall()}


def missing_quantity(changes: Sequence[LateChange]) -> Decimal:
    """Return the sum of what changed, for one meter."""
    return reduce(EXACT.add, (change.quantity for change in changes), Decimal(0))


# Whose usage a line counts is the customer of its subscription, whoever is billed for it.
# A line that carries on from earlier services of its invoice is touched by what touches them.
# A level that a time-weighted sum carries into a period may come from long before it: its bound is open below.
_TOUCHED = """
    metering_usagewindow w
    WHERE w.meter_id = m.id AND w.customer_id = c.key AND w.start < l.service_end
      AND w.start > CASE WHEN m.aggregation = 'time_weighted_sum' THEN '-infinity'
                         ELSE carried_from.start - interval '1 hour' END
"""
_CHARGES = """
    invoicing_invoiceline l
    JOIN invoicing_invoice i ON i.id = l.invoice_id
    JOIN invoicing_subscription s ON s.id = l.subscription_id
    JOIN invoicing_customer c ON c.id = s.customer_id
    JOIN metering_meter m ON m.key = l.meter_key
    CROSS JOIN LATERAL (
        SELECT CASE WHEN min(earlier.service_start) < l.service_start AND l.rated #> '{inputs,carries}' IS NOT NULL
                    THEN min(earlier.service_start) ELSE l.service_start END AS start
        FROM invoicing_invoiceline earlier
        WHERE earlier.invoice_id = l.invoice_id AND earlier.subscription_id = l.subscription_id
          AND earlier.meter_key = l.meter_key AND earlier.kind = 'charge'
    ) AS carried_from
"""
_CANDIDATES = f"""
    SELECT l.id, known.through, touched.first_hour
    FROM {_CHARGES}
    CROSS JOIN LATERAL (
        SELECT greatest(l.known_through, max(u.known_through)) AS through
        FROM invoicing_usagecorrection u WHERE u.original_id = l.id
    ) AS known
    CROSS JOIN LATERAL (SELECT min(w.start) AS first_hour FROM {_TOUCHED} AND w.last_event > known.through) AS touched
    WHERE l.kind = 'charge' AND i.status NOT IN ('draft', 'void') AND i.issued_at <= %(at)s
      AND touched.first_hour IS NOT NULL
      AND (%(customer)s = '' OR c.key = %(customer)s
           OR c.billed_to_id = (SELECT id FROM invoicing_customer WHERE key = %(customer)s)) AND (%(lines)s::bigint[] IS NULL OR l.id = ANY(%(lines)s))
    ORDER BY touched.first_hour, l.id
"""
# A row for each event that counts now and did not when the line was rated, or the other way round.
EVENTS_LEARNT = f"""
    SELECT l.id AS line, changed.*
    FROM unnest(%(lines)s::bigint[], %(known_from)s::bigint[], %(known_through)s::bigint[])
        AS given(line_id, known_from, known_through)
    JOIN {_CHARGES.strip().replace("invoicing_invoiceline l", "invoicing_invoiceline l ON l.id = given.line_id", 1)}
    CROSS JOIN LATERAL (SELECT DISTINCT w.start FROM {_TOUCHED} AND w.last_event > given.known_from) AS hours
    CROSS JOIN LATERAL (
        SELECT e.id AS number, known.counts_now, COALESCE((
            SELECT x.cancelled_at FROM metering_eventcancellation x
            WHERE x.event_number = e.id AND x.number > given.known_from AND x.number <= given.known_through
        ), e.received_at) AS learnt_at
        FROM metering_usageevent e
        CROSS JOIN LATERAL (
            SELECT {known_through("given.known_from")} AS counted_then, {known_through("given.known_through")} AS counts_now
        ) AS known
        WHERE e.customer_id = c.key AND e.event_type = m.event_type AND {IS_COUNTED}
          AND e.timestamp >= greatest(hours.start, l.service_start)
          AND e.timestamp < least(hours.start + interval '1 hour', l.service_end)
          AND known.counted_then <> known.counts_now
    ) AS changed
"""
_EVENTS_COUNTED = f"""
    SELECT line, count(*) FILTER (WHERE counts_now), count(*) FILTER (WHERE NOT counts_now), min(learnt_at)
    FROM ({EVENTS_LEARNT}) AS learnt GROUP BY line
"""
