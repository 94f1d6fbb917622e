"""What a billing run comes to, as a document that is signed: each invoice, what it was the last time, what is held, who is gone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.money import from_minor_units, round_money, wire
from billing_site.kernel.period import Period, as_utc
from invoicing.invoices.models import Invoice, InvoiceKind
from invoicing.invoices.queries import OWED
from invoicing.invoices.taxes import missing_tax
from invoicing.run_proposals.models import HELD, ISSUED, WAITS
from invoicing.workflows.run_report import RunReport

# The words of failures may say more the next time; whom they are about is signed.
NOT_SIGNED = ("messages",)


@dataclass(frozen=True)
class RunSums:
    """What the rows of a currency come to: how many, and how much, by what becomes of them, and what it was the last time."""

    currency: str
    counts: dict[str, int]
    totals: dict[str, Money]
    before: Money
    newcomers: int
    gone: int
    gone_before: Money


def run_figures(*, report: RunReport) -> dict[str, Any]:
    """Return what a run made, or would make, as a document in an order that does not depend on how it was made."""
    held = {(one.customer, one.period): one.reasons for one in report.held}
    waits = {(one.customer, one.period) for one in report.waiting}
    before = _before(report.invoices)
    rows = []
    for invoice in report.invoices:
        key, period = invoice.customer.key, Period(as_utc(invoice.period_start), as_utc(invoice.period_end))
        # What cannot be taxed stays a draft, too.
        reasons = held.get((key, period)) or "; ".join(f"not known: {one}" for one in missing_tax(invoice=invoice))
        state = HELD if reasons else WAITS if (key, period) in waits else ISSUED
        last = before.get(invoice.customer_id)
        rows.append(
            {
                "customer": key,
                "name": invoice.customer.name,
                "period_start": period.start.isoformat(),
                "period_end": period.end.isoformat(),
                "timezone": invoice.customer.timezone,
                "currency": invoice.currency,
                "total": wire(invoice.total)["amount"],
                "digest": invoice.content_digest,
                "state": state,
                "reasons": reasons,
                "before": wire(last)["amount"] if last else None,
            }
        )
    # What cannot be taxed is among the rows.
    shown = {(row["customer"], row["period_start"]) for row in rows}
    failed = [
        one
        for one in report.failures
        if one.period is None or (one.customer, one.period.start.isoformat()) not in shown
    ]
    failures = sorted({one.customer for one in failed})
    return {
        "rows": sorted(rows, key=lambda row: (row["customer"], row["period_start"])),
        "gone": _gone(report.invoices, failures),
        "failures": failures,
        "messages": {one.customer: one.message for one in failed},
    }


def figures_digest(*, figures: dict[str, Any]) -> str:
    """Return the digest that is signed: of every figure."""
    return digest_of({name: part for name, part in figures.items() if name not in NOT_SIGNED})


def first_difference(*, signed: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the first figure that differs, in words; "" where none does."""
    then_rows, now_rows = (
        {(row["customer"], row["period_start"]): row for row in one["rows"]} for one in (signed, now)
    )
    for key in sorted({*then_rows, *now_rows}):
        then, today = then_rows.get(key), now_rows.get(key)
        row = then or today
        assert row is not None, "each key is of one of them"
        whose = f"{row['name']}, period from {row['period_start'][:10]}"
        if today is None and key[0] in now["messages"]:
            return f"{whose}: it cannot be billed now: {now['messages'][key[0]]}"
        if then is None or today is None:
            return f"{whose}: {'was not signed' if then is None else 'is signed and not due any more'}"
        if then != today:
            return f"{whose}: {_said(then)} was signed, {_said(today)} it would be now"
    others = [f"{name} are others" for name in ("gone", "failures") if signed[name] != now[name]]
    return others[0] if others else ""


def run_sums(*, figures: dict[str, Any]) -> list[RunSums]:
    """Add the rows up, currency by currency."""
    currencies = sorted({row["currency"] for row in (*figures["rows"], *figures["gone"])})
    return [_sums(figures, currency) for currency in currencies]


def _sums(figures: dict[str, Any], currency: str) -> RunSums:
    rows = [row for row in figures["rows"] if row["currency"] == currency]
    gone = [row for row in figures["gone"] if row["currency"] == currency]
    states = (ISSUED, HELD, WAITS)
    # What a customer was billed the last time counts once, however many periods are due.
    last = {row["customer"]: row["before"] for row in rows if row["before"] is not None}
    return RunSums(
        currency=currency,
        counts={state: sum(row["state"] == state for row in rows) for state in states},
        totals={state: _total((row["total"] for row in rows if row["state"] == state), currency) for state in states},
        before=_total([*last.values(), *(row["before"] for row in gone)], currency),
        newcomers=len({row["customer"] for row in rows if row["before"] is None}),
        gone=len(gone),
        gone_before=_total((row["before"] for row in gone), currency),
    )


def _total(amounts: Iterable[str], currency: str) -> Money:
    return sum((Money(amount, currency) for amount in amounts), from_minor_units(0, currency))


def _said(row: dict[str, Any]) -> str:
    others = {ISSUED: "", HELD: " (held)", WAITS: " (waits for late usage)"}
    return f"{row['currency']} {row['total']}{others[row['state']]}"


def _before(invoices: list[Invoice]) -> dict[int, Money]:
    """Return what each customer was invoiced last, before this run."""
    owed = Invoice.objects.filter(
        kind=InvoiceKind.PERIOD, status__in=OWED, customer__in={invoice.customer_id for invoice in invoices}
    ).exclude(pk__in=[invoice.pk for invoice in invoices])
    newest = owed.order_by("customer_id", "-period_end", "-id").distinct("customer_id")
    return {row[0]: round_money(row[1], row[2]) for row in newest.values_list("customer_id", "total", "currency")}


def _gone(invoices: list[Invoice], failures: list[str]) -> list[dict[str, Any]]:
    """Return who was invoiced for a period that ended where one of this run begins, and is not in it."""
    starts = {invoice.period_start for invoice in invoices}
    ended = (
        Invoice.objects.filter(kind=InvoiceKind.PERIOD, status__in=OWED, period_end__in=starts)
        .exclude(customer__in={invoice.customer_id for invoice in invoices})
        .exclude(customer__key__in=failures)
        .exclude(customer__invoices__period_start__in=starts, customer__invoices__status__in=OWED)
    )
    rows = ended.order_by("customer__key", "-period_end").distinct("customer__key")
    return [
        {"customer": key, "name": name, "currency": currency, "before": wire(round_money(amount, currency))["amount"]}
        for key, name, currency, amount in rows.values_list("customer__key", "customer__name", "currency", "total")
    ]
