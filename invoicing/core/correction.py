"""Corrections: what an issued line would cost with the usage as it is known now, and the line that carries the difference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from moneyed import Money

from billing_site.kernel.money import EXACT, plain, total
from invoicing.core.contract import (
    Charge,
    CorrectionLine,
    DecidedAdjustment,
    DecidedCorrection,
    OpenCorrection,
    RatedLine,
    Step,
    StepKind,
    Usage,
)
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.rating import rate_charge
from invoicing.core.wording import amount_text, money_words, quantity_text


@dataclass(frozen=True)
class Reconsidered:
    """A charge rated with its usage as it was known, and as it is known now (whole-line re-rating, S0-061)."""

    before: RatedLine
    after: RatedLine

    @property
    def effect(self) -> Money:
        """What the customer owes more; negative where it is less."""
        return self.after.amount - self.before.amount

    @property
    def quantity(self) -> Decimal:
        """How much more was used; negative where it is less."""
        return EXACT.subtract(self.after.quantity, self.before.quantity)


def reconsider(*, charge: Charge, before: Usage, after: Usage, currency: str) -> Reconsidered:
    """Rate a whole charge twice; the difference is the effect, to the cent."""
    return Reconsidered(
        before=rate_charge(charge=charge, usage=before, currency=currency),
        after=rate_charge(charge=charge, usage=after, currency=currency),
    )


def correction_lines(
    *, corrections: Sequence[OpenCorrection], charged: Money, currency: str
) -> tuple[CorrectionLine, ...]:
    """Return the lines that an invoice over `charged` takes of the open corrections, in their order.

    What the customer owes is taken whole, what he gets back as far as the invoice has room: its total is never
    negative, and the rest stays open for the one after.
    """
    room = charged
    lines: dict[str, CorrectionLine] = {}
    nothing = total((), currency)
    for correction in sorted(corrections, key=lambda one: _rest(one) < nothing):
        part = max(_rest(correction), nothing - room)
        if part != nothing:
            lines[correction.reference] = (
                adjustment_correction_line(correction=correction, amount=part)
                if isinstance(correction, DecidedAdjustment)
                else correction_line(correction=correction, amount=part)
            )
            room += part
    assert room >= nothing, "credits stop at zero"
    return tuple(lines[one.reference] for one in corrections if one.reference in lines)


def corrections_after(
    *, corrections: Sequence[OpenCorrection], carried: Mapping[str, Money]
) -> tuple[OpenCorrection, ...]:
    """Return what is left of open corrections once other invoices carry so much of them, by reference."""
    return tuple(
        replace(one, taken=one.taken + carried[one.reference]) if one.reference in carried else one
        for one in corrections
    )


def correction_line(*, correction: DecidedCorrection, amount: Money, language: Language = ENGLISH) -> CorrectionLine:
    """Return the line that carries `amount` of a correction; the quantity stands with its first part."""
    rated = reconsider(
        charge=correction.charge, before=correction.before, after=correction.after, currency=correction.currency
    )
    is_first = not correction.taken.amount
    rest = rated.effect - correction.taken - amount
    _check_part(amount, effect=rated.effect, is_first=is_first, rest=rest)
    steps = tuple(_steps(correction, rated, rest, language))
    _check_steps(steps, amount)
    charge = correction.charge
    return CorrectionLine(
        reference=correction.reference,
        description=_description(correction, rated, rest, language),
        explanation=_explanation(correction, rated, rest, amount, language),
        subscription=charge.subscription,
        meter=charge.meter,
        quantity=rated.quantity if is_first else Decimal(0),
        unit=charge.unit,
        amount=amount,
        steps=steps,
        service_period=charge.service_period,
        correction=correction,
    )


def adjustment_correction_line(
    *, correction: DecidedAdjustment, amount: Money, language: Language = ENGLISH
) -> CorrectionLine:
    """Return the line that carries `amount` of what late usage made of an adjustment; it has no quantity.

    The words of the adjustment before and after are those of the lines given.
    """
    before, after = correction.before, correction.after
    rest = _rest(correction) - amount
    effect = after.amount - before.amount
    _check_part(amount, effect=effect, is_first=not correction.taken.amount, rest=rest)
    steps = (
        _step(StepKind.RATED_AFTER, language.say("With the usage as it is known now"), after.amount),
        _step(StepKind.INVOICED_BEFORE, language.say("As it was invoiced"), -before.amount),
        *_parts(correction.taken, rest, language),
    )
    _check_steps(steps, amount)
    explanation = language.say(
        "It stood with {amount} on invoice {invoice}. {explanation} With the usage as it is known now it is {now}.",
        amount=money_words(money=before.amount, language=language),
        invoice=correction.invoice_number,
        explanation=after.explanation,
        now=money_words(money=after.amount, language=language),
    )
    return CorrectionLine(
        reference=correction.reference,
        description=_headed(correction, before.description, rest, language),
        explanation=explanation,
        subscription=after.subscription,
        meter=None,
        quantity=Decimal(0),
        unit="",
        amount=amount,
        steps=steps,
        service_period=after.service_period,
        correction=correction,
    )


def _check_part(amount: Money, *, effect: Money, is_first: bool, rest: Money) -> None:
    assert amount.amount, "a line carries money"
    assert (amount == effect and is_first) or (effect.amount < 0 and amount.amount < 0 and rest.amount <= 0), (
        "only a credit is split, and never exceeded"
    )


def _check_steps(steps: Sequence[Step], amount: Money) -> None:
    exact = sum((step.amount for step in steps), Fraction(0))
    assert exact == Fraction(amount.amount), "the steps add up"


def _rest(correction: OpenCorrection) -> Money:
    if isinstance(correction, DecidedAdjustment):
        return correction.after.amount - correction.before.amount - correction.taken
    rated = reconsider(
        charge=correction.charge, before=correction.before, after=correction.after, currency=correction.currency
    )
    return rated.effect - correction.taken


def _description(correction: DecidedCorrection, rated: Reconsidered, rest: Money, language: Language) -> str:
    """Say what is corrected: "Late usage of July 2026: 1,200 more calls on invoice INV-2026-00012, line 2".

    Where only its place in the tiers moved, no quantity is more or fewer: "8 calls priced anew".
    """
    unit = correction.charge.unit
    difference = rated.quantity.copy_abs()
    if not difference:
        units = quantity_text(quantity=rated.after.quantity, unit=unit, language=language)
        return _headed(correction, language.say("{units} priced anew", units=units), rest, language)
    counted = language.counted(unit, difference)
    phrase = "{count} more {unit}" if rated.quantity > 0 else "{count} fewer {unit}"
    told = language.say(phrase, count=language.figure(plain(difference)), unit=counted)
    return _headed(correction, told.rstrip(), rest, language)


def _headed(correction: OpenCorrection, what: str, rest: Money, language: Language) -> str:
    """Say of which period and line something is corrected, and whether in parts."""
    told = language.say(
        "Late usage of {period}: {what} on invoice {invoice}, line {line}",
        period=language.span_told(correction.period),
        what=what,
        invoice=correction.invoice_number,
        line=str(correction.position),
    )
    is_part = rest.amount or correction.taken.amount
    return told + language.say(" (a part of the credit)") if is_part else told


def _explanation(
    correction: DecidedCorrection, rated: Reconsidered, rest: Money, amount: Money, language: Language
) -> str:
    say, unit = language.say, correction.charge.unit
    effect = money_words(money=abs(rated.effect), language=language)
    sentences = [
        _why(correction, rated, language),
        say(
            "With {after} it costs {now}; {then} were invoiced for {before}.",
            after=quantity_text(quantity=rated.after.quantity, unit=unit, language=language),
            now=money_words(money=rated.after.amount, language=language),
            then=money_words(money=rated.before.amount, language=language),
            before=quantity_text(quantity=rated.before.quantity, unit=unit, language=language),
        ),
        say("{amount} more is owed." if rated.effect.amount > 0 else "{amount} is given back.", amount=effect),
    ]
    if correction.taken.amount:
        taken = money_words(money=abs(correction.taken), language=language)
        sentences.append(say("{amount} of it stand on earlier invoices.", amount=taken))
    if rest.amount:
        sentences.append(
            say(
                "{amount} of it fit on this invoice, {rest} stay for the next one.",
                amount=money_words(money=abs(amount), language=language),
                rest=money_words(money=abs(rest), language=language),
            )
        )
    return " ".join(sentences)


def _why(correction: DecidedCorrection, rated: Reconsidered, language: Language) -> str:
    """Say what was not known: usage of the line itself, or usage before it from which its tiers go on."""
    name, unit = correction.charge.name, correction.charge.unit
    carried = correction.before.carried, correction.after.carried
    if rated.quantity or carried[0] == carried[1]:
        return language.say("Not all usage of {name} was known when it was invoiced.", name=name)
    before, after = (quantity_text(quantity=quantity, unit=unit, language=language) for quantity in carried)
    return language.say(
        "Not all usage before it in the same billing period was known when {name} was invoiced:"
        " its tiers go on from {after}, not from {before}.",
        name=name,
        after=after,
        before=before,
    )


def _steps(correction: DecidedCorrection, rated: Reconsidered, rest: Money, language: Language) -> Iterator[Step]:
    """Write the difference out: the charge as it is known now, less what was invoiced, less what other invoices take."""
    unit = correction.charge.unit
    after = quantity_text(quantity=rated.after.quantity, unit=unit, language=language)
    before = quantity_text(quantity=rated.before.quantity, unit=unit, language=language)
    yield _step(
        StepKind.RATED_AFTER,
        language.say("{units} as they are known now", units=after),
        rated.after.amount,
        quantity=rated.after.quantity,
    )
    yield _step(
        StepKind.INVOICED_BEFORE,
        language.say("{units} as they were invoiced", units=before),
        -rated.before.amount,
        quantity=rated.before.quantity,
    )
    yield from _parts(correction.taken, rest, language)


def _parts(taken: Money, rest: Money, language: Language) -> Iterator[Step]:
    """Write out what other invoices take of a credit."""
    if taken.amount:
        yield _step(StepKind.TAKEN_BEFORE, language.say("Credited on earlier invoices"), -taken)
    if rest.amount:
        yield _step(StepKind.LEFT_FOR_LATER, language.say("Stays for the next invoice"), -rest)


def _step(kind: StepKind, text: str, amount: Money, *, quantity: Decimal = Decimal(0)) -> Step:
    written = amount_text(amount=amount.amount, currency=amount.currency.code)
    if amount.amount >= 0 and kind is not StepKind.RATED_AFTER:
        written = f"+ {written}"
    return Step(kind=kind, quantity=quantity, amount=Fraction(amount.amount), text=text, arithmetic=f"= {written}")
