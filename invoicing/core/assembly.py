"""Assembly: rated lines become one invoice that is complete, adds up, and has a digest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import combinations
from typing import Any

from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import total, wire
from invoicing.core.adjusting import adjust, take_off
from invoicing.core.adjustments.advance import settled_parts
from invoicing.core.adjustments.credits import CreditKind, Draw, Lot, draw_lots
from invoicing.core.adjustments.progressive import InvoicedProgressively, take_tax_off, taken_parts
from invoicing.core.consumers import consumer_of
from invoicing.core.contract import (
    ENGINE_VERSION,
    AdjustmentKind,
    AdjustmentLine,
    AssembledInvoice,
    BaseLine,
    ContractSnapshot,
    DocumentLine,
    OpenCorrection,
    RatedLine,
)
from invoicing.core.correction import correction_lines
from invoicing.core.proof import adjustment_document, correction_document, line_document, period_document
from invoicing.core.tax import InvoiceTax, TaxBase, TaxGivenBack, TaxMissing, TaxTerms, tax_lines
from invoicing.core.tax_document import tax_content


class RatedTwice(BillingError):
    """Two subscriptions would charge the same usage."""

    status = 409
    code = "rated_twice"


def assemble(
    *,
    snapshot: ContractSnapshot,
    lines: Sequence[RatedLine],
    corrections: Sequence[OpenCorrection] = (),
    lots: Sequence[Lot] = (),
    tax: TaxTerms | TaxMissing | None = None,
) -> AssembledInvoice:
    """Put the rated lines of a contract together, in the contract's order, whatever order they come in.

    Every charge has exactly one line, and each line rates the whole quantity that its meter counted
    (killbill#1081). What the terms make of them follows, then open corrections of earlier invoices, credits as far as
    there is room (S0-061), and at last what `lots` of credit pay of all that. Where tax is charged (`tax` says how), promotional
    credit comes off before it, as a discount does; prepaid credit pays what is owed with it.
    Raises RatedTwice where two subscriptions bill one meter at the same time, TaxGivenBack.
    """
    ordered = _in_contract_order(snapshot, lines)
    _check_complete(snapshot, ordered)
    check_rated_once(snapshot=snapshot)

    adjusted = adjust(terms=snapshot.terms, lines=ordered, currency=snapshot.currency)
    rated = total((line.amount for line in ordered), snapshot.currency)
    charged = rated + total((line.amount for line in adjusted), snapshot.currency)
    carried = correction_lines(corrections=corrections, charged=charged, currency=snapshot.currency)
    to_pay = charged + total((line.amount for line in carried), snapshot.currency)
    drawn, taxed = _paid_and_taxed(snapshot, (*ordered, *adjusted, *carried), to_pay, lots, tax)
    subtotal = to_pay + total((line.amount for line in drawn), snapshot.currency)
    whole = subtotal + taxed.added if taxed else subtotal
    documents = tuple(line_document(line=line) for line in ordered)
    content: dict[str, Any] = {
        "engine": ENGINE_VERSION,
        "customer": snapshot.customer,
        "currency": snapshot.currency,
        "period": period_document(period=snapshot.period),
        "lines": [_content(document) for document in documents],
        "subtotal": wire(subtotal),
        "total": wire(whole),
    }
    if adjusted:
        content["adjustments"] = [adjustment_document(line=line) for line in adjusted]
    if carried:
        content["corrections"] = [correction_document(line=line) for line in carried]
    if drawn:
        content["credits"] = [adjustment_document(line=line) for line in drawn]
    if taxed:
        content["tax"] = tax_content(tax=taxed)
    return AssembledInvoice(
        customer=snapshot.customer,
        currency=snapshot.currency,
        period=snapshot.period,
        lines=ordered,
        subtotal=subtotal,
        total=whole,
        digest=digest_of(content),
        corrections=carried,
        adjustments=adjusted,
        credits=drawn,
        tax=taxed,
        documents=documents,
    )


def _paid_and_taxed(
    snapshot: ContractSnapshot,
    lines: Sequence[DocumentLine],
    to_pay: Money,
    lots: Sequence[Lot],
    tax: TaxTerms | TaxMissing | None,
) -> tuple[tuple[AdjustmentLine, ...], InvoiceTax | None]:
    """Return what lots pay, and the tax of what discounts, and credit that was given away, have left of the lines."""
    left = amounts_left(lines=lines)
    if not isinstance(tax, TaxTerms):
        drawn = _drawn(snapshot, left, to_pay, lots)
        return drawn, None if tax is None else InvoiceTax(decided=tax, currency=snapshot.currency)
    taxable = amounts_to_tax(lines=lines)
    given = _drawn(snapshot, left, to_pay, [lot for lot in lots if lot.kind is CreditKind.PROMOTIONAL])
    for part in (part for line in given for part in line.parts):
        left[part.reference] -= part.amount
        taxable[part.reference] -= part.amount
    bases = [
        TaxBase(
            reference=line.reference,
            amount=taxable[line.reference],
            treatment=tax.treatment_of(reference=line.reference, service_period=line.service_period),
        )
        for line in lines
        if not is_progressive(line=line)
    ]
    owed = to_pay + total((line.amount for line in given), snapshot.currency)
    taxed = InvoiceTax(
        decided=tax,
        currency=snapshot.currency,
        # What progressive invoices charged of it goes back as it was charged, whatever holds today.
        lines=take_tax_off(
            lines=lines,
            taxed=tax_lines(bases=bases, rounding=tax.rounding, currency=snapshot.currency),
            owed=owed,
            country=tax.seller.country,
        ),
    )
    owed += taxed.added
    if owed.amount < 0:
        raise TaxGivenBack("corrections of earlier invoices give back more tax than this one owes", field="tax")
    for one in taxed.lines:
        if not one.inclusive:
            left[one.reference] += one.amount
    paid = _drawn(snapshot, left, owed, [lot for lot in lots if lot.kind is CreditKind.PREPAID])
    return (*given, *paid), taxed


def amounts_left(*, lines: Sequence[DocumentLine]) -> dict[str, Money]:
    """Return what reductions, and what was invoiced in advance, have left of each line to be paid by credit, by reference."""
    left: dict[str, Money] = {}
    for line in lines:
        if isinstance(line, AdjustmentLine):
            take_off(line=as_credit_sees_it(line=line), left=left)
        else:
            left[line.reference] = line.amount
    return left


def amounts_after_credit(*, invoice: AssembledInvoice) -> dict[str, Money]:
    """Return what adjustments and credit have left of each charge of an invoice that carries no correction, by reference."""
    left = amounts_left(lines=(*invoice.lines, *invoice.adjustments))
    for part in (part for line in invoice.credits for part in line.parts):
        left[part.reference] -= part.amount
    return left


def amounts_to_tax(*, lines: Sequence[DocumentLine]) -> dict[str, Money]:
    """Return what reductions have left of each line, by reference; of a reduction what comes off no line is left by itself."""
    taxable: dict[str, Money] = {}
    for line in lines:
        if isinstance(line, AdjustmentLine):
            take_off(line=line, left=taxable)
        else:
            taxable[line.reference] = line.amount
    return taxable


def amount_before_payment(*, invoice: AssembledInvoice) -> Money:
    """Return what an invoice charges before tax that comes on top, and before prepaid credit where that pays tax too."""
    return total((line.amount for line in lines_before_payment(invoice=invoice)), invoice.currency)


def lines_before_payment(*, invoice: AssembledInvoice) -> tuple[DocumentLine, ...]:
    """Return the lines of an invoice without prepaid credit where that pays tax too: what is charged, before tax that comes on top."""
    if invoice.tax is None or invoice.tax.missing:
        return invoice.document_lines
    return tuple(line for line in invoice.document_lines if not pays_after_tax(line=line))


def pays_after_tax(*, line: DocumentLine) -> bool:
    """Say whether a line of a taxed invoice is a payment: what was bought before it was used."""
    if not isinstance(line, AdjustmentLine) or not isinstance(line.term, Draw):
        return False
    return line.term.credit_kind is CreditKind.PREPAID


def _drawn(
    snapshot: ContractSnapshot, left: Mapping[str, Money], to_pay: Money, lots: Sequence[Lot]
) -> tuple[AdjustmentLine, ...]:
    """Let lots pay for what is left of the lines."""
    if not lots:
        return ()
    return draw_lots(lots=lots, lines=[BaseLine(*pair) for pair in left.items()], to_pay=to_pay, period=snapshot.period)


def as_credit_sees_it(*, line: AdjustmentLine) -> AdjustmentLine:
    """Return an adjustment with what it takes off single lines for credit: what was invoiced before has paid for some."""
    if line.kind is AdjustmentKind.INVOICED_IN_ADVANCE:
        return replace(line, parts=settled_parts(line=line))
    return replace(line, parts=taken_parts(line=line)) if is_progressive(line=line) else line


def is_progressive(*, line: DocumentLine) -> bool:
    """Say whether a line takes off what a progressive invoice charged: its tax is that one's."""
    return isinstance(line, AdjustmentLine) and isinstance(line.term, InvoicedProgressively)


def amount_to_come(*, invoice: AssembledInvoice, at: datetime) -> Money:
    """Return what the invoice charges for services that have not begun at a moment: a fee from the end of a trial on."""
    coming = (line.amount for line in invoice.bill_lines if line.service_period.start > at)
    return total(coming, invoice.currency)


def _in_contract_order(snapshot: ContractSnapshot, lines: Sequence[RatedLine]) -> tuple[RatedLine, ...]:
    references = [charge.reference for charge in snapshot.charges]
    assert len(set(references)) == len(references), "a reference names one charge of a snapshot"
    assert Counter(line.reference for line in lines) == Counter(references), "every charge is rated exactly once"
    by_reference = {line.reference: line for line in lines}
    return tuple(by_reference[reference] for reference in references)


def _check_complete(snapshot: ContractSnapshot, lines: Sequence[RatedLine]) -> None:
    for charge, line in zip(snapshot.charges, lines, strict=True):
        assert line.currency == snapshot.currency, "one invoice, one currency"
        assert (line.meter, line.price, line.share) == (charge.meter, charge.price, charge.share), (
            "a line rates its own charge"
        )
        assert (line.usage is None) == (charge.meter is None), "metered lines, and only those, have usage"
        assert line.usage is None or line.quantity == line.usage.quantity, "all that was counted is rated"


def check_rated_once(*, snapshot: ContractSnapshot) -> None:
    """Raise RatedTwice where two subscriptions charge one meter's usage of one customer at the same time."""
    for one, other in combinations((each for each in snapshot.charges if each.meter is not None), 2):
        if (
            one.meter == other.meter
            and one.subscription != other.subscription
            and consumer_of(snapshot=snapshot, subscription=one.subscription)
            == consumer_of(snapshot=snapshot, subscription=other.subscription)
            and one.service_period.overlaps(other.service_period)
        ):
            raise RatedTwice(
                f"{one.reference} and {other.reference} would both charge the usage of meter {one.meter}:"
                " end one of the subscriptions before the other begins",
                field="subscription",
            )


def _content(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a line as the digest sees it: without the mark up to which events were known.

    The mark moves with every rollup, also when nothing came in for this customer; the windows'
    digest says whether anything did.
    """
    usage = document["inputs"]["usage"]
    if usage is None:
        return document
    known = {name: value for name, value in usage.items() if name != "known_through"}
    return {**document, "inputs": {**document["inputs"], "usage": known}}
