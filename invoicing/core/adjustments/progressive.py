"""Progressive invoices: what was invoiced while a period ran comes off the invoice of the period, with the tax that it was charged with.

The invoice of the period is rated whole, as if there had been none. What is `held` of a progressive invoice is what it charged,
less what credit notes gave back and other invoices took off; what the period's charges have no room for stays held for the next ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

from moneyed import Money

from billing_site.kernel.money import minor_unit, plain, round_money, total, wire
from invoicing.core.contract import AdjustmentKind, AdjustmentLine, BaseLine, DocumentLine, Step, StepKind, Term
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.tax import LineTax, TaxGivenBack, TaxKind, TaxSum
from invoicing.core.tax_document import sum_document, sum_from_document
from invoicing.core.wording import amount_text, money_words

NOTHING = Decimal(0)


@dataclass(frozen=True)
class InvoicedProgressively(Term):
    """What a progressive invoice has charged already; `about` are all lines before it, `charged` what it took for each charge.

    `taxes` are what its tax has left to give back, by rate: with all that is held goes all of it.
    """

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.INVOICED_PROGRESSIVELY

    progressive: int
    invoice: str
    held: Decimal
    charged: tuple[BaseLine, ...]
    taxes: tuple[TaxSum, ...]

    def __post_init__(self) -> None:
        assert self.held > 0, "what is taken off already is not taken off again"


def adjust_progressive(
    *, term: InvoicedProgressively, base: tuple[BaseLine, ...], currency: str, language: Language = ENGLISH
) -> AdjustmentLine:
    """Return the line that takes off what was invoiced already, as far as the lines before it go."""
    nothing = total((), currency)
    held = round_money(term.held, currency)
    taken = min(held, max(total((line.amount for line in base), currency), nothing))
    told = language.say(
        "{taken} were invoiced with {number} while the period ran",
        taken=money_words(money=taken, language=language),
        number=term.invoice,
    )
    if held != taken:
        told += language.say("; {left} are left", left=money_words(money=held - taken, language=language))
    step = Step(
        kind=StepKind.SETTLED,
        quantity=NOTHING,
        amount=-Fraction(taken.amount),
        flat_amount=held.amount,
        text=language.say(
            "Of {held} that were invoiced with {number}",
            held=money_words(money=held, language=language),
            number=term.invoice,
        ),
        arithmetic=f"= {amount_text(amount=(nothing - taken).amount, currency=currency)}",
    )
    return AdjustmentLine(
        term=term,
        base=base,
        description=language.say("Already invoiced with {number}", number=term.invoice),
        explanation=f"{told}.",
        amount=nothing - taken,
        steps=(step,),
    )


def taken_parts(*, line: AdjustmentLine) -> tuple[BaseLine, ...]:
    """Return what a line leaves nobody to pay of each charge: first of those that the progressive invoice charged, then in the order of the document."""
    assert isinstance(line.term, InvoicedProgressively), "only this takes a progressive invoice off"
    rest = line.amount * -1
    left = {one.reference: one.amount for one in line.base if one.amount.amount > 0}
    taken: dict[str, Money] = {}
    for one in (*line.term.charged, *line.base):
        if one.reference not in left:
            continue
        part = min(rest, one.amount, left[one.reference])
        if part.amount > 0:
            taken[one.reference] = taken[one.reference] + part if one.reference in taken else part
            left[one.reference] -= part
            rest -= part
    assert not rest.amount, "the lines have as much as is taken off them"
    return tuple(BaseLine(reference, amount) for reference, amount in taken.items())


def take_tax_off(
    *, lines: Sequence[DocumentLine], taxed: Sequence[LineTax], owed: Money, country: str
) -> tuple[LineTax, ...]:
    """Return the taxes of an invoice, in the order of its lines, with those that go back for what progressive invoices charged.

    `taxed` are the taxes of the other lines, `owed` is what the invoice asks for before tax. The share of what is taken off goes back, with all of
    it all tax. Where nothing is left to pay, as much of it as the invoice owes: several invoices may each have rounded up, by a minor unit
    each. Raises TaxGivenBack where more than that would be kept, as after a rate that has fallen.
    """
    by_line: dict[str, list[LineTax]] = {}
    room = owed
    kept, rounded = owed * 0, 0
    for one in taxed:
        by_line.setdefault(one.reference, []).append(one)
        if not one.inclusive:
            room += one.amount
    for line in lines:
        if isinstance(line, AdjustmentLine) and isinstance(line.term, InvoicedProgressively):
            off, short = _taxes_off(line, line.term, room, country)
            room += total((one.amount for one in off if not one.inclusive), owed.currency.code)
            by_line[line.reference] = off
            kept, rounded = kept + short, rounded + len(off)
            if kept.amount > rounded * minor_unit(owed.currency.code):
                message = f"{line.term.invoice} was taxed by more than is owed by now: credit it, its tax goes back with the credit note"
                raise TaxGivenBack(message, field="tax")
    return tuple(one for line in lines for one in by_line.get(line.reference, ()))


def _taxes_off(
    line: AdjustmentLine, term: InvoicedProgressively, room: Money, country: str
) -> tuple[list[LineTax], Money]:
    """Return the taxes that go back with a line, and what of them does not, since nothing is left that it could come off."""
    currency = line.amount.currency.code
    share = -Fraction(line.amount.amount) / Fraction(term.held)
    nothing = total((), currency)
    taxes = term.taxes or (_untaxed(term, country, currency),)
    found = []
    short = nothing
    for one in taxes:
        amount = round_money(Fraction(one.amount.amount) * share, currency)
        if not one.inclusive:
            short += amount - min(amount, max(room, nothing))
            amount = min(amount, max(room, nothing))
            room -= amount
        found.append(
            LineTax(
                reference=line.reference,
                kind=one.kind,
                jurisdiction=one.jurisdiction,
                name=one.name,
                rate=one.rate,
                inclusive=one.inclusive,
                taxable=round_money(-Fraction(one.taxable.amount) * share, currency),
                amount=nothing - amount,
                reason=one.reason,
                evidence=one.evidence,
            )
        )
    return found, short


def _untaxed(term: InvoicedProgressively, country: str, currency: str) -> TaxSum:
    held = round_money(term.held, currency)
    return TaxSum(
        kind=TaxKind.UNTAXED,
        jurisdiction=country,
        name="Tax",
        rate=NOTHING,
        inclusive=False,
        reason=f"Corrects invoice {term.invoice}, which was issued without tax.",
        evidence="",
        taxable=held,
        amount=held * 0,
    )


def share_of_taxes(*, taxes: Sequence[TaxSum], part: Decimal, whole: Decimal) -> tuple[TaxSum, ...]:
    """Return what taxes come to for a part of what they were charged on, as far as that is known before it is invoiced."""
    share = Fraction(part) / Fraction(whole)
    return tuple(
        replace(
            one,
            taxable=round_money(Fraction(one.taxable.amount) * share, one.taxable.currency.code),
            amount=round_money(Fraction(one.amount.amount) * share, one.amount.currency.code),
        )
        for one in taxes
    )


def progressive_document(*, term: InvoicedProgressively) -> dict[str, Any]:
    """Return what is particular to a term as canonical JSON members."""
    return {
        "progressive": term.progressive,
        "invoice": term.invoice,
        "held": plain(term.held),
        "charged": [{"reference": one.reference, "amount": wire(one.amount)} for one in term.charged],
        "taxes": [sum_document(one=one) for one in term.taxes],
    }


def progressive_members(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a term from its document."""
    return {
        "progressive": document["progressive"],
        "invoice": document["invoice"],
        "held": Decimal(document["held"]),
        "charged": tuple(
            BaseLine(one["reference"], round_money(Decimal(one["amount"]["amount"]), one["amount"]["currency"]))
            for one in document["charged"]
        ),
        "taxes": tuple(sum_from_document(one) for one in document["taxes"]),
    }
