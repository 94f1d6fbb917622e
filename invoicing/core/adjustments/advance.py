"""Fees in advance: what the coming period will cost is invoiced before it begins, and settled against what it came to.

Charges stay what the phases owe. What is held of a subscription is the sum of its lines of these kinds on earlier invoices. An
invoice takes as much of it as its charges come to, and lifts the rest to the fees of the next period: whatever changed
meanwhile is settled, no bill becomes negative, and over a life charges alone are paid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

from moneyed import Money

from billing_site.kernel.money import plain, round_money, total
from billing_site.kernel.period import Period, as_utc
from invoicing.core.adjustments.parts import parts_in_order
from invoicing.core.contract import AdjustmentKind, AdjustmentLine, BaseLine, Charge, Step, StepKind, Term
from invoicing.core.definition import definition_of, price_from_definition
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.rating import rate_charge
from invoicing.core.spans import service_text
from invoicing.core.wording import amount_text, money_words

NOTHING = Decimal(0)


@dataclass(frozen=True)
class AdvanceTerm(Term):
    """What fees in advance have to do with one invoice; `held` is what was invoiced in advance and not settled before it."""

    held: Decimal

    def __post_init__(self) -> None:
        assert self.held >= 0, "no more is settled than was invoiced in advance"


@dataclass(frozen=True)
class InvoicedInAdvance(AdvanceTerm):
    """What was invoiced in advance for the charges of this invoice; `about` are the lines of the subscription, fees in advance first.

    It comes off them in this order where credit for a plan or meter asks what is left to pay of each (`settled_parts`).
    """

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.INVOICED_IN_ADVANCE


@dataclass(frozen=True)
class InAdvance(AdvanceTerm):
    """What the next period costs as agreed today; `about` is what this invoice settles, if it does."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.IN_ADVANCE

    fees: tuple[Charge, ...] = ()
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.fees and all(fee.meter is None for fee in self.fees), "only fees are known in advance"


@dataclass(frozen=True)
class AdvanceCredit(AdvanceTerm):
    """What is left of a subscription that has ended, taken off what else its customer owes; `about` are all lines before it."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.ADVANCE_CREDIT


def adjust_advance(
    *, term: AdvanceTerm, base: tuple[BaseLine, ...], currency: str, language: Language = ENGLISH
) -> AdjustmentLine:
    """Return the line of one term: what is settled, what is taken for the next period, or what is given back."""
    seen = total((line.amount for line in base), currency)
    held = round_money(term.held, currency)
    match term:
        case InvoicedInAdvance():
            told = "{taken} of these charges are invoiced already"
            return _settled(term, base, held, seen, "Invoiced in advance", told, language)
        case AdvanceCredit():
            told = "{taken} of this invoice are invoiced already"
            return _settled(term, base, held, seen, "Credit from fees invoiced in advance", told, language)
        case InAdvance():
            return _next_fees(term, base, held + seen, language)
        case _:
            raise AssertionError(f"fees in advance have no such term: {term}")


def settled_parts(*, line: AdjustmentLine) -> tuple[BaseLine, ...]:
    """Return what a line of what was invoiced in advance leaves nobody to pay of each charge, in the order of its lines."""
    assert isinstance(line.term, InvoicedInAdvance), "only this settles charges of its own"
    return parts_in_order(amount=line.amount * -1, base=line.base)


def advance_document(*, term: AdvanceTerm) -> dict[str, Any]:
    """Return what is particular to a term as canonical JSON members."""
    document: dict[str, Any] = {"held": plain(term.held)}
    if isinstance(term, InAdvance):
        document["fees"] = [_fee_document(fee) for fee in term.fees]
        document["timezone"] = term.timezone
    return document


def advance_members(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a term from its document."""
    members: dict[str, Any] = {"held": Decimal(document["held"])}
    if "fees" in document:
        members["fees"] = tuple(_fee(fee) for fee in document["fees"])
        members["timezone"] = document["timezone"]
    return members


def _settled(
    term: AdvanceTerm,
    base: tuple[BaseLine, ...],
    held: Money,
    owed: Money,
    description: str,
    explanation: str,
    language: Language,
) -> AdjustmentLine:
    nothing = total((), held.currency.code)
    taken = min(held, max(owed, nothing))
    left = held - taken
    told = language.say(explanation, taken=money_words(money=taken, language=language))
    if left.amount:
        told += language.say("; {left} are left", left=money_words(money=left, language=language))
    step = Step(
        kind=StepKind.SETTLED,
        quantity=NOTHING,
        amount=-Fraction(taken.amount),
        flat_amount=held.amount,
        text=language.say("Of {held} that were invoiced in advance", held=money_words(money=held, language=language)),
        arithmetic=f"= {_amount(nothing - taken)}",
    )
    return AdjustmentLine(
        term=term,
        base=base,
        description=language.say(description),
        explanation=f"{told}.",
        amount=nothing - taken,
        steps=(step,),
    )


def _next_fees(term: InAdvance, base: tuple[BaseLine, ...], rest: Money, language: Language) -> AdjustmentLine:
    currency = rest.currency.code
    nothing = total((), currency)
    lines = [rate_charge(charge=fee, usage=None, currency=currency) for fee in term.fees]
    steps = [
        Step(
            kind=StepKind.ADVANCE_FEE,
            quantity=NOTHING,
            amount=Fraction(line.amount.amount),
            flat_amount=line.amount.amount,
            text=line.description,
            arithmetic="; ".join(step.arithmetic for step in line.steps),
        )
        for line in lines
    ]
    fees = total((line.amount for line in lines), currency)
    counted = min(rest, fees)
    service = term.service_period
    span = service_text(start=service.start, end=service.end, timezone=term.timezone, language=language)
    told = language.say(
        "{fees} are owed for {span}, which is paid before it is served",
        fees=money_words(money=fees, language=language),
        span=span,
    )
    if rest.amount:
        told += language.say(
            "; {counted} of it are invoiced already", counted=money_words(money=counted, language=language)
        )
        steps.append(
            Step(
                kind=StepKind.HELD,
                quantity=NOTHING,
                amount=-Fraction(counted.amount),
                flat_amount=rest.amount,
                text=language.say(
                    "Invoiced in advance and not used: {rest}", rest=money_words(money=rest, language=language)
                ),
                arithmetic=f"= {_amount(nothing - counted)}",
            )
        )
    return AdjustmentLine(
        term=term,
        base=base,
        description=language.say("In advance for {span}", span=span),
        explanation=f"{told}.",
        amount=fees - counted,
        steps=tuple(steps),
    )


def _fee_document(fee: Charge) -> dict[str, Any]:
    return {
        "reference": fee.reference,
        "name": fee.name,
        "service_period": {"start": _time(fee.service_period.start), "end": _time(fee.service_period.end)},
        "share": plain(fee.share),
        "quantity": fee.quantity,
        "price": definition_of(fee.price),
    }


def _fee(document: Mapping[str, Any]) -> Charge:
    return Charge(
        reference=document["reference"],
        name=document["name"],
        price=price_from_definition(document["price"]),
        meter=None,
        unit="",
        subscription="",
        service_period=_period(document["service_period"]),
        share=Fraction(document["share"]),
        quantity=document["quantity"],
    )


def _period(document: Mapping[str, Any]) -> Period:
    return Period(datetime.fromisoformat(document["start"]), datetime.fromisoformat(document["end"]))


def _time(moment: datetime) -> str:
    return as_utc(moment).isoformat().replace("+00:00", "Z")


def _amount(money: Money) -> str:
    return amount_text(amount=money.amount, currency=money.currency.code)
