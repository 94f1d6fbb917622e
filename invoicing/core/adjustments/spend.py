"""Minimum and maximum spend of a plan: what a subscription owes at least and at most per billing period."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

from moneyed import Money

from billing_site.kernel.money import plain, round_money, total
from invoicing.core.adjustments.parts import parts_of
from invoicing.core.contract import AdjustmentKind, AdjustmentLine, BaseLine, Step, StepKind, Term
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.wording import amount_text, capitalised, money_words, share_text


@dataclass(frozen=True)
class SpendBound(Term):
    """A bound on what the charges of one service come to, and its share of the billing period."""

    bound: Decimal
    share: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        assert self.bound >= 0 and 0 <= self.share <= 1, f"a bound is an amount, a share a part: {self}"


@dataclass(frozen=True)
class MinimumSpend(SpendBound):
    """What a subscription owes at least."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.MINIMUM_SPEND


@dataclass(frozen=True)
class MaximumSpend(SpendBound):
    """What a subscription owes at most."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.MAXIMUM_SPEND


def adjust_spend(
    *, term: SpendBound, base: tuple[BaseLine, ...], currency: str, language: Language = ENGLISH
) -> AdjustmentLine:
    """Lift the lines to the minimum, or cut them at the maximum; zero where they are within it.

    Both are promises per billing period: a partial one owes its exact share, rounded once. A service without any share (the rest
    of a period that is not prorated) owes no minimum, and its maximum stands whole, as with the bounds of a price. What a maximum cuts
    is off its lines, by what they have: whatever comes after, for some of them only, sees what is left to pay of each.
    """
    is_minimum = term.kind is AdjustmentKind.MINIMUM_SPEND
    share = term.share if is_minimum else term.share or Fraction(1)
    bound = round_money(Fraction(term.bound) * share, currency)
    spent = total((line.amount for line in base), currency)
    difference, nothing = bound - spent, total((), currency)
    amount = max(difference, nothing) if is_minimum else min(difference, nothing)
    bound_text = _bound_text(term, share, currency, language)
    return AdjustmentLine(
        term=term,
        base=base,
        description=_description(term, amount, language),
        explanation=_explanation(term, bound_text, spent, amount, language),
        amount=amount,
        steps=(
            Step(
                kind=StepKind.TRUE_UP if is_minimum else StepKind.CAP,
                quantity=Decimal(0),
                flat_amount=term.bound,
                amount=Fraction(amount.amount),
                text=capitalised(bound_text),
                arithmetic=_arithmetic(term, share, bound, spent, amount),
            ),
        ),
        parts=() if is_minimum else parts_of(amount=amount * -1, base=base),
    )


def spend_document(*, term: SpendBound) -> dict[str, Any]:
    """Return what is particular to a bound as canonical JSON members."""
    return {"bound": plain(term.bound), "share": plain(term.share)}


def spend_members(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a bound from its document."""
    return {"bound": Decimal(document["bound"]), "share": Fraction(document["share"])}


def _bound_text(term: SpendBound, share: Fraction, currency: str, language: Language) -> str:
    amount = money_words(money=Money(term.bound, currency), language=language)
    part = share_text(share=share, language=language)
    if term.kind is AdjustmentKind.MINIMUM_SPEND:
        if share == 1:
            return language.say("the minimum spend of {amount}", amount=amount)
        return language.say("{share} of the minimum spend of {amount}", share=part, amount=amount)
    if share == 1:
        return language.say("the maximum spend of {amount}", amount=amount)
    return language.say("{share} of the maximum spend of {amount}", share=part, amount=amount)


def _description(term: SpendBound, amount: Money, language: Language) -> str:
    if term.kind is AdjustmentKind.MINIMUM_SPEND:
        return language.say("True-up to the minimum spend" if amount.amount else "Minimum spend, reached")
    return language.say("Reduction to the maximum spend" if amount.amount else "Maximum spend, not reached")


def _explanation(term: SpendBound, bound_text: str, spent: Money, amount: Money, language: Language) -> str:
    rest = money_words(money=abs(amount), language=language)
    if term.kind is AdjustmentKind.MINIMUM_SPEND:
        so = language.say("{rest} are missing to it", rest=rest) if amount.amount else language.say("it is reached")
    elif amount.amount:
        so = language.say("{rest} above it are not charged", rest=rest)
    else:
        so = language.say("it is not exceeded")
    return language.say(
        "The charges come to {spent}. Agreed is {bound}: {so}.",
        spent=money_words(money=spent, language=language),
        bound=bound_text,
        so=so,
    )


def _arithmetic(term: SpendBound, share: Fraction, bound: Money, spent: Money, amount: Money) -> str:
    currency = spent.currency.code

    def text(money: Decimal) -> str:
        return amount_text(amount=money, currency=currency)

    written = text(term.bound)
    if share != 1 or bound.amount != term.bound:
        written = f"{written} × {share} ≈ {text(bound.amount)}"
    if not amount.amount:
        sign = "≤" if term.kind is AdjustmentKind.MINIMUM_SPEND else "≥"
        return f"{written} {sign} {text(spent.amount)}"
    return f"{written} − {text(spent.amount)} = {text(amount.amount)}"
