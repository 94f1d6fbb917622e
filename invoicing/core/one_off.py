"""Invoices of no period: what was stated once, or was used of a period that still runs, its sum and its tax."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.money import total, wire
from billing_site.kernel.period import Period
from invoicing.core.contract import ENGINE_VERSION
from invoicing.core.progressive import ProgressiveLine
from invoicing.core.proof import period_document, progressive_line_document, stated_document
from invoicing.core.stated import StatedItem, StatedLine, rate_stated
from invoicing.core.tax import InvoiceTax, TaxBase, TaxMissing, TaxTerms, tax_lines
from invoicing.core.tax_document import tax_content


@dataclass(frozen=True)
class OneOffInvoice:
    """A one-off invoice before it is stored; the digest covers everything that it says."""

    customer: str
    currency: str
    lines: tuple[StatedLine, ...]
    subtotal: Money
    total: Money
    digest: str = field(repr=False)
    tax: InvoiceTax | None = None


def assemble_once(
    *,
    customer: str,
    currency: str,
    items: Sequence[StatedItem],
    day: date,
    tax: TaxTerms | TaxMissing | None = None,
) -> OneOffInvoice:
    """Rate each item, put the lines together in their order, and tax them as of the `day` on which they are invoiced; None: no tax is charged."""
    assert items, "an invoice is about something"
    lines = tuple(
        rate_stated(item=item, reference=f":{item.kind.value}/{position}", currency=currency)
        for position, item in enumerate(items, start=1)
    )
    summed = total((line.amount for line in lines), currency)
    taxed = _taxed(lines, currency, day, tax)
    whole = summed + taxed.added if taxed else summed
    content: dict[str, Any] = {
        "engine": ENGINE_VERSION,
        "customer": customer,
        "currency": currency,
        "lines": [stated_document(line=line) for line in lines],
        "total": wire(whole),
    }
    if taxed:
        content["tax"] = tax_content(tax=taxed)
    return OneOffInvoice(
        customer=customer,
        currency=currency,
        lines=lines,
        subtotal=summed,
        total=whole,
        digest=digest_of(content),
        tax=taxed,
    )


@dataclass(frozen=True)
class ProgressiveInvoice:
    """What was used of a running period, before it is stored; the digest covers everything that it says."""

    customer: str
    currency: str
    period: Period
    lines: tuple[ProgressiveLine, ...]
    subtotal: Money
    total: Money
    digest: str = field(repr=False)
    tax: InvoiceTax | None = None


def assemble_progressive(
    *,
    customer: str,
    currency: str,
    period: Period,
    lines: tuple[ProgressiveLine, ...],
    day: date,
    tax: TaxTerms | TaxMissing | None = None,
) -> ProgressiveInvoice:
    """Put what is charged of a running period together, and tax it as of the `day` on which it is invoiced; None: no tax is charged."""
    assert lines, "an invoice is about something"
    summed = total((line.amount for line in lines), currency)
    taxed = _taxed(lines, currency, day, tax)
    whole = summed + taxed.added if taxed else summed
    content: dict[str, Any] = {
        "engine": ENGINE_VERSION,
        "customer": customer,
        "currency": currency,
        "period": period_document(period=period),
        "lines": [progressive_line_document(line=line) for line in lines],
        "total": wire(whole),
    }
    if taxed:
        content["tax"] = tax_content(tax=taxed)
    return ProgressiveInvoice(
        customer=customer,
        currency=currency,
        period=period,
        lines=lines,
        subtotal=summed,
        total=whole,
        digest=digest_of(content),
        tax=taxed,
    )


def _taxed(
    lines: Sequence[StatedLine | ProgressiveLine], currency: str, day: date, tax: TaxTerms | TaxMissing | None
) -> InvoiceTax | None:
    if not isinstance(tax, TaxTerms):
        return None if tax is None else InvoiceTax(decided=tax, currency=currency)
    bases = [TaxBase(reference=line.reference, amount=line.amount, treatment=tax.by_day[day]) for line in lines]
    return InvoiceTax(
        decided=tax, currency=currency, lines=tax_lines(bases=bases, rounding=tax.rounding, currency=currency)
    )
