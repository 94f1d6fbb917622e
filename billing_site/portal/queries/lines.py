"""A line as the customer reads it: the same shape while the period runs and once it is invoiced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.period import Period
from billing_site.portal.phrases import spoken
from billing_site.portal.queries.usage import DailyUsage, days_of
from invoicing.core.contract import AdjustmentLine, DocumentLine, RatedLine
from invoicing.core.languages import ENGLISH
from invoicing.core.proof import adjustment_document, line_document, rated_again


class Check(StrEnum):
    """What checking a line again has shown."""

    EQUAL = "equal"
    RECALCULATED = "recalculated"
    DIFFERENT = "different"
    NOT_POSSIBLE = "not possible"


@dataclass(frozen=True)
class StepView:
    """One step of the arithmetic in words and in figures; either may be empty where the other says it all."""

    text: str
    arithmetic: str


@dataclass(frozen=True)
class LineView:
    """What one line says, how it came about, and for an invoiced one what checking it again has shown.

    `days` are its own where it covers only a part of the period. `late` is what the windows hold
    beyond what was invoiced. `difference` is the first one that the check has found.
    """

    name: str
    metered: bool
    quantity: Decimal
    unit: str
    amount: Money
    explanation: str
    steps: tuple[StepView, ...]
    days: tuple[date, date] | None
    usage: DailyUsage | None = None
    event_count: int = 0
    late: Decimal = Decimal(0)
    check: Check | None = None
    difference: str = ""
    events_root: str = ""
    position: int = 0


@dataclass(frozen=True)
class LineSection:
    """The lines of one account that is billed together with others, and what they come to; `name` is "" of what is about all of them."""

    name: str
    lines: tuple[LineView, ...]
    subtotal: Money


def running_line(*, line: DocumentLine, period: Period, zone: ZoneInfo) -> LineView:
    """Return a line of the period that runs."""
    words = _words(line)
    return LineView(
        name=words["description"],
        metered=line.meter is not None,
        quantity=line.quantity,
        unit=line.unit,
        amount=line.amount,
        explanation=words["explanation"],
        steps=steps_of(steps=words["steps"], explanation=words["explanation"]),
        days=part_of_period(service=line.service_period, period=period, zone=zone),
    )


def _words(line: DocumentLine) -> Mapping[str, Any]:
    """Return description, explanation and steps of a line in the language of the page: it is rated again for any but English."""
    language = spoken()
    if language is not ENGLISH and isinstance(line, RatedLine):
        return rated_again(line_document(line=line)["inputs"], language=language)
    if language is not ENGLISH and isinstance(line, AdjustmentLine):
        return rated_again(adjustment_document(line=line)["inputs"], language=language)
    steps = [{"text": step.text, "arithmetic": step.arithmetic} for step in line.steps]
    return {"description": line.description, "explanation": line.explanation, "steps": steps}


def steps_of(*, steps: list[Mapping[str, Any]], explanation: str) -> tuple[StepView, ...]:
    """Return the steps that say more than the explanation above them does."""
    views = []
    for step in steps:
        told = explanation.startswith(f"{step['text']}.")
        calculated = any(sign in step["arithmetic"] for sign in "×−=≈")
        if not told or calculated:
            views.append(StepView("" if told else step["text"], step["arithmetic"] if calculated else ""))
    return tuple(views)


def with_shared_days(*, lines: Sequence[LineView]) -> tuple[tuple[date, date] | None, tuple[LineView, ...]]:
    """Return the days that all lines share, told once, and the lines without them; else None and the lines as they are."""
    days = {line.days for line in lines}
    if len(days) != 1 or None in days:
        return None, tuple(lines)
    return days.pop(), tuple(replace(line, days=None) for line in lines)


def part_of_period(*, service: Period, period: Period, zone: ZoneInfo) -> tuple[date, date] | None:
    """Return the first and last day of a service that covers a part of the period only."""
    return None if service == period else days_of(period=service, zone=zone)
