"""The terms of a policy as somebody fills them in: a row for each step, and the rest in fields of their own."""

import json
from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from dunning.core.notice_kinds import KIND_WORDS
from dunning.core.policy import ACT_WORDS, DAYS_MAX, CountsFrom, PolicyTerms, TermsMistake, read_terms, terms_stored

# So many rows stand empty beneath what is filled in.
EMPTY_STEPS, EMPTY_ROWS = 3, 1
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COUNTS_FROM = (
    (CountsFrom.FAILURE.value, "a refused charge, else the due date"),
    (CountsFrom.DUE.value, "the due date"),
)
HOURS = (("at_hour", "At"), ("quiet_from", "Never from"), ("quiet_until", "until"))
UNTOLD = {key: value for key, value in terms_stored(PolicyTerms(steps=())).items() if key != "steps"}


class TermsWidget(forms.Widget):
    """A row for each step, and the rest in fields; whoever posts terms as JSON under the name of the field is read as well."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Draw the fields, filled with terms as they are stored, or as they were entered."""
        terms = {**UNTOLD, **_mapping(value)}
        steps = [(one.get("day"), one.get("act"), one.get("notice")) for one in terms.get("steps") or ()]
        context = {
            "name": name,
            "id": (attrs or {}).get("id", name),
            "steps": [*steps, *[("", "", "")] * EMPTY_STEPS],
            "acts": [(act.value, words) for act, words in ACT_WORDS.items()],
            "notices": [(kind.value, words) for kind, words in KIND_WORDS.items()],
            "counts_from": terms["counts_from"],
            "countings": COUNTS_FROM,
            "hours": [(key, words, terms[key]) for key, words in HOURS],
            "business_days": terms["business_days"],
            "weekend": [
                (number, words, str(number) in map(str, terms["weekend"])) for number, words in enumerate(DAYS)
            ],
            "holidays": ", ".join(map(str, terms["holidays"])),
            "minimums": [*terms["minimums"].items(), *[("", "")] * EMPTY_ROWS],
            "retries_max": terms["retries_max"],
            "escalation": [
                *((one.get("owner"), one.get("days")) for one in terms["escalation"]),
                *[("", "")] * EMPTY_ROWS,
            ],
        }
        return SafeString(render_to_string("backoffice/policy_terms.html", context))

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        """Return the terms as they would be stored, of what was entered; steps in the order of their days."""
        if name in data or not hasattr(data, "getlist"):
            return data.get(name)

        def listed(key: str) -> list[str]:
            return [one.strip() for one in data.getlist(f"{name}-{key}")]

        steps = [
            {"day": day, "act": act, "notice": notice}
            for day, act, notice in zip(listed("day"), listed("act"), listed("notice"), strict=False)
            if day or act or notice
        ]
        steps.sort(key=lambda step: int(step["day"]) if _is_number(step["day"]) else DAYS_MAX + 1)
        rows = zip(listed("currency"), listed("minimum"), strict=False)
        rungs = zip(listed("owner"), listed("days"), strict=False)
        return {
            "steps": steps,
            **{key: data.get(f"{name}-{key}", UNTOLD[key]) for key in ("counts_from", "retries_max")},
            **{key: data.get(f"{name}-{key}", UNTOLD[key]) for key, _ in HOURS},
            "business_days": f"{name}-business_days" in data,
            "weekend": listed("weekend"),
            "holidays": [day.strip() for day in data.get(f"{name}-holidays", "").split(",") if day.strip()],
            "minimums": {currency.upper(): amount for currency, amount in rows if currency or amount},
            "escalation": [{"owner": owner, "days": days} for owner, days in rungs if owner or days],
        }

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        """Say whether nothing was entered at all."""
        return name not in data and f"{name}-day" not in data

    def id_for_label(self, id_: str | None, index: str = "0") -> str:
        """Return the field that the label leads to: the day of the first step."""
        return f"{id_}-day" if id_ else ""


class TermsField(forms.Field):
    """Terms as they are stored; what cannot be is told by its row, with what to write instead."""

    widget = TermsWidget

    def to_python(self, value: Any) -> Any:
        """Read what was entered; raises ValidationError with a sentence for each mistake."""
        if not value:
            return None
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as problem:
                raise forms.ValidationError(_json_mistake(problem)) from problem
        if not isinstance(value, Mapping):
            raise forms.ValidationError("terms are an object with steps")
        if mistakes := list(_mistakes(value)):
            raise forms.ValidationError(mistakes)
        try:
            return terms_stored(read_terms(value))
        except TermsMistake as mistake:
            raise forms.ValidationError(str(mistake)) from mistake


def _json_mistake(problem: ValueError) -> str:
    if isinstance(problem, json.JSONDecodeError):
        return f"this is not JSON: {problem.msg}, in line {problem.lineno} at character {problem.colno}"
    return "this is not JSON"


def _mapping(value: Any) -> dict[str, Any]:
    """Return terms that can be shown; nothing of what does not have their shape."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if not isinstance(value, Mapping):
        return {}
    lists = [value.get(key, []) for key in ("steps", "escalation")]
    rows = [row for listed in lists if isinstance(listed, list) for row in listed]
    days = [value.get(key, []) for key in ("weekend", "holidays")]
    fits = all(isinstance(one, list) for one in (*lists, *days)) and all(isinstance(row, Mapping) for row in rows)
    return dict(value) if fits and isinstance(value.get("minimums", {}), Mapping) else {}


def _mistakes(terms: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with what was entered, by its row; what the terms make of it together is told by the terms themselves."""
    try:
        for place, step in enumerate(terms.get("steps", ()), start=1):
            if not _is_number(step.get("day")):
                yield f"step {place}: say on which day it is taken, as a whole number from 0 to {DAYS_MAX}"
            if step.get("act") not in ACT_WORDS:
                yield f"step {place}: say what is done"
            if step.get("notice") and step["notice"] not in KIND_WORDS:
                yield f"step {place}: there is no notice {step['notice']!r}"
        for key, words in HOURS:
            if not _reads(time.fromisoformat, terms.get(key, UNTOLD[key])):
                yield f"{words.lower()}: write an hour such as 09:00"
        for day in terms.get("holidays", ()):
            if not _reads(date.fromisoformat, day):
                yield f"holiday {day!r}: write a day such as 2026-12-25"
        for currency, amount in terms.get("minimums", {}).items():
            if len(currency) != 3 or not currency.isalpha() or not _reads(Decimal, amount):
                yield f"minimum {currency} {amount}: write a currency such as EUR and an amount such as 10.00"
        for place, rung in enumerate(terms.get("escalation", ()), start=1):
            if not rung.get("owner") or not _is_number(rung.get("days")):
                yield f"who is asked, row {place}: say who, and how many days he has"
        if not _is_number(terms.get("retries_max", 0)):
            yield "say how often a card is charged again at most, as a whole number"
    except (TypeError, AttributeError):
        yield "these terms cannot be read: steps and escalation are lists of objects, minimums an object, holidays a list"


def _is_number(told: Any) -> bool:
    text = str(told)
    return text.isascii() and text.isdecimal() and len(text) < 5


def _reads(reader: Any, told: Any) -> bool:
    try:
        reader(told)
    except (TypeError, ValueError, InvalidOperation):
        return False
    return True
