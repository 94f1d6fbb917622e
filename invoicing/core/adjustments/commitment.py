"""Commitments: spend that was promised for a time, paid before or made up for at its end (S0-066).

A tranche is the amount promised for some billing periods. Paid in advance, its base is invoiced when it begins, charges are drawn
from it, and what is left at its end expires or rolls over. Paid in arrears, charges are invoiced as they come, and what is
missing to the promise is trued up at its end. Beyond it, charges cost the overage rate of their list price.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

from moneyed import Money

from billing_site.kernel.money import EXACT, plain, round_money, total
from invoicing.core.adjustments.parts import parts_of
from invoicing.core.contract import AdjustmentKind, AdjustmentLine, BaseLine, Step, StepKind, Term
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.wording import amount_text, money_words, percent_text

NOTHING = Decimal(0)


@dataclass(frozen=True)
class CommitmentTerm(Term):
    """What one tranche has to do with one invoice; `available` is what was left of it before this invoice."""

    tranche: int
    available: Decimal


@dataclass(frozen=True)
class CommitmentBase(CommitmentTerm):
    """The amount that is paid in advance."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.COMMITMENT_BASE


@dataclass(frozen=True)
class CommitmentDrawdown(CommitmentTerm):
    """What the charges take of the amount that was paid."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.COMMITMENT_DRAWDOWN


@dataclass(frozen=True)
class CommitmentOverage(CommitmentTerm):
    """What charges beyond the tranche cost more, or less, than their list price; `rate` is a fraction of it."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.COMMITMENT_OVERAGE

    rate: Decimal


@dataclass(frozen=True)
class CommitmentTrueUp(CommitmentTerm):
    """What is missing to the promise at the end of a tranche that is paid in arrears."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.COMMITMENT_TRUE_UP


@dataclass(frozen=True)
class CommitmentExpiry(CommitmentTerm):
    """What becomes of the rest of a tranche that was paid in advance: up to `carry_max` rolls over, None is all of it."""

    kind: ClassVar[AdjustmentKind] = AdjustmentKind.COMMITMENT_EXPIRY

    carry_max: Decimal | None = NOTHING


def adjust_commitment(
    *, term: CommitmentTerm, base: tuple[BaseLine, ...], currency: str, language: Language = ENGLISH
) -> AdjustmentLine:
    """Return the line that a tranche has on an invoice; together, all that was promised is drawn, trued up, expired or rolled over."""
    spent = total((line.amount for line in base), currency)
    available = max(round_money(term.available, currency), total((), currency))
    counted = min(spent, available)
    left = available - counted
    say = language.say
    available_text, counted_text, left_text = (
        money_words(money=money, language=language) for money in (available, counted, left)
    )
    match term:
        case CommitmentBase():
            step = _step(StepKind.COMMITTED, say("Committed spend, paid in advance"), available)
            told = say("{amount} are paid before they are used.", amount=available_text)
            return _line(term, base, currency, say("Commitment, paid in advance"), told, step)
        case CommitmentDrawdown():
            drawn = say("Drawn from the commitment, of which {available} were left", available=available_text)
            told = say(
                "{counted} of these charges are paid already: {left} of the commitment are left.",
                counted=counted_text,
                left=left_text,
            )
            step = _step(StepKind.DRAWN, drawn, -counted)
            line = _line(term, base, currency, say("Paid from the commitment"), told, step)
            # What is paid already is off its lines: discounts reduce what is left to pay.
            return replace(line, parts=parts_of(amount=counted, base=base))
        case CommitmentOverage():
            return _overage(term, base, spent - counted, language)
        case CommitmentTrueUp():
            step = _step(StepKind.TRUE_UP, say("Missing to the committed spend"), left, flat=available)
            told = say(
                "{available} of the commitment were still to be spent, {counted} were: {left} are missing.",
                available=available_text,
                counted=counted_text,
                left=left_text,
            )
            return _line(term, base, currency, say("True-up to the committed spend"), told, step)
        case CommitmentExpiry():
            kept = left if term.carry_max is None else min(left, round_money(term.carry_max, currency))
            kept_text, lost_text = (money_words(money=money, language=language) for money in (kept, left - kept))
            expire, roll = say("{amount} expire", amount=lost_text), say("{amount} roll over", amount=kept_text)
            so = f"{expire}, {roll}" if kept.amount else expire
            told = say("{left} of the commitment are left at its end: {so}.", left=left_text, so=so)
            nothing = total((), currency)
            expired = _step(StepKind.EXPIRED, expire, nothing, flat=left - kept)
            rolled = _step(StepKind.ROLLED_OVER, roll, nothing, flat=kept)
            return _line(term, base, currency, say("End of the commitment"), told, expired, rolled)
        case _:
            raise AssertionError(f"a commitment has no such term: {term}")


def commitment_document(*, term: CommitmentTerm) -> dict[str, Any]:
    """Return what is particular to a tranche on an invoice as canonical JSON members."""
    document: dict[str, Any] = {"tranche": term.tranche, "available": plain(term.available)}
    if isinstance(term, CommitmentOverage):
        document["rate"] = plain(term.rate)
    if isinstance(term, CommitmentExpiry):
        document["carry_max"] = None if term.carry_max is None else plain(term.carry_max)
    return document


def commitment_members(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a term from its document."""
    members: dict[str, Any] = {"tranche": document["tranche"], "available": Decimal(document["available"])}
    if "rate" in document:
        members["rate"] = Decimal(document["rate"])
    if "carry_max" in document:
        members["carry_max"] = None if document["carry_max"] is None else Decimal(document["carry_max"])
    return members


def amount_of_step(*, rated: Mapping[str, Any], kind: StepKind) -> Decimal:
    """Return what the stored line of a tranche's end says that expired, or rolled over."""
    amounts = (Decimal(step["flat_amount"]) for step in rated["steps"] if step["kind"] == kind.value)
    return sum(amounts, NOTHING)


def _overage(term: CommitmentOverage, base: tuple[BaseLine, ...], excess: Money, language: Language) -> AdjustmentLine:
    currency = excess.currency.code
    above = EXACT.subtract(term.rate, Decimal(1))
    amount = round_money(EXACT.multiply(excess.amount, above), currency)
    say = language.say
    percent = percent_text(rate=term.rate, language=language)
    excess_text = money_words(money=excess, language=language)
    told = (
        say(
            "{excess} are beyond the commitment and cost {percent} of their list price.",
            excess=excess_text,
            percent=percent,
        )
        if excess.amount
        else say(
            "Nothing is beyond the commitment, where the list price would be charged at {percent}.", percent=percent
        )
    )
    step = Step(
        kind=StepKind.OVERAGE,
        quantity=NOTHING,
        amount=Fraction(amount.amount),
        rate=term.rate,
        flat_amount=excess.amount,
        text=say(
            "{excess} beyond the commitment at {percent} of their list price", excess=excess_text, percent=percent
        ),
        arithmetic=f"{plain(excess.amount)} × ({plain(term.rate)} − 1) = {amount_text(amount=amount.amount, currency=currency)}",
    )
    line = _line(term, base, currency, say("Overage rate beyond the commitment"), told, step)
    # What a lower rate leaves nobody to pay is off its lines; a higher one is nobody's but its own.
    return replace(line, parts=parts_of(amount=amount * -1, base=base)) if amount.amount < 0 else line


def _line(
    term: CommitmentTerm,
    base: tuple[BaseLine, ...],
    currency: str,
    description: str,
    explanation: str,
    *steps: Step,
) -> AdjustmentLine:
    amount = round_money(sum((step.amount for step in steps), Fraction(0)), currency)
    return AdjustmentLine(
        term=term, base=base, description=description, explanation=explanation, amount=amount, steps=steps
    )


def _step(kind: StepKind, text: str, amount: Money, *, flat: Money | None = None) -> Step:
    written = amount_text(amount=amount.amount, currency=amount.currency.code)
    return Step(
        kind=kind,
        quantity=NOTHING,
        amount=Fraction(amount.amount),
        flat_amount=flat.amount if flat is not None else NOTHING,
        text=text,
        arithmetic=f"= {written}",
    )
