"""What people change on a draft by hand: what a line comes to, or a line of its own. The charge stays as it was rated, and the change proves itself beside it."""

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
from invoicing.core.wording import amount_text, money_words


@dataclass(frozen=True)
class Edit(Term):
    """One change by hand, in the words of `description`: `amount` is what the line with the reference `line` comes to, or, where that is "", what is added to the bill, signed.

    `about` is that line, where the bill still has it; of what is taken off the bill, all lines that may give something. `kept` is what the
    change came to when it was first issued: late usage, and an invoice made again, leave it at that, but for what its lines do not come to any more.
    """

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.EDIT

    description: str
    line: str
    amount: Decimal
    kept: Decimal | None = None

    def __post_init__(self) -> None:
        assert self.amount >= 0 or not self.line, f"a line comes to an amount: {self.amount}"
        assert self.line == "" or self.about in ((), (self.line,)), "it changes one line"
        assert self.line or self.amount < 0 or not self.about, "what is added comes off no line"


def adjust_edit(
    *, term: Edit, base: tuple[BaseLine, ...], currency: str, language: Language = ENGLISH
) -> AdjustmentLine:
    """Let a line come to what somebody decided, or add to the bill or take off it what they decided; never more than is left.

    What comes off is off its line, or off all, by what they have: tax, credit and revenue follow the money. A line that is gone changes nothing.
    """
    nothing, left = total((), currency), total((line.amount for line in base), currency)
    asked = round_money(term.amount, currency)
    if term.line and not base:
        change = nothing
    elif term.kept is not None:
        change = max(round_money(term.kept, currency), nothing - left)
    elif not term.line:
        # Not times -1: of nothing that would be -0, which no database keeps.
        change = asked if asked.amount >= 0 else max(asked, nothing - left)
    else:
        change = asked - left
    return AdjustmentLine(
        term=term,
        base=base,
        description=term.description,
        explanation=_explanation(term, left, asked, change, language),
        amount=change,
        steps=(
            Step(
                kind=StepKind.EDITED,
                quantity=Decimal(0),
                flat_amount=term.amount,
                amount=Fraction(change.amount),
                text=language.say("Decided by hand"),
                arithmetic=_arithmetic(term, left, asked, change),
            ),
        ),
        parts=parts_of(amount=change * -1, base=base) if change.amount < 0 else (),
    )


def edit_document(*, term: Edit) -> dict[str, Any]:
    """Return what is particular to a change by hand as canonical JSON members."""
    kept = {} if term.kept is None else {"kept": plain(term.kept)}
    return {"description": term.description, "line": term.line, "amount": plain(term.amount)} | kept


def edit_members(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a change by hand from its document."""
    return {
        "description": document["description"],
        "line": document["line"],
        "amount": Decimal(document["amount"]),
        "kept": Decimal(document["kept"]) if "kept" in document else None,
    }


def _explanation(term: Edit, left: Money, asked: Money, change: Money, language: Language) -> str:
    left_text, asked_text, change_text = (
        money_words(money=abs(money), language=language) for money in (left, asked, change)
    )
    if term.line and not term.about:
        return language.say("The line that it changes is not on this invoice: nothing is changed.")
    if term.kept is not None:
        return language.say(
            "It was decided by hand, and stays what it came to when it was first issued: {amount}, but no more off than is left.",
            amount=amount_text(amount=change.amount, currency=change.currency.code),
        )
    if term.line:
        return language.say("In place of {left} the line comes to {asked}.", left=left_text, asked=asked_text)
    if asked.amount >= 0:
        return language.say("{asked} are added.", asked=asked_text)
    if change != asked:
        return language.say(
            "Of {whole} only {off} are taken off: no more is left to reduce.", whole=asked_text, off=change_text
        )
    return language.say("{off} are taken off {left}.", off=change_text, left=left_text)


def _arithmetic(term: Edit, left: Money, asked: Money, change: Money) -> str:
    currency = change.currency.code
    left_text, asked_text, change_text = (
        amount_text(amount=money.amount, currency=currency) for money in (left, asked, change)
    )
    if term.kept is not None:
        return f"= {change_text}"
    return f"{asked_text} − {left_text} = {change_text}" if term.line and term.about else f"= {change_text}"
