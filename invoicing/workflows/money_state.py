"""Usage and money of some customers at a moment, so that two moments can be compared: before and after events come or go."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period
from invoicing.core.contract import AssembledInvoice
from invoicing.customers.models import Customer
from invoicing.invoices.consumers import consumer_of
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.subscriptions.snapshot import periods_due, periods_running
from invoicing.workflows.backfill_figures import MoneyEffect
from invoicing.workflows.compute_invoice import compute_invoice
from invoicing.workflows.late_changes import LateChange, counted_late_changes
from invoicing.workflows.unbilled_usage import UnbilledReason, UnbilledUsage
from metering.queries import billing_usage


@dataclass(frozen=True)
class State:
    """The figures of the affected customers on one side of a comparison; who wants `unbilled` adds it."""

    quantities: dict[tuple[str, str], Decimal]
    late: dict[int, LateChange]
    periods: dict[tuple[str, Period], tuple[str, Money]]
    problems: dict[str, str]
    unbilled: dict[tuple[str, str, UnbilledReason], UnbilledUsage]


def state_of(*, spans: Mapping[str, Period], meters: Sequence[str], at: datetime) -> State:
    """Return what the meters count for each customer in a span of time, and every amount that it touches."""
    state = State({}, {}, {}, {}, {})
    customers = {row.key: row for row in Customer.objects.filter(key__in=spans).select_related("billed_to")}
    for key, span in spans.items():
        for meter, measured in billing_usage(customer_id=key, meter_keys=list(meters), period=span).items():
            state.quantities[key, meter] = measured.quantity
        if key in customers:
            state.late.update(
                {change.line.pk: change for change in counted_late_changes(at=at, customer_key=key).changes}
            )
            _open_periods(state, customers[key], span, at=at)
    return state


def _open_periods(state: State, customer: Customer, span: Period, *, at: datetime) -> None:
    """Compute the periods of a customer that are not issued and that the events may touch."""
    issued = set(
        Invoice.objects.filter(customer=customer.payer_id)
        .exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID))
        .values_list("period_start", "period_end")
    )
    drafted = set(
        Invoice.objects.filter(customer=customer.payer_id, status=InvoiceStatus.DRAFT).values_list(
            "period_start", "period_end"
        )
    )
    running = periods_running(customer=customer, moment=at)
    due = sorted(periods_due(customer=customer, until=at), key=lambda period: (period.end, period.start))
    computed: list[AssembledInvoice] = []
    for period in [*due, *running]:
        if (period.start, period.end) in issued or span.start >= period.end:
            continue
        runs = period in running
        kind = "draft" if (period.start, period.end) in drafted else "running period" if runs else "period to be billed"
        try:
            until = at if runs else period.end
            invoice = compute_invoice(customer=customer, period=period, until=until, computed=computed).assembled
        except BillingError as problem:
            state.problems[customer.key] = problem.message
            continue
        computed.append(invoice)
        state.periods[customer.key, period] = (kind, invoice.total)


def money_between(*, customer_id: str, before: State, after: State) -> list[MoneyEffect]:
    """Return every amount of a customer that is another on the two sides: issued lines first, then open periods."""
    return [
        *_on_issued_lines(customer_id, before, after),
        *(
            MoneyEffect(kind, _days(period), before.periods[one, period][1], amount)
            for (one, period), (kind, amount) in after.periods.items()
            if one == customer_id and before.periods.get((one, period), (kind, amount))[1] != amount
        ),
    ]


def _on_issued_lines(key: str, before: State, after: State) -> Iterator[MoneyEffect]:
    for pk in sorted({*before.late, *after.late}):
        was, now = before.late.get(pk), after.late.get(pk)
        change = now or was
        assert change is not None, "a line is late on one of the sides"
        line = change.line
        if consumer_of(line=line) != key:
            continue
        amounts = [one.reconsidered.after.amount if one else change.reconsidered.before.amount for one in (was, now)]
        quantities = [one.after.quantity if one else change.before.quantity for one in (was, now)]
        if amounts[0] == amounts[1] and quantities[0] == quantities[1]:
            continue
        what = f"{line.invoice.number}, line {line.position} ({line.description})"
        note = "" if now is None else now.decision.label if now.decision else "Waits at the late-event desk"
        yield MoneyEffect("issued line", what, amounts[0], amounts[1], note)


def _days(period: Period) -> str:
    return f"{period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} UTC"
