"""Proof: a rated line as a document that holds all its inputs, and the same rating done again from them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import plain, round_money, wire
from billing_site.kernel.period import Period, as_utc
from invoicing.core.adjusting import adjustment_line, term_document, term_from_document
from invoicing.core.contract import (
    ENGINE_VERSION,
    AdjustmentLine,
    BaseLine,
    Charge,
    CorrectionLine,
    DecidedAdjustment,
    DecidedCorrection,
    RatedLine,
    Step,
    Usage,
)
from invoicing.core.correction import adjustment_correction_line, correction_line
from invoicing.core.definition import definition_of, price_from_definition
from invoicing.core.detail import GroupUsage, SizeUsage
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.progressive import ProgressiveLine, progressive_again, progressive_inputs
from invoicing.core.rating import rate_charge
from invoicing.core.stated import StatedKind, StatedLine, stated_again, stated_inputs
from invoicing.core.wording import displayed_amount

ADJUSTMENT = "adjustment"
CORRECTION = "correction"
SIZES = ("below", "between", "above")
ADJUSTMENT_CORRECTION = "adjustment_correction"


class UnknownEngine(BillingError):
    """A line was rated by an engine that this program does not have."""

    code = "unknown_engine"


def line_document(*, line: RatedLine) -> dict[str, Any]:
    """Return a line as a canonical JSON document: inputs, steps, exact and rounded amount, words.

    Numbers are decimal strings, an amount that no decimal can express a fraction ("290/31").
    """
    return {
        "inputs": line_inputs(line=line),
        "description": line.description,
        "explanation": line.explanation,
        "quantity": plain(line.quantity),
        "free_quantity": plain(line.free_quantity),
        "steps": [step_document(step=step) for step in line.steps],
        "unrounded_amount": plain(line.unrounded_amount),
        "amount": wire(line.amount),
    }


def line_inputs(*, line: RatedLine) -> dict[str, Any]:
    """Return everything that the rating of a line depended on, and the evidence for its quantity."""
    quantity = int(line.quantity) if line.meter is None else 1
    return {
        **_charge_document(line, name=line.description, quantity=quantity, currency=line.currency),
        "usage": None if line.usage is None else usage_document(usage=line.usage),
    }


def charge_inputs(*, charge: Charge, currency: str) -> dict[str, Any]:
    """Return a charge and its currency as a canonical JSON document; `charge_from_inputs` reads it."""
    return _charge_document(charge, name=charge.name, quantity=charge.quantity, currency=currency)


def _charge_document(charge: Charge | RatedLine, *, name: str, quantity: int, currency: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        "engine": ENGINE_VERSION,
        "reference": charge.reference,
        "name": name,
        "subscription": charge.subscription,
        "service_period": period_document(period=charge.service_period),
        "share": plain(charge.share),
        "currency": currency,
        "price": definition_of(charge.price),
        "meter": charge.meter,
        "unit": charge.unit,
    }
    # Named only where it is more than one: documents of before it was known stay the same bytes.
    if quantity != 1:
        document["quantity"] = quantity
    if charge.carries:
        document["carries"] = [period_document(period=span) for span in charge.carries]
    return document


def rated_again(inputs: Mapping[str, Any], *, language: Language = ENGLISH) -> dict[str, Any]:
    """Rate a stored line once more from its inputs alone; byte-identical to the stored document or wrong (S0-147..151).

    Lines are stored in English; in another `language` only the words are others.

    Raises UnknownEngine where the line was rated by another engine.
    """
    match inputs.get("kind"):
        case "correction":
            return _corrected_again(inputs, language)
        case "adjustment":
            return adjustment_document(line=adjusted_again(inputs=inputs, language=language))
        case "adjustment_correction":
            return _adjustment_corrected_again(inputs, language)
        case "progressive":
            return _progressive_again(inputs, language)
        case StatedKind.ONE_OFF | StatedKind.TOP_UP:
            _check_engine(inputs)
            return stated_document(line=stated_again(inputs=inputs, language=language))
    charge = charge_from_inputs(inputs)
    usage = None if inputs["usage"] is None else usage_from_document(inputs["usage"])
    return line_document(line=rate_charge(charge=charge, usage=usage, currency=inputs["currency"], language=language))


def charge_from_inputs(inputs: Mapping[str, Any]) -> Charge:
    """Return the charge of a stored line: what is needed to rate it with another usage; raises UnknownEngine."""
    _check_engine(inputs)
    return Charge(
        reference=inputs["reference"],
        name=inputs["name"],
        price=price_from_definition(inputs["price"]),
        meter=inputs["meter"],
        unit=inputs["unit"],
        subscription=inputs["subscription"],
        service_period=_period(inputs["service_period"]),
        share=Fraction(inputs["share"]),
        quantity=inputs.get("quantity", 1),
        carries=carries_of(inputs=inputs),
    )


def _check_engine(inputs: Mapping[str, Any]) -> None:
    if inputs["engine"] != ENGINE_VERSION:
        raise UnknownEngine(f"the line was rated by engine {inputs['engine']}, this is engine {ENGINE_VERSION}")


def adjustment_document(*, line: AdjustmentLine) -> dict[str, Any]:
    """Return an adjustment line as a canonical JSON document, in the shape of a charge's: the term, and the lines that it saw.

    `parts` is there only where it takes something off single lines: what it takes off which.
    """
    inputs = {
        "engine": ENGINE_VERSION,
        "kind": ADJUSTMENT,
        "reference": line.reference,
        "subscription": line.subscription,
        "service_period": period_document(period=line.service_period),
        "currency": line.amount.currency.code,
        "term": {"kind": line.kind.value, **term_document(term=line.term)},
        "lines": [{"reference": base.reference, "amount": wire(base.amount)} for base in line.base],
    }
    document = _document(inputs, line, line.description, line.quantity, Fraction(line.amount.amount))
    if line.parts:
        document["parts"] = [{"reference": part.reference, "amount": wire(part.amount)} for part in line.parts]
    return document


def adjusted_again(*, inputs: Mapping[str, Any], language: Language = ENGLISH) -> AdjustmentLine:
    """Compute an adjustment line once more from its stored inputs alone; raises UnknownEngine."""
    _check_engine(inputs)
    base = tuple(BaseLine(line["reference"], _money(line["amount"])) for line in inputs["lines"])
    term = term_from_document(
        inputs["term"],
        reference=inputs["reference"],
        subscription=inputs["subscription"],
        service_period=_period(inputs["service_period"]),
        about=tuple(line.reference for line in base),
    )
    return adjustment_line(term=term, base=base, currency=inputs["currency"], language=language)


def stated_document(*, line: StatedLine) -> dict[str, Any]:
    """Return what is invoiced once as a canonical JSON document, in the shape of a charge's."""
    inputs = {"engine": ENGINE_VERSION, **stated_inputs(line=line)}
    return _document(inputs, line, line.item.description, line.item.quantity, line.unrounded_amount)


def progressive_line_document(*, line: ProgressiveLine) -> dict[str, Any]:
    """Return what a charge has come to while its period runs as a canonical JSON document, in the shape of a charge's."""
    inputs = {"engine": ENGINE_VERSION, **progressive_inputs(line=line), "charge": line_inputs(line=line.rated)}
    return _document(inputs, line, line.description, Decimal(1), Fraction(line.amount.amount))


def _progressive_again(inputs: Mapping[str, Any], language: Language) -> dict[str, Any]:
    told = inputs["charge"]
    charge, usage = charge_from_inputs(told), usage_from_document(told["usage"])
    rated = rate_charge(charge=charge, usage=usage, currency=told["currency"], language=language)
    return progressive_line_document(line=progressive_again(inputs=inputs, rated=rated, language=language))


def _document(
    inputs: dict[str, Any],
    line: StatedLine | ProgressiveLine | AdjustmentLine | CorrectionLine,
    description: str,
    quantity: Decimal,
    unrounded: Fraction,
) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "description": description,
        "explanation": line.explanation,
        "quantity": plain(quantity),
        "free_quantity": "0",
        "steps": [step_document(step=step) for step in line.steps],
        "unrounded_amount": plain(unrounded),
        "amount": wire(line.amount),
    }


def carries_of(*, inputs: Mapping[str, Any]) -> tuple[Period, ...]:
    """Return the earlier services that the charge of a stored line carries on from."""
    return tuple(_period(span) for span in inputs.get("carries", ()))


def correction_document(*, line: CorrectionLine) -> dict[str, Any]:
    """Return a line that corrects another as a canonical JSON document, in the shape of a charge's."""
    correction = line.correction
    rated: dict[str, Any]
    if isinstance(correction, DecidedAdjustment):
        rated = {
            "kind": ADJUSTMENT_CORRECTION,
            "before": adjustment_document(line=correction.before)["inputs"],
            "after": adjustment_document(line=correction.after)["inputs"],
        }
    else:
        rated = {
            "kind": CORRECTION,
            "charge": charge_inputs(charge=correction.charge, currency=correction.currency),
            "before": usage_document(usage=correction.before),
            "after": usage_document(usage=correction.after),
        }
    inputs = {
        "engine": ENGINE_VERSION,
        **rated,
        "reference": line.reference,
        "original": {
            "invoice": correction.invoice_number,
            "position": correction.position,
            "digest": correction.line_digest,
        },
        "period": correction.period,
        "taken": wire(correction.taken),
        "amount": wire(line.amount),
    }
    return _document(inputs, line, line.description, line.quantity, Fraction(line.amount.amount))


def _corrected_again(inputs: Mapping[str, Any], language: Language) -> dict[str, Any]:
    """Make a correction's line once more from its inputs alone."""
    charge, original = inputs["charge"], inputs["original"]
    correction = DecidedCorrection(
        reference=inputs["reference"],
        invoice_number=original["invoice"],
        position=original["position"],
        line_digest=original["digest"],
        period=inputs["period"],
        charge=charge_from_inputs(charge),
        before=usage_from_document(inputs["before"]),
        after=usage_from_document(inputs["after"]),
        currency=charge["currency"],
        taken=_money(inputs["taken"]),
    )
    amount = _money(inputs["amount"])
    return correction_document(line=correction_line(correction=correction, amount=amount, language=language))


def _adjustment_corrected_again(inputs: Mapping[str, Any], language: Language) -> dict[str, Any]:
    original = inputs["original"]
    correction = DecidedAdjustment(
        reference=inputs["reference"],
        invoice_number=original["invoice"],
        position=original["position"],
        line_digest=original["digest"],
        period=inputs["period"],
        before=adjusted_again(inputs=inputs["before"], language=language),
        after=adjusted_again(inputs=inputs["after"], language=language),
        currency=inputs["before"]["currency"],
        taken=_money(inputs["taken"]),
    )
    amount = _money(inputs["amount"])
    return correction_document(line=adjustment_correction_line(correction=correction, amount=amount, language=language))


def _money(document: Mapping[str, Any]) -> Money:
    return round_money(Decimal(document["amount"]), document["currency"])


def step_document(*, step: Step) -> dict[str, Any]:
    """Return one step as a canonical JSON document.

    `amount` is always a decimal for display; where none is exact (a prorated fee), `exact_amount`
    is the fraction that it stands for.
    """
    exact = plain(step.amount)
    document = {
        "kind": step.kind.value,
        "text": step.text,
        "arithmetic": step.arithmetic,
        "quantity": plain(step.quantity),
        "count": plain(step.count),
        "unit_amount": plain(step.unit_amount),
        "flat_amount": plain(step.flat_amount),
        "rate": plain(step.rate),
        "up_to": None if step.up_to is None else plain(step.up_to),
        "amount": plain(displayed_amount(amount=step.amount)) if "/" in exact else exact,
        "exact_amount": exact,
    }
    return document | {"values": list(step.values)} if step.values else document


def usage_document(*, usage: Usage) -> dict[str, Any]:
    """Return usage and its evidence as a canonical JSON document."""
    document: dict[str, Any] = {
        "meter": usage.meter,
        "quantity": plain(usage.quantity),
        "window_count": usage.window_count,
        "event_count": usage.event_count,
        "windows_digest": usage.windows_digest,
        "known_through": usage.known_through,
    }
    if usage.carried:
        document["carried"] = plain(usage.carried)
    if usage.groups is not None:
        document["groups"] = [
            {"values": None if group.values is None else list(group.values), "quantity": plain(group.quantity)}
            for group in usage.groups
        ]
    if usage.by_size is not None:
        sizes = usage.by_size
        document["by_size"] = {
            name: {"count": getattr(sizes, f"{name}_count"), "quantity": plain(getattr(sizes, f"{name}_quantity"))}
            for name in SIZES
        }
    return document


def period_document(*, period: Period) -> dict[str, str]:
    """Return a period as two RFC 3339 moments in UTC."""
    return {"start": _text(period.start), "end": _text(period.end)}


def usage_from_document(document: Mapping[str, Any]) -> Usage:
    """Return the usage of a stored line."""
    return Usage(
        meter=document["meter"],
        quantity=Decimal(document["quantity"]),
        window_count=document["window_count"],
        event_count=document["event_count"],
        windows_digest=document["windows_digest"],
        known_through=document["known_through"],
        carried=Decimal(document.get("carried", 0)),
        groups=_groups(document["groups"]) if "groups" in document else None,
        by_size=_by_size(document["by_size"]) if "by_size" in document else None,
    )


def _by_size(document: Mapping[str, Any]) -> SizeUsage:
    members: dict[str, Any] = {}
    for name in SIZES:
        members[f"{name}_count"] = document[name]["count"]
        members[f"{name}_quantity"] = Decimal(document[name]["quantity"])
    return SizeUsage(**members)


def _groups(documents: Sequence[Mapping[str, Any]]) -> tuple[GroupUsage, ...]:
    return tuple(
        GroupUsage(None if group["values"] is None else tuple(group["values"]), Decimal(group["quantity"]))
        for group in documents
    )


def _period(document: Mapping[str, Any]) -> Period:
    return Period(_moment(document["start"]), _moment(document["end"]))


def _text(moment: datetime) -> str:
    return as_utc(moment).isoformat().replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    return as_utc(datetime.fromisoformat(text))
