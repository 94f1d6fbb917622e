"""Tax as invoices keep it: what is decided about one, the rows of its lines, and the same tax computed again from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from moneyed import Money

from billing_site.kernel.money import plain, round_money, total, wire
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.adjustments.progressive import take_tax_off
from invoicing.core.contract import AdjustmentKind, ContractSnapshot, OpenCorrection
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.proof import adjusted_again
from invoicing.core.tax import (
    InvoiceTax,
    LineTax,
    RateOfTax,
    TaxKind,
    TaxMissing,
    TaxRounding,
    TaxTerms,
    TaxTreatment,
    tax_day,
)
from invoicing.core.tax_document import sum_text, summary_again, tax_document, taxed_again, treatment_of
from invoicing.core.tax_rules import TaxQuestion, terms_of_credit, terms_of_damages
from invoicing.customers.models import Customer
from invoicing.invoices.crediting import CREDITING
from invoicing.invoices.models import Invoice, InvoiceLine, TaxLine, TaxState
from invoicing.tax.provider import TaxProvider, tax_provider
from invoicing.tax.queries import TaxBook, tax_book

NOT_CONTAINED = "prices contain tax, and a commitment paid in advance or a fee in advance takes prices without"


def tax_terms(
    *,
    book: TaxBook,
    provider: TaxProvider,
    customer: Customer,
    snapshot: ContractSnapshot,
    corrections: Sequence[OpenCorrection],
) -> TaxTerms | TaxMissing | None:
    """Return how an invoice is taxed, or what is missing; None where no tax is charged.

    A correction is taxed as the line that it corrects was, whatever holds today.
    """
    question = tax_question(book=book, customer=customer, snapshot=snapshot)
    if question is None:
        return None
    if question.seller.inclusive and any(term.kind in CREDITING for term in snapshot.terms):
        # What is paid before it is earned would have to be kept without the tax that it contains.
        return TaxMissing(provider.name, (f"how to tax {customer.name}: {NOT_CONTAINED}",))
    answer = provider.answer(question=question)
    if isinstance(answer, TaxMissing):
        return answer
    assert set(question.days) <= set(answer.by_day), "a provider answers for each day"
    return TaxTerms(**{**vars(answer), "corrected": _corrected(corrections, country=question.seller.country)})


def tax_question(*, book: TaxBook, customer: Customer, snapshot: ContractSnapshot) -> TaxQuestion | None:
    """Return what a provider is asked about the invoice of a contract; None where no tax is charged."""
    zone = customer.timezone
    services = [charge.service_period for charge in snapshot.charges]
    services += [term.service_period for term in snapshot.terms]
    return book.question(
        customer=customer,
        on=tax_day(service_period=snapshot.period, timezone=zone),
        days=[tax_day(service_period=service, timezone=zone) for service in services],
    )


def tax_terms_once(*, customer: Customer, day: date) -> TaxTerms | TaxMissing | None:
    """Return how a one-off invoice of a day, there, is taxed, or what is missing; None where no tax is charged."""
    question = tax_book(customers=[customer.pk]).question(customer=customer, on=day, days=())
    return None if question is None else tax_provider(customers=[customer.pk]).answer(question=question)


def tax_terms_of_credit(*, customer: Customer, day: date) -> TaxTerms | None:
    """Return how the sale of prepaid credit on a day, there, is told to be untaxed; None where no tax is charged at all."""
    question = tax_book(customers=[customer.pk]).question(customer=customer, on=day, days=())
    provider = tax_provider(customers=[customer.pk]).name
    return None if question is None else terms_of_credit(question=question, provider=provider)


def tax_terms_of_damages(*, customer: Customer, day: date) -> TaxTerms | None:
    """Return how interest and costs of late payment of a day, there, are told to be untaxed; None where no tax is charged at all."""
    question = tax_book(customers=[customer.pk]).question(customer=customer, on=day, days=())
    provider = tax_provider(customers=[customer.pk]).name
    return None if question is None else terms_of_damages(question=question, provider=provider)


def _corrected(corrections: Sequence[OpenCorrection], *, country: str) -> dict[str, TaxTreatment]:
    if not corrections:
        return {}
    rows = TaxLine.objects.filter(line__invoice__number__in={one.invoice_number for one in corrections})
    taxes: dict[tuple[str | None, int], list[LineTax]] = {}
    for row in rows.select_related("line__invoice").order_by("line_id", "ordinal"):
        taxes.setdefault((row.line.invoice.number, row.line.position), []).append(line_tax(row=row))
    return {
        one.reference: treatment_of(found)
        if (found := taxes.get((one.invoice_number, one.position)))
        else TaxTreatment(
            kind=TaxKind.UNTAXED,
            rates=(RateOfTax(country, "Tax", Decimal(0)),),
            reason=f"Corrects invoice {one.invoice_number}, which was issued without tax.",
        )
        for one in corrections
    }


def note_tax(*, invoice: Invoice, tax: InvoiceTax | None) -> None:
    """Put the tax of an assembled invoice on its row, unsaved."""
    taxed = tax is not None and not tax.missing
    invoice.tax_state = TaxState.NONE if tax is None else TaxState.TAXED if taxed else TaxState.MISSING
    invoice.tax = None if tax is None else {**tax_document(tax=tax), **_answers(tax)}
    invoice.tax_amount = tax.amount if tax is not None and taxed else None
    invoice.tax_added = tax.added if tax is not None and taxed else None


def _answers(tax: InvoiceTax) -> dict[str, Any]:
    """Return the rows that were told the rates, by day; beside the content, so that a newer row which says the same makes no other draft."""
    if not isinstance(tax.decided, TaxTerms) or not tax.decided.answers:
        return {}
    return {"answers": {day.isoformat(): number for day, number in sorted(tax.decided.answers.items())}}


@dataclass(frozen=True)
class TaxRow:
    """One rate of a stored invoice as people read it."""

    text: str
    kind: str
    taxable: Money
    amount: Money
    inclusive: bool
    reason: str
    evidence: str


def tax_sums(*, invoice: Invoice, language: Language = ENGLISH) -> list[TaxRow]:
    """Return what the lines of each rate come to on a stored invoice; nothing where no tax is charged."""
    return [
        TaxRow(
            text=sum_text(
                kind=TaxKind(one["kind"]),
                name=one["name"],
                rate=Decimal(one["rate"]),
                jurisdiction=one["jurisdiction"],
                inclusive=one["inclusive"],
                language=language,
            ),
            kind=one["kind"],
            taxable=round_money(Decimal(one["taxable"]["amount"]), invoice.currency),
            amount=round_money(Decimal(one["amount"]["amount"]), invoice.currency),
            inclusive=one["inclusive"],
            reason=language.told(one["reason"]),
            evidence=one["evidence"],
        )
        for one in (invoice.tax or {}).get("summary", ())
    ]


def lines_paying(*, invoice: Invoice, lines: Iterable[InvoiceLine]) -> list[InvoiceLine]:
    """Return the lines of a taxed invoice that are payments: credit that was bought pays what is owed with tax."""
    return [line for line in lines if invoice.tax_state == TaxState.TAXED and is_payment(line=line)]


def amount_before_tax(*, invoice: Invoice, lines: Iterable[InvoiceLine]) -> Money:
    """Return what a stored invoice charges before tax that comes on top, and before prepaid credit where that pays tax too."""
    if invoice.tax_state != TaxState.TAXED:
        return invoice.total
    return invoice.subtotal - total(
        (line.amount for line in lines_paying(invoice=invoice, lines=lines)), invoice.currency
    )


def tax_notes(*, invoice: Invoice, language: Language = ENGLISH) -> list[str]:
    """Return the sentences that the law asks for on an invoice, each once: why there is no tax, and by which evidence."""
    told = [
        f"{row.reason} ({row.evidence})" if row.evidence else row.reason
        for row in tax_sums(invoice=invoice, language=language)
        if row.reason
    ]
    return list(dict.fromkeys(told))


def seller_number(*, invoice: Invoice) -> str:
    """Return the number by which the seller was registered at home; "" where none is known."""
    number: str = (invoice.tax or {}).get("seller", {}).get("number", "")
    return number


def missing_tax(*, invoice: Invoice) -> list[str]:
    """Return what has to be known before a draft can be taxed; nothing where it is, or needs not be."""
    return list((invoice.tax or {}).get("missing", ()))


def decided_number(*, invoice: Invoice) -> str:
    """Return the customer's number by which the tax of an invoice was decided; "" where there is none."""
    number: str = (invoice.tax or {}).get("customer", {}).get("number", "")
    return number


def rows_of_tax(*, tax: InvoiceTax | None, lines: Iterable[InvoiceLine]) -> list[TaxLine]:
    """Return the taxes of saved lines as rows, unsaved."""
    if tax is None or not tax.lines:
        return []
    by_reference = {line.rated["inputs"]["reference"]: line for line in lines}
    counts: dict[str, int] = {}
    rows = []
    for one in tax.lines:
        counts[one.reference] = counts.get(one.reference, 0) + 1
        rows.append(
            TaxLine(
                line=by_reference[one.reference],
                ordinal=counts[one.reference],
                kind=one.kind.value,
                jurisdiction=one.jurisdiction,
                name=one.name,
                rate=one.rate,
                inclusive=one.inclusive,
                currency=tax.currency,
                taxable=one.taxable,
                amount=one.amount,
                reason=one.reason,
                evidence=one.evidence,
            )
        )
    return rows


def line_tax(*, row: TaxLine) -> LineTax:
    """Return a stored tax as the core sees it; its line should be at hand."""
    return LineTax(
        reference=row.line.rated["inputs"]["reference"],
        kind=TaxKind(row.kind),
        jurisdiction=row.jurisdiction,
        name=row.name,
        rate=row.rate,
        inclusive=row.inclusive,
        taxable=round_money(row.taxable.amount, row.currency),
        amount=round_money(row.amount.amount, row.currency),
        reason=row.reason,
        evidence=row.evidence,
    )


def tax_row_document(*, row: TaxLine) -> dict[str, Any]:
    """Return every column of a stored tax, for the seal and for whoever asks."""
    return {
        "ordinal": row.ordinal,
        "kind": row.kind,
        "jurisdiction": row.jurisdiction,
        "name": row.name,
        "rate": plain(row.rate),
        "inclusive": row.inclusive,
        "taxable": wire(row.taxable),
        "amount": wire(row.amount),
        "reason": row.reason,
        "evidence": row.evidence,
    }


def taxes_of(*, lines: Iterable[InvoiceLine]) -> list[TaxLine]:
    """Return the taxes of lines in their order; they should be prefetched."""
    return [
        row
        for line in sorted(lines, key=lambda line: line.position)
        for row in sorted(line.taxes.all(), key=lambda row: row.ordinal)
    ]


def is_payment(*, line: InvoiceLine) -> bool:
    """Say whether a line of a taxed invoice pays with credit that was bought: it is not taxed."""
    term = line.rated["inputs"].get("term", {})
    return line.adjustment == AdjustmentKind.CREDIT and term.get("credit_kind") == CreditKind.PREPAID


def left_to_tax(*, lines: Iterable[InvoiceLine]) -> dict[str, Money]:
    """Return what reductions have left of each line of a stored invoice, by reference: what its tax was computed of."""
    left: dict[str, Money] = {}
    for line in sorted(lines, key=lambda line: line.position):
        if is_payment(line=line):
            continue
        rest = round_money(line.amount.amount, line.currency)
        for part in line.rated.get("parts", ()):
            taken = round_money(Decimal(part["amount"]["amount"]), line.currency)
            left[part["reference"]] -= taken
            rest += taken
        left[line.rated["inputs"]["reference"]] = rest
    return left


def tax_differences(*, invoice: Invoice, lines: Sequence[InvoiceLine]) -> list[str]:
    """Compute the tax of an invoice again from its lines, the rates kept with them and its rounding, and say what differs."""
    rows = taxes_of(lines=lines)
    if invoice.tax_state != TaxState.TAXED:
        return ["it has taxes, and says that it has none"] if rows else []
    try:
        return _differences(invoice, lines, rows)
    except (KeyError, TypeError, ValueError, AssertionError, ArithmeticError) as problem:
        return [f"its tax cannot be computed again: {type(problem).__name__} {problem}".rstrip()]


def _differences(invoice: Invoice, lines: Sequence[InvoiceLine], rows: Sequence[TaxLine]) -> list[str]:
    assert invoice.tax is not None, "a taxed invoice says how"
    assert invoice.tax_amount is not None and invoice.tax_added is not None, "a taxed invoice says how much"
    stored = [line_tax(row=row) for row in rows]
    left = left_to_tax(lines=lines)
    taxed = {one.reference for one in stored}
    given = {line.rated["inputs"]["reference"] for line in lines if line.adjustment == AdjustmentKind.CREDIT}
    untaxed = sorted(left.keys() - taxed - given)
    again = _taxed_again(invoice, lines, left, stored)
    found = [f"of {reference} no tax is said" for reference in untaxed]
    for was, now in zip(stored, again, strict=True):
        if (was.taxable, was.amount) != (now.taxable, now.amount):
            found.append(
                f"{was.name} of {was.reference} is {was.amount.amount} on {was.taxable.amount},"
                f" computed again {now.amount.amount} on {now.taxable.amount}"
            )
    if summary_again(stored=stored, currency=invoice.currency) != invoice.tax["summary"]:
        found.append("the sums of its rates are not those of its lines")
    sums = _sums(stored)
    if (invoice.tax_amount.amount, invoice.tax_added.amount) != sums:
        found.append(f"its taxes sum to {sums[0]}, it says {invoice.tax_amount.amount}")
    return found


def _taxed_again(
    invoice: Invoice, lines: Sequence[InvoiceLine], left: Mapping[str, Money], stored: Sequence[LineTax]
) -> tuple[LineTax, ...]:
    """Compute the taxes of lines again, and what goes back of those that progressive invoices charged."""
    assert invoice.tax is not None, "a taxed invoice says how"
    off = {
        line.rated["inputs"]["reference"]: adjusted_again(inputs=line.rated["inputs"])
        for line in lines
        if line.progressive_id is not None
    }
    taxed = taxed_again(
        left=left,
        stored=[one for one in stored if one.reference not in off],
        rounding=TaxRounding(invoice.tax["rounding"]),
        currency=invoice.currency,
    )
    if not off:
        return taxed
    given_back = take_tax_off(
        lines=list(off.values()),
        taxed=taxed,
        owed=amount_before_tax(invoice=invoice, lines=lines),
        country=invoice.tax["seller"]["country"],
    )
    by_line: dict[str, list[LineTax]] = {}
    for one in (*taxed, *given_back):
        by_line.setdefault(one.reference, []).append(one)
    return tuple(one for reference in dict.fromkeys(one.reference for one in stored) for one in by_line[reference])


def _sums(stored: Sequence[LineTax]) -> tuple[Decimal, Decimal]:
    whole = sum((one.amount.amount for one in stored), Decimal(0))
    return whole, sum((one.amount.amount for one in stored if not one.inclusive), Decimal(0))


def tax_added_by_line(*, rows: Iterable[TaxLine]) -> Mapping[str, Money]:
    """Return what tax adds to each line, by reference: prepaid credit pays that too."""
    added: dict[str, Money] = {}
    for row in (row for row in rows if not row.inclusive):
        reference, amount = row.line.rated["inputs"]["reference"], round_money(row.amount.amount, row.currency)
        added[reference] = added[reference] + amount if reference in added else amount
    return added
