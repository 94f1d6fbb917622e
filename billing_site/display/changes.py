"""The history of tracked rows in words: who changed what, when and why."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.db.models import OuterRef, QuerySet, Subquery
from moneyed import Money

from billing_site.display.figures import money_text

VERBS = {"+": "created", "~": "changed", "-": "deleted"}
SHOWN_LENGTH = 120
# Where a row stands alone there is room.
WHOLE_LENGTH = 2_000
# Reasons of the first billing runs wrote times for machines.
MACHINE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d)?(?:\.\d+)?(?:\+00:00|Z)")
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class FieldChange:
    """One field that a change touched."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Change:
    """One row of a history: the deed, its time, who did it and the reason given."""

    model: str
    subject: str
    object_id: Any
    verb: str
    at: datetime
    actor: str
    reason: str
    fields: tuple[FieldChange, ...]
    request: str = ""


@dataclass(frozen=True)
class FieldThen:
    """One field of a row as it was at a moment, and as it is."""

    name: str
    then: str
    now: str


@dataclass(frozen=True)
class AsOf:
    """A row as it was at a moment: the change that made it so, and all its fields; neither where it did not exist yet."""

    at: datetime
    change: Change | None
    fields: tuple[FieldThen, ...]

    @property
    def different(self) -> list[FieldThen]:
        """The fields that are another by now."""
        return [field for field in self.fields if field.then != field.now]

    @property
    def same(self) -> list[FieldThen]:
        """The fields that are as they were."""
        return [field for field in self.fields if field.then == field.now]


def as_of(*, row: Any, at: datetime) -> AsOf:
    """Return a tracked row as it was at a moment, beside what it is: three queries."""
    earlier = row.history.filter(history_date__lte=at).order_by("-history_date", "-history_id")
    last = next(iter(with_previous(history=earlier)[:1]), None)
    if last is None:
        return AsOf(at, None, ())
    fields = tuple(
        FieldThen(
            str(field.verbose_name),
            _text(field, getattr(last, field.attname), length=WHOLE_LENGTH),
            _text(field, getattr(row, field.attname), length=WHOLE_LENGTH),
        )
        for field in last.tracked_fields
    )
    [change] = changes_of(rows=[last])
    return AsOf(at, change, fields)


def changes_of(*, rows: Iterable[Any]) -> list[Change]:
    """Return history rows in words, in the order given; rows come from `with_previous`, so no query is made here."""
    listed = list(rows)
    if not listed:
        return []
    model = type(listed[0])
    previous = {
        row.pk: row for row in model._default_manager.filter(pk__in={row.previous_row for row in listed} - {None})
    }
    tracked = listed[0].instance_type
    keys = [getattr(row, tracked._meta.pk.attname) for row in listed]
    names = _names_with(tracked, keys)
    return [
        _change(row, previous.get(row.previous_row), name=names.get(key, _instance_name(row)))
        for row, key in zip(listed, keys, strict=True)
    ]


def _names_with(tracked: type[models.Model], keys: list[Any]) -> dict[Any, str]:
    # A model says it whose name is a number that says nothing without what it belongs to.
    other = getattr(tracked, "named_with", None)
    if other is None:
        return {}
    return {row.pk: str(row) for row in tracked._default_manager.filter(pk__in=keys).select_related(other)}


def with_previous(*, history: QuerySet[Any]) -> QuerySet[Any]:
    """Add to each history row the number of the row before it of the same object, and its user."""
    model = history.model
    key = model.tracked_fields[0].model._meta.pk.attname if hasattr(model, "tracked_fields") else "id"
    earlier = (
        model._default_manager.filter(**{key: OuterRef(key)}, history_id__lt=OuterRef("history_id"))
        .order_by("-history_id")
        .values("history_id")[:1]
    )
    return history.select_related("history_user").annotate(previous_row=Subquery(earlier))


def _change(row: Any, before: Any | None, *, name: str) -> Change:
    actor, reason = _actor_and_reason(row)
    tracked = row.instance_type
    return Change(
        model=str(tracked._meta.verbose_name),
        subject=name,
        object_id=getattr(row, tracked._meta.pk.attname),
        verb=VERBS[row.history_type],
        at=row.history_date,
        actor=actor,
        reason=reason,
        fields=tuple(_field_changes(row, before)) if before is not None else (),
        request=row.history_request_id,
    )


def _instance_name(row: Any) -> str:
    for name in ("number", "key", "name"):
        if getattr(row, name, None):
            return str(getattr(row, name))
    return f"#{getattr(row, row.instance_type._meta.pk.attname)}"


def readable(text: str) -> str:
    """Write the times for machines in a sentence as people read them: 2026-08-01 00:00 UTC."""
    return MACHINE_TIME.sub(r"\1 \2 UTC", text)


def _actor_and_reason(row: Any) -> tuple[str, str]:
    """Split "actor: reason" as `kernel.history.save_with_reason` writes it; without it the signed-in user stands."""
    text = readable(row.history_change_reason or "")
    user = row.history_user.get_username() if row.history_user_id and row.history_user else ""
    actor, separator, reason = text.partition(": ")
    if not separator:
        return user or "unknown", text
    return actor, reason


def _field_changes(row: Any, before: Any) -> Iterable[FieldChange]:
    for field in row.tracked_fields:
        old, new = getattr(before, field.attname), getattr(row, field.attname)
        if old != new:
            yield FieldChange(str(field.verbose_name), _text(field, old), _text(field, new))


def _text(field: "models.Field[Any, Any]", value: Any, *, length: int = SHOWN_LENGTH) -> str:
    if value is None or value == "":
        return "nothing"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, Money):
        return money_text(value)
    if isinstance(value, str) and DIGEST.fullmatch(value):
        return value[:12] + "…"
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(dict(field.flatchoices).get(value, value))
    return text if len(text) <= length else text[: length - 1] + "…"
