"""Progressive lines: what the charges of a running period have come to, less what reduces them and what was invoiced before.

Only what more usage cannot take back is charged before the period ends: neither what lifts a charge to a minimum, nor more of a
volume price than its cheapest tier to come. What cancellations take back nevertheless stays held for the invoices that follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from moneyed import Money

from billing_site.kernel.money import EXACT, round_money, total, wire
from billing_site.kernel.period import Period, as_utc
from invoicing.core.adjustments.progressive import InvoicedProgressively, taken_parts
from invoicing.core.contract import AssembledInvoice, PriceModel, RatedLine, Step, StepKind
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.wording import money_words, quantity_text

PROGRESSIVE = "progressive"
NOTHING = Decimal(0)


@dataclass(frozen=True)
class ProgressiveLine:
    """A charge as rated by a moment (`until`), what reductions and credit take of it, what was invoiced of it before, and what is charged now.

    `room` is what the whole invoice would ask for, less what the lines before this one charge.
    """

    rated: RatedLine
    until: datetime
    reduced: Money
    taken: Money
    room: Money
    explanation: str
    amount: Money
    steps: tuple[Step, ...]

    @property
    def reference(self) -> str:
        """What names it within its invoice."""
        return f":{PROGRESSIVE}/{self.rated.reference}"

    @property
    def description(self) -> str:
        """What was used."""
        return self.rated.description


def progressive_lines(
    *, invoice: AssembledInvoice, left: Mapping[str, Money], until: datetime
) -> tuple[ProgressiveLine, ...]:
    """Return what can be charged of the usage of a running period, its invoice computed by that moment without tax and corrections; lines over nothing are left out.

    `left` is what adjustments and credit have left of each line of that invoice (`core.assembly.amounts_after_credit`).
    Together they never come to more than that invoice asks for: after allowances, maximum spend, commitments, discounts, fees in
    advance, credit and earlier progressive invoices (S0-064, S0-066).
    """
    assert invoice.tax is None and not invoice.corrections, "it is taxed once it is known, and corrects nothing"
    taken = _taken_before(invoice)
    room, found = invoice.total, []
    for rated in invoice.lines:
        if rated.usage is None or not rated.usage.quantity:
            continue
        before = taken.get(rated.reference, rated.amount * 0)
        reduced = rated.amount - before - left[rated.reference]
        line = _line(rated=rated, until=until, reduced=reduced, taken=before, room=room)
        if line.amount.amount:
            found.append(line)
            room -= line.amount
    assert room.amount >= 0, "no more is charged than the invoice asks for"
    return tuple(found)


def progressive_inputs(*, line: ProgressiveLine) -> dict[str, Any]:
    """Return what a progressive line depends on beside its charge, its usage and the moment, as canonical JSON members."""
    return {
        "kind": PROGRESSIVE,
        "reference": line.reference,
        "currency": line.amount.currency.code,
        "until": as_utc(line.until).isoformat(),
        "reduced": wire(line.reduced),
        "taken": wire(line.taken),
        "room": wire(line.room),
    }


def progressive_again(*, inputs: Mapping[str, Any], rated: RatedLine, language: Language = ENGLISH) -> ProgressiveLine:
    """Compute a stored progressive line once more from its inputs, its charge rated again."""
    reduced, taken, room = (
        round_money(Decimal(inputs[name]["amount"]), inputs["currency"]) for name in ("reduced", "taken", "room")
    )
    until = as_utc(datetime.fromisoformat(inputs["until"]))
    return _line(rated=rated, until=until, reduced=reduced, taken=taken, room=room, language=language)


def usage_span(*, inputs: Mapping[str, Any]) -> Period:
    """Return the time whose usage a stored progressive line counts: its charge's service, up to the moment at which it was rated."""
    service = inputs["charge"]["service_period"]
    start, end = (as_utc(datetime.fromisoformat(service[name])) for name in ("start", "end"))
    return Period(start, min(end, as_utc(datetime.fromisoformat(inputs["until"]))))


def _taken_before(invoice: AssembledInvoice) -> dict[str, Money]:
    """Return what earlier progressive invoices take off each charge."""
    taken: dict[str, Money] = {}
    for line in invoice.adjustments:
        if isinstance(line.term, InvoicedProgressively):
            for part in taken_parts(line=line):
                taken[part.reference] = taken.get(part.reference, part.amount * 0) + part.amount
    return taken


def _line(
    *, rated: RatedLine, until: datetime, reduced: Money, taken: Money, room: Money, language: Language = ENGLISH
) -> ProgressiveLine:
    nothing = total((), rated.currency)
    certain = min(rated.amount, round_money(_certain(rated), rated.currency))
    amount = min(max(certain - reduced - taken, nothing), max(room, nothing))
    later = rated.amount - reduced - taken - amount
    words = [(StepKind.RATED_AFTER, rated.amount, "{amount} so far")]
    words += [(StepKind.DISCOUNT, nothing - reduced, "Less {amount} that reductions and credit take off")]
    words += [(StepKind.TAKEN_BEFORE, nothing - taken, "Less {amount} that were invoiced before")]
    words += [(StepKind.LEFT_FOR_LATER, nothing - later, "Less {amount} that are left for the end of the period")]
    said = [(kind, money, language.say(phrase, amount=_words(money, language))) for kind, money, phrase in words]
    steps = tuple(
        Step(kind=kind, quantity=NOTHING, amount=Fraction(money.amount), flat_amount=abs(money.amount), text=text)
        for kind, money, text in said
        if money.amount or kind is StepKind.RATED_AFTER
    )
    assert sum(step.amount for step in steps) == amount.amount, "the steps add up"
    told = language.say(
        "{quantity} were used so far, for {amount}",
        quantity=quantity_text(quantity=rated.quantity, unit=rated.unit, language=language),
        amount=_words(rated.amount, language),
    )
    return ProgressiveLine(
        rated=rated,
        until=until,
        reduced=reduced,
        taken=taken,
        room=room,
        explanation=" ".join(f"{sentence}." for sentence in (told, *(step.text for step in steps[1:]))),
        amount=amount,
        steps=steps,
    )


def _words(money: Money, language: Language) -> str:
    return money_words(money=abs(money), language=language)


def _certain(line: RatedLine) -> Fraction:
    """Return what no further usage makes less: without what lifts to a minimum, and of a volume price the least that a tier to come makes of it."""
    lifted = sum((step.amount for step in line.steps if step.kind is StepKind.TRUE_UP), Fraction(0))
    found = [line.unrounded_amount - lifted]
    if line.price.model is PriceModel.VOLUME:
        carried = line.usage.carried if line.usage is not None else NOTHING
        billed = EXACT.subtract(line.quantity, line.free_quantity)
        for tier, following in zip(line.price.tiers, line.price.tiers[1:], strict=False):
            assert tier.up_to is not None, "only the last tier is without bound"
            bound = EXACT.subtract(tier.up_to, carried)
            if billed <= bound:
                found.append(
                    Fraction(bound) * Fraction(following.unit_amount) + Fraction(following.flat_amount) * line.share
                )
    return max(min(found), Fraction(0))


def amount_of_lines(*, lines: Sequence[ProgressiveLine], currency: str) -> Money:
    """Return what progressive lines come to."""
    return total((line.amount for line in lines), currency)
