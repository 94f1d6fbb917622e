"""Discounts: a percentage or an amount off the lines that a coupon applies to, each cent taken off one of them."""

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
from invoicing.core.wording import amount_text, money_words, percent_text


@dataclass(frozen=True)
class Discount(Term):
    """What a coupon takes off a bill: `rate` is a fraction of one, `amount_off` an amount per billing period; one of both is set.

    Below `minimum_amount` of what it applies to, nothing is taken off.
    """

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.DISCOUNT

    name: str
    rate: Decimal | None = None
    amount_off: Decimal | None = None
    minimum_amount: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        assert (self.rate is None) != (self.amount_off is None), "a discount is a percentage or an amount"
        assert self.rate is None or 0 < self.rate <= 1, f"a percentage takes off a part: {self.rate}"
        assert self.amount_off is None or self.amount_off > 0, f"an amount takes something off: {self.amount_off}"


def adjust_discount(
    *, term: Discount, base: tuple[BaseLine, ...], currency: str, language: Language = ENGLISH
) -> AdjustmentLine:
    """Take the discount off what earlier discounts left of its lines, rounded once, and never below zero.

    `base` are the amounts left. The parts name what is taken off each line (largest remainder first), so that tax and revenue can
    follow the money.
    """
    left = total((line.amount for line in base), currency)
    off = _off(term, left)
    return AdjustmentLine(
        term=term,
        base=base,
        description=language.say("Discount {name}", name=term.name),
        explanation=_explanation(term, left, off, language),
        amount=total((), currency) - off,
        steps=(
            Step(
                kind=StepKind.DISCOUNT,
                quantity=Decimal(0),
                rate=term.rate or Decimal(0),
                flat_amount=term.amount_off or Decimal(0),
                amount=-Fraction(off.amount),
                text=_text(term, left, off, language),
                arithmetic=_arithmetic(term, left, off),
            ),
        ),
        parts=parts_of(amount=off, base=base),
    )


def discount_document(*, term: Discount) -> dict[str, Any]:
    """Return what is particular to a discount as canonical JSON members."""
    document = {"name": term.name, "minimum_amount": plain(term.minimum_amount)}
    if term.rate is not None:
        return document | {"rate": plain(term.rate)}
    assert term.amount_off is not None, "a discount is a percentage or an amount"
    return document | {"amount_off": plain(term.amount_off)}


def discount_members(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a discount from its document."""
    return {
        "name": document["name"],
        "minimum_amount": Decimal(document["minimum_amount"]),
        "rate": Decimal(document["rate"]) if "rate" in document else None,
        "amount_off": Decimal(document["amount_off"]) if "amount_off" in document else None,
    }


def _off(term: Discount, left: Money) -> Money:
    """Return what is taken off, not negative."""
    currency = left.currency.code
    nothing = total((), currency)
    if left <= nothing or left.amount < term.minimum_amount:
        return nothing
    if term.rate is not None:
        return round_money(Fraction(term.rate) * Fraction(left.amount), currency)
    assert term.amount_off is not None, "a discount is a percentage or an amount"
    return min(left, round_money(term.amount_off, currency))


def _explanation(term: Discount, left: Money, off: Money, language: Language) -> str:
    left_text, off_text = (money_words(money=money, language=language) for money in (left, off))
    if not off.amount:
        if 0 < left.amount < term.minimum_amount:
            least = money_words(money=Money(term.minimum_amount, left.currency), language=language)
            return language.say(
                "It applies from {least}; what it reduces comes to {left}.", least=least, left=left_text
            )
        return language.say("There is nothing left that it could reduce.")
    if term.rate is not None:
        percent = percent_text(rate=term.rate, language=language)
        return language.say("{percent} of {left} are taken off.", percent=percent, left=left_text)
    assert term.amount_off is not None, "a discount is a percentage or an amount"
    if off.amount < term.amount_off:
        whole = money_words(money=Money(term.amount_off, left.currency), language=language)
        return language.say(
            "Of {whole} only {off} are taken off: no more is left to reduce.", whole=whole, off=off_text
        )
    return language.say("{off} are taken off {left}.", off=off_text, left=left_text)


def _text(term: Discount, left: Money, off: Money, language: Language) -> str:
    if not off.amount:
        return language.say("Nothing is taken off")
    left_text = money_words(money=left, language=language)
    if term.rate is None:
        return language.say("{off} off {left}", off=money_words(money=off, language=language), left=left_text)
    return language.say("{off} off {left}", off=percent_text(rate=term.rate, language=language), left=left_text)


def _arithmetic(term: Discount, left: Money, off: Money) -> str:
    left_text, off_text = (amount_text(amount=money.amount, currency=money.currency.code) for money in (left, off))
    if not off.amount:
        return f"− {off_text}"
    if term.rate is None:
        return f"= − {off_text}"
    sign = "=" if Fraction(term.rate) * Fraction(left.amount) == Fraction(off.amount) else "≈"
    return f"{left_text} × {plain(term.rate)} {sign} {off_text}; − {off_text}"
