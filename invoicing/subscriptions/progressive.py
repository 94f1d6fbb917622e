"""Progressive invoices as contracts have them: what stands of each, and what the invoice of a period takes off of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import F

from billing_site.kernel.among import among
from billing_site.kernel.money import EXACT, round_money
from billing_site.kernel.period import Period, as_utc
from invoicing.core.adjustments.progressive import InvoicedProgressively, share_of_taxes
from invoicing.core.contract import BaseLine
from invoicing.core.invoice_life import STANDING
from invoicing.core.tax import TaxKind, TaxSum
from invoicing.customers.models import Customer

NOTHING = Decimal(0)
TAX = ("kind", "jurisdiction", "name", "rate", "inclusive", "reason", "evidence", "taxable", "amount")
# The row of a progressive invoice as it is reached from its customer: this slice lies below invoices.
ROW = "progressive_invoices"


@dataclass(frozen=True)
class TakenOff:
    """What the issued invoice of a period takes off a progressive one, or a credit note (`period` None) gives back of it; neither is negative."""

    period: Period | None
    amount: Decimal
    taxes: tuple[TaxSum, ...] = ()


@dataclass(frozen=True)
class InvoicedSoFar:
    """A progressive invoice that stands: of which period it is, what it took for each charge, its tax by rate, and what is off it again."""

    number: int
    invoice: str
    period: Period
    amount: Decimal
    charged: tuple[BaseLine, ...]
    taxes: tuple[TaxSum, ...]
    off: tuple[TakenOff, ...] = ()

    @property
    def reference(self) -> str:
        """What names the line that takes it off; the colon keeps it apart from prices, whose keys have none."""
        return f":progressive/{self.number}"

    def held(self, *, beside: Period) -> Decimal:
        """Return what is left of it for the invoice of a period: what that one takes off itself does not count."""
        off = sum((one.amount for one in self.off if one.period != beside), NOTHING)
        return max(EXACT.subtract(self.amount, off), NOTHING)

    def taxes_held(self, *, beside: Period) -> tuple[TaxSum, ...]:
        """Return what is left of its tax in the same way."""
        left = {_rate(one): one for one in self.taxes}
        for one in (tax for off in self.off if off.period != beside for tax in off.taxes):
            # What was issued without tax has none to give back.
            if (known := left.get(_rate(one))) is not None:
                left[_rate(one)] = replace(known, taxable=known.taxable - one.taxable, amount=known.amount - one.amount)
        return tuple(left.values())


def invoiced_so_far(*, customers: Collection[int]) -> dict[int, tuple[InvoicedSoFar, ...]]:
    """Return the progressive invoices of customers that stand, by the customer's number, oldest first: one query where there are none."""
    standing = Customer.objects.filter(among("pk", customers), progressive_invoices__invoice__status__in=STANDING)
    names = (
        "pk",
        f"{ROW}__pk",
        f"{ROW}__invoice__number",
        f"{ROW}__period_start",
        f"{ROW}__period_end",
        f"{ROW}__reached",
    )
    rows = list(standing.order_by(f"{ROW}__pk").values_list(*names))
    if not rows:
        return {}
    numbers = [row[1] for row in rows]
    lines = _lines(numbers)
    off = _off(numbers)
    found: dict[int, tuple[InvoicedSoFar, ...]] = {}
    for customer, number, invoice, start, end, amount in rows:
        charged, taxes = lines[number]
        one = InvoicedSoFar(
            number=number,
            invoice=invoice,
            period=Period(as_utc(start), as_utc(end)),
            amount=amount,
            charged=tuple(charged),
            taxes=_summed(taxes),
            off=tuple(off.get(number, ())),
        )
        found[customer] = (*found.get(customer, ()), one)
    return found


def progressive_terms(
    *,
    invoiced: Sequence[InvoicedSoFar],
    period: Period,
    computed: Mapping[Period, Mapping[str, Decimal]],
    about: tuple[str, ...],
    is_to_come: Callable[[Period], bool],
) -> list[InvoicedProgressively]:
    """Return what the invoice of a period takes off: the progressive invoices of the period, and what of earlier periods is left of others.

    `about` are all lines before. `computed` are invoices that are not stored, and take off what they say. A period whose own invoice `is_to_come`
    takes its own off.
    """
    terms: list[InvoicedProgressively] = []
    for one in invoiced:
        if _rank(one.period) > _rank(period):
            continue
        if one.period != period and one.period not in computed and is_to_come(one.period):
            continue
        held = known = one.held(beside=period)
        for other, amounts in computed.items():
            if other != period:
                held = EXACT.add(held, amounts.get(one.reference, NOTHING))
        if held <= 0:
            continue
        taxes = one.taxes_held(beside=period)
        terms.append(
            InvoicedProgressively(
                one.reference,
                "",
                period,
                (*about, *(term.reference for term in terms)),
                progressive=one.number,
                invoice=one.invoice,
                held=held,
                charged=one.charged,
                taxes=taxes if held == known else share_of_taxes(taxes=taxes, part=held, whole=known),
            )
        )
    return terms


def _lines(numbers: Sequence[int]) -> dict[int, tuple[list[BaseLine], list[TaxSum]]]:
    """Return what the lines of progressive invoices took for each charge, and their taxes."""
    path = f"{ROW}__invoice__lines"
    rows = Customer.objects.filter(progressive_invoices__in=numbers).order_by(f"{path}__pk", f"{path}__taxes__ordinal")
    found: dict[int, tuple[list[BaseLine], list[TaxSum]]] = {number: ([], []) for number in numbers}
    seen: set[int] = set()
    asked = {"rated": F(f"{path}__rated"), **_known(path), **_tax(f"{path}__taxes")}
    found_rows: Any = rows.values(**asked)
    for row in found_rows:
        charged, taxes = found[row["number"]]
        if row["line"] not in seen:
            seen.add(row["line"])
            amount = round_money(Decimal(row["rated"]["amount"]["amount"]), row["of_currency"])
            charged.append(BaseLine(row["rated"]["inputs"]["charge"]["reference"], amount))
        taxes += _taxed(row)
    return found


def _off(numbers: Sequence[int]) -> dict[int, list[TakenOff]]:
    """Return what issued invoices take off progressive ones, and what credit notes give back of them."""
    taken, noted = f"{ROW}__taken_off", f"{ROW}__invoice__lines__credit_note_lines"
    # Asked in one filter each, so that number and line are of one join.
    rows = Customer.objects.filter(
        progressive_invoices__in=numbers, progressive_invoices__taken_off__invoice__status__in=STANDING
    )
    span = {"start": F(f"{taken}__invoice__period_start"), "end": F(f"{taken}__invoice__period_end")}
    asked = {"off": F(f"{taken}__amount"), **span, **_known(taken), **_tax(f"{taken}__taxes")}
    lines: dict[tuple[int, int], tuple[TakenOff, list[TaxSum]]] = {}
    off_rows: Any = rows.values(**asked)
    for row in off_rows:
        one = TakenOff(Period(as_utc(row["start"]), as_utc(row["end"])), -row["off"])
        lines.setdefault((row["number"], row["line"]), (one, []))[1].extend(_taxed(row, sign=-1))
    rows = Customer.objects.filter(
        progressive_invoices__in=numbers, progressive_invoices__invoice__lines__credit_note_lines__isnull=False
    )
    back = _tax(f"{noted}__taxes__tax") | {
        name: F(f"{noted}__taxes__{name[4:]}") for name in ("tax_taxable", "tax_amount")
    }
    asked = {"off": F(f"{noted}__amount"), **_known(noted), **back}
    noted_rows: Any = rows.values(**asked)
    for row in noted_rows:
        # Lines of notes count from below, so that none is taken for one of an invoice.
        lines.setdefault((row["number"], -row["line"]), (TakenOff(None, row["off"]), []))[1].extend(_taxed(row))
    found: dict[int, list[TakenOff]] = {}
    for (number, _), (one, taxes) in lines.items():
        found.setdefault(number, []).append(replace(one, taxes=tuple(taxes)))
    return found


def _known(path: str) -> dict[str, Any]:
    """Return of which progressive invoice, line and currency a row is; the names are none of a customer's columns."""
    return {"number": F(f"{ROW}__pk"), "line": F(f"{path}__pk"), "of_currency": F(f"{path}__currency")}


def _tax(path: str) -> dict[str, Any]:
    return {f"tax_{name}": F(f"{path}__{name}") for name in TAX}


def _taxed(row: Mapping[str, Any], *, sign: int = 1) -> list[TaxSum]:
    """Return the tax that stands in a row, if one does."""
    if row["tax_kind"] is None:
        return []
    told = {name: row[f"tax_{name}"] for name in TAX[:-2]}
    taxable, amount = (round_money(sign * row[f"tax_{name}"], row["of_currency"]) for name in TAX[-2:])
    return [TaxSum(**told | {"kind": TaxKind(told["kind"]), "taxable": taxable, "amount": amount})]


def _summed(taxes: Sequence[TaxSum]) -> tuple[TaxSum, ...]:
    """Return what taxes of one rate come to, in the order in which rates occur."""
    sums: dict[tuple[object, ...], TaxSum] = {}
    for one in taxes:
        known = sums.get(_rate(one))
        if known is not None:
            one = replace(one, taxable=known.taxable + one.taxable, amount=known.amount + one.amount)
        sums[_rate(one)] = one
    return tuple(sums.values())


def _rate(one: TaxSum) -> tuple[object, ...]:
    return (one.kind, one.jurisdiction, one.name, one.rate, one.inclusive, one.reason, one.evidence)


def _rank(period: Period) -> tuple[datetime, datetime]:
    return period.end, period.start
