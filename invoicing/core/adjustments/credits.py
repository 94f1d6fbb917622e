"""Credits: what is left of lots pays for lines, lot by lot in a stated order, as far as there is something to pay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, ClassVar

from moneyed import Money

from billing_site.kernel.money import total, wire
from billing_site.kernel.period import Period
from invoicing.core.adjustments.parts import parts_of
from invoicing.core.contract import AdjustmentKind, AdjustmentLine, BaseLine, Step, StepKind, Term
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.wording import amount_text, money_words

NEVER = datetime.max.replace(tzinfo=UTC)


class CreditKind(StrEnum):
    """What a lot is: given away, or paid for before it is used."""

    PROMOTIONAL = "promotional"
    PREPAID = "prepaid"


DESCRIPTIONS = {
    CreditKind.PROMOTIONAL: "Promotional credit: {name}",
    CreditKind.PREPAID: "Prepaid credit: {name}",
}


@dataclass(frozen=True)
class Lot:
    """What is left of a credit grant. `number` grows with every grant; `about` are the lines that it may pay for, None all of them."""

    number: int
    name: str
    kind: CreditKind
    balance: Money
    priority: int
    effective_at: datetime
    expires_at: datetime | None = None
    about: frozenset[str] | None = None

    @property
    def reference(self) -> str:
        """What names it within an invoice."""
        return f":credit/{self.number}"

    def after(self, *, drawn: Money | None) -> "Lot":
        """Return what is left of it after a draw, which is negative, or None."""
        return self if drawn is None else replace(self, balance=self.balance + drawn)

    def is_usable_for(self, period: Period) -> bool:
        """Say whether the lot pays for a period: it is in force at the period's last moment."""
        return self.effective_at < period.end and (self.expires_at is None or self.expires_at >= period.end)


def drawdown_order(lot: Lot) -> tuple[int, datetime, bool, datetime, int]:
    """Sort lots as they are drawn: smaller priority, expiring first, promotional before prepaid, oldest."""
    return (lot.priority, lot.expires_at or NEVER, lot.kind is CreditKind.PREPAID, lot.effective_at, lot.number)


@dataclass(frozen=True)
class Draw(Term):
    """One lot at the moment it is drawn on: what it has, and what is left to pay of the whole invoice."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.CREDIT

    name: str
    credit_kind: CreditKind
    balance: Money
    room: Money

    def __post_init__(self) -> None:
        assert self.balance.amount > 0, "an empty lot is not drawn on"
        assert self.room.amount >= 0, "an invoice has something to pay, or nothing"


def draw_lots(
    *, lots: Sequence[Lot], lines: Sequence[BaseLine], to_pay: Money, period: Period
) -> tuple[AdjustmentLine, ...]:
    """Return a line for each lot that pays something, in the order of drawing.

    `lines` are what is left of each line of the invoice after all that reduced it, `to_pay` its total. What is drawn never exceeds a lot,
    the lines that it may pay for, or what is to pay.
    """
    left = {line.reference: line.amount for line in lines}
    currency = to_pay.currency.code
    room, drawn = to_pay, []
    for lot in sorted(lots, key=drawdown_order):
        if not lot.is_usable_for(period) or lot.balance.amount <= 0 or room.amount <= 0:
            continue
        assert lot.balance.currency.code == currency, "a lot pays for invoices of its own currency"
        about = tuple(
            reference
            for reference, amount in left.items()
            if amount.amount > 0 and (lot.about is None or reference in lot.about)
        )
        if not about:
            continue
        term = Draw(
            reference=lot.reference,
            subscription="",
            service_period=period,
            about=about,
            name=lot.name,
            credit_kind=lot.kind,
            balance=lot.balance,
            room=room,
        )
        line = adjust_draw(term=term, base=tuple(BaseLine(name, left[name]) for name in about), currency=currency)
        for part in line.parts:
            left[part.reference] -= part.amount
        room += line.amount
        drawn.append(line)
    assert room == to_pay + total((line.amount for line in drawn), currency) and room.amount >= 0, (
        "credits stop at zero"
    )
    return tuple(drawn)


def adjust_draw(
    *, term: Draw, base: tuple[BaseLine, ...], currency: str, language: Language = ENGLISH
) -> AdjustmentLine:
    """Return what one lot pays: all it has, as far as its lines and the invoice have something to pay."""
    open_amount = total((line.amount for line in base), currency)
    paid = min(term.balance, open_amount, term.room)
    rest = term.balance - paid
    pays_for = min(open_amount, term.room)
    paid_text, balance_text, rest_text, pays_text = (
        money_words(money=money, language=language) for money in (paid, term.balance, rest, pays_for)
    )
    return AdjustmentLine(
        term=term,
        base=base,
        description=language.say(DESCRIPTIONS[term.credit_kind], name=term.name),
        explanation=language.say(
            "Of {balance} that were left, {paid} pay for this invoice; {rest} stay.",
            balance=balance_text,
            paid=paid_text,
            rest=rest_text,
        ),
        amount=total((), currency) - paid,
        steps=(
            Step(
                kind=StepKind.CREDIT,
                quantity=Decimal(0),
                flat_amount=term.balance.amount,
                amount=Fraction(-paid.amount),
                text=language.say(
                    "{paid} of {balance} pay for {amount}", paid=paid_text, balance=balance_text, amount=pays_text
                ),
                arithmetic=f"{_figure(term.balance)} − {_figure(paid)} = {_figure(rest)} left",
            ),
        ),
        parts=parts_of(amount=paid, base=base),
    )


def draw_document(*, term: Draw) -> dict[str, Any]:
    """Return what is particular to a draw as canonical JSON members."""
    return {
        "name": term.name,
        "credit_kind": term.credit_kind.value,
        "balance": wire(term.balance),
        "room": wire(term.room),
    }


def draw_members(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a draw from its document."""
    return {
        "name": document["name"],
        "credit_kind": CreditKind(document["credit_kind"]),
        "balance": _read(document["balance"]),
        "room": _read(document["room"]),
    }


def _read(document: Mapping[str, Any]) -> Money:
    return Money(Decimal(document["amount"]), document["currency"])


def _figure(money: Money) -> str:
    return amount_text(amount=money.amount, currency=money.currency.code)
