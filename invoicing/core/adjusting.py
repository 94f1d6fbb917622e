"""Adjusting: the terms of a contract and its rated lines become signed lines, in the order of their kinds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from moneyed import Money

from billing_site.kernel.money import is_rounded, total
from billing_site.kernel.period import Period
from invoicing.core.adjustments.advance import (
    AdvanceCredit,
    AdvanceTerm,
    InAdvance,
    InvoicedInAdvance,
    adjust_advance,
    advance_document,
    advance_members,
)
from invoicing.core.adjustments.commitment import (
    CommitmentBase,
    CommitmentDrawdown,
    CommitmentExpiry,
    CommitmentOverage,
    CommitmentTerm,
    CommitmentTrueUp,
    adjust_commitment,
    commitment_document,
    commitment_members,
)
from invoicing.core.adjustments.credits import Draw, adjust_draw, draw_document, draw_members
from invoicing.core.adjustments.discounts import Discount, adjust_discount, discount_document, discount_members
from invoicing.core.adjustments.edits import Edit, adjust_edit, edit_document, edit_members
from invoicing.core.adjustments.progressive import (
    InvoicedProgressively,
    adjust_progressive,
    progressive_document,
    progressive_members,
)
from invoicing.core.adjustments.spend import MaximumSpend, MinimumSpend, adjust_spend, spend_document, spend_members
from invoicing.core.contract import AdjustmentKind, AdjustmentLine, BaseLine, RatedLine, Term
from invoicing.core.languages import ENGLISH, Language


@dataclass(frozen=True)
class Family:
    """How one kind of term is computed, written down and read: `adjust(term=, base=, currency=, language=)`, `document(term=)`, `members(document)`."""

    term: type[Term]
    adjust: Callable[..., AdjustmentLine]
    document: Callable[..., dict[str, Any]]
    members: Callable[[Mapping[str, Any]], dict[str, Any]]


def _of_commitment(term: type[CommitmentTerm]) -> Family:
    return Family(term, adjust_commitment, commitment_document, commitment_members)


def _of_advance(term: type[AdvanceTerm]) -> Family:
    return Family(term, adjust_advance, advance_document, advance_members)


EMPTY: Mapping[str, AdjustmentLine] = MappingProxyType({})
ADVANCE = (InvoicedInAdvance, InAdvance, AdvanceCredit)
COMMITMENT = (CommitmentBase, CommitmentDrawdown, CommitmentOverage, CommitmentTrueUp, CommitmentExpiry)
FAMILIES: Mapping[AdjustmentKind, Family] = {
    AdjustmentKind.MINIMUM_SPEND: Family(MinimumSpend, adjust_spend, spend_document, spend_members),
    AdjustmentKind.MAXIMUM_SPEND: Family(MaximumSpend, adjust_spend, spend_document, spend_members),
    **{family.kind: _of_commitment(family) for family in COMMITMENT},
    AdjustmentKind.DISCOUNT: Family(Discount, adjust_discount, discount_document, discount_members),
    AdjustmentKind.EDIT: Family(Edit, adjust_edit, edit_document, edit_members),
    **{family.kind: _of_advance(family) for family in ADVANCE},
    AdjustmentKind.INVOICED_PROGRESSIVELY: Family(
        InvoicedProgressively, adjust_progressive, progressive_document, progressive_members
    ),
    AdjustmentKind.CREDIT: Family(Draw, adjust_draw, draw_document, draw_members),
}
assert set(FAMILIES) == set(AdjustmentKind), "each kind of adjustment is computed somewhere"


def adjust(*, terms: Sequence[Term], lines: Sequence[RatedLine], currency: str) -> tuple[AdjustmentLine, ...]:
    """Return one line for each term, in the order of the kinds and then of the contract; the bill never becomes negative by them."""
    if not terms:
        return ()
    adjusted = adjust_amounts(terms=terms, amounts={line.reference: line.amount for line in lines}, currency=currency)
    bill = total((line.amount for line in lines), currency) + total((line.amount for line in adjusted), currency)
    assert bill.amount >= 0, "terms never turn a bill into a credit"
    return adjusted


def adjust_amounts(
    *,
    terms: Sequence[Term],
    amounts: Mapping[str, Money],
    currency: str,
    settled: Mapping[str, AdjustmentLine] = EMPTY,
) -> tuple[AdjustmentLine, ...]:
    """Do the same where only the amounts of the charges are known, by reference: what late usage makes of an issued invoice.

    `settled` are lines, by reference, that stay as they are whatever the charges come to; each stands in the place of its term.
    """
    seen = dict(amounts)
    adjusted: list[AdjustmentLine] = []
    for kind in AdjustmentKind:
        for term in terms:
            if term.kind is kind:
                assert term.reference not in seen, f"a reference names one line of an invoice: {term.reference}"
                line = settled.get(term.reference)
                if line is None:
                    base = tuple(BaseLine(reference, seen[reference]) for reference in term.about)
                    line = adjustment_line(term=term, base=base, currency=currency)
                take_off(line=line, left=seen)
                adjusted.append(line)
    return tuple(adjusted)


def take_off(*, line: AdjustmentLine, left: dict[str, Money]) -> None:
    """Take what an adjustment line takes off single lines from what is left of them; the rest of it is left by itself.

    So each later term sees, of a line, what the earlier ones left.
    """
    rest = line.amount
    for part in line.parts:
        left[part.reference] -= part.amount
        rest += part.amount
    left[line.reference] = rest


def adjustment_line(
    *, term: Term, base: tuple[BaseLine, ...], currency: str, language: Language = ENGLISH
) -> AdjustmentLine:
    """Return what one term makes of the lines that it is about; `language` is that of its words alone."""
    line = FAMILIES[term.kind].adjust(term=term, base=base, currency=currency, language=language)
    assert is_rounded(line.amount) and line.amount.currency.code == currency, "an adjustment is money of the invoice"
    assert sum(step.amount for step in line.steps) == line.amount.amount, "the steps add up"
    return line


def term_document(*, term: Term) -> dict[str, Any]:
    """Return what is particular to a term as canonical JSON members; `term_from_document` reads them."""
    return FAMILIES[term.kind].document(term=term)


def term_from_document(
    document: Mapping[str, Any], *, reference: str, subscription: str, service_period: Period, about: tuple[str, ...]
) -> Term:
    """Return the term of a stored adjustment line."""
    family = FAMILIES[AdjustmentKind(document["kind"])]
    return family.term(
        reference=reference,
        subscription=subscription,
        service_period=service_period,
        about=about,
        **family.members(document),
    )
