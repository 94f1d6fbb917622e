"""The tax of an invoice as canonical JSON, and the same tax computed again from what is stored."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from moneyed import Money

from billing_site.kernel.money import plain, round_money, wire
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.tax import (
    InvoiceTax,
    LineTax,
    RateOfTax,
    TaxBase,
    TaxKind,
    TaxParty,
    TaxRounding,
    TaxSum,
    TaxTerms,
    TaxTreatment,
    tax_lines,
    tax_summary,
)


def tax_content(*, tax: InvoiceTax) -> dict[str, Any]:
    """Return everything about an invoice's tax: what was decided, and each tax of each line."""
    document = tax_document(tax=tax)
    if not isinstance(tax.decided, TaxTerms):
        return document
    return document | {"lines": [line_tax_document(line=line) for line in tax.lines]}


def tax_document(*, tax: InvoiceTax) -> dict[str, Any]:
    """Return what was decided about an invoice, and the sum of each rate; or what is missing."""
    decided = tax.decided
    if not isinstance(decided, TaxTerms):
        return {"provider": decided.provider, "missing": list(decided.problems)}
    return {
        "provider": decided.provider,
        "rounding": decided.rounding.value,
        "seller": _party(decided.seller),
        "customer": _party(decided.customer),
        "summary": [sum_document(one=one) for one in tax_summary(lines=tax.lines, currency=tax.currency)],
    }


def line_tax_document(*, line: LineTax) -> dict[str, Any]:
    """Return one tax of one line; `taxable` is what it is owed of."""
    return {"reference": line.reference, **_rated(line)}


def treatment_of(lines: Sequence[LineTax]) -> TaxTreatment:
    """Return how a line was taxed from the taxes that are stored with it, in their order."""
    first = lines[0]
    return TaxTreatment(
        kind=first.kind,
        rates=tuple(RateOfTax(one.jurisdiction, one.name, one.rate) for one in lines),
        inclusive=first.inclusive,
        reason=first.reason,
        evidence=first.evidence,
    )


def taxed_again(
    *, left: Mapping[str, Money], stored: Sequence[LineTax], rounding: TaxRounding, currency: str
) -> tuple[LineTax, ...]:
    """Compute the tax of an invoice once more: `left` is what is left of each line, `stored` says by which rates it was taxed."""
    by_line: dict[str, list[LineTax]] = {}
    for line in stored:
        by_line.setdefault(line.reference, []).append(line)
    bases = [TaxBase(name, left[name], treatment_of(lines)) for name, lines in by_line.items() if name in left]
    return tax_lines(bases=bases, rounding=rounding, currency=currency)


def summary_again(*, stored: Sequence[LineTax], currency: str) -> list[dict[str, Any]]:
    """Return the sum of each rate once more."""
    return [sum_document(one=one) for one in tax_summary(lines=stored, currency=currency)]


def percent_text(rate: Decimal, *, language: Language = ENGLISH) -> str:
    """Write a rate as people read it: 19 %."""
    return f"{language.decimal(plain(rate * 100))} %"


def sum_text(
    *, kind: TaxKind, name: str, rate: Decimal, jurisdiction: str, inclusive: bool, language: Language = ENGLISH
) -> str:
    """Say what one line of the summary is: "VAT 19 % (DE)", "VAT (DE), reverse charge", "of which VAT 19 % (DE)"."""
    name = language.told(name)
    if kind is not TaxKind.TAXED:
        return f"{name} ({jurisdiction}), {language.say(kind.value.replace('_', ' '))}"
    told = f"{name} {percent_text(rate, language=language)} ({jurisdiction})"
    return language.say("of which {tax}", tax=told) if inclusive else told


def standing_text(*, tax: InvoiceTax | None) -> str:
    """Say how amounts of lines stand to tax: "before tax", "with tax", or nothing where none is owed."""
    if tax is None:
        return ""
    if any(line.inclusive for line in tax.lines):
        return "with tax"
    return "before tax" if tax.missing or tax.amount.amount else ""


def _party(party: TaxParty) -> dict[str, str]:
    return {"country": party.country, "region": party.region, "number": party.number}


def sum_document(*, one: TaxSum) -> dict[str, Any]:
    """Return what lines of one rate come to; `sum_from_document` reads it."""
    return _rated(one)


def sum_from_document(document: Mapping[str, Any]) -> TaxSum:
    """Return the sum of one rate from its document."""
    taxable, amount = (
        round_money(Decimal(document[name]["amount"]), document[name]["currency"]) for name in ("taxable", "amount")
    )
    return TaxSum(
        kind=TaxKind(document["kind"]),
        jurisdiction=document["jurisdiction"],
        name=document["name"],
        rate=Decimal(document["rate"]),
        inclusive=document["inclusive"],
        reason=document["reason"],
        evidence=document["evidence"],
        taxable=taxable,
        amount=amount,
    )


def _rated(one: LineTax | TaxSum) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "jurisdiction": one.jurisdiction,
        "name": one.name,
        "rate": plain(one.rate),
        "inclusive": one.inclusive,
        "taxable": wire(one.taxable),
        "amount": wire(one.amount),
        "reason": one.reason,
        "evidence": one.evidence,
    }
