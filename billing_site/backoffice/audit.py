"""The changes of everything that is tracked, and deeds that are rows of their own, newest first: who, when, what and why."""

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import CharField, Q, QuerySet, Value
from django.urls import NoReverseMatch, reverse

from billing_site.backoffice.deeds import DEEDS
from billing_site.display.changes import Change, changes_of, with_previous

PAGE_LENGTH = 100
# What rows are called by.
NAMES = ("number", "key", "name")


@dataclass(frozen=True)
class LinkedChange(Change):
    """A change, the page of what it changed, and the page that shows that as it was at a moment."""

    url: str = ""
    history_url: str = ""


@dataclass(frozen=True)
class ChangesPage:
    """One page of the list and its filters."""

    changes: list[LinkedChange]
    models: list[tuple[str, str]]
    model: str
    actor: str
    words: str
    request: str
    number: int
    has_more: bool


def tracked_models() -> dict[str, type[Any]]:
    """Return every model with a history, by its label."""
    return {
        model._meta.label_lower: model
        for model in sorted(apps.get_models(), key=lambda model: str(model._meta.verbose_name))
        if hasattr(model, "history") and not hasattr(model, "history_id")
    }


def changes_page(*, model: str, actor: str, words: str, page_number: str, request: str = "") -> ChangesPage:
    """Return one page of changes, newest first, of one model or all, by one actor or everyone, with some words in the reason or the name.

    Of one `request` (HTTP request, job or command) these are what histories tell of it: deeds that are rows of their own do not say theirs.
    One query finds the page over all histories; each kind of row on it then costs two.
    """
    tracked = tracked_models()
    names = {label: str(one._meta.verbose_name_plural) for label, one in tracked.items()}
    names |= {label: str(deed.model._meta.verbose_name_plural) for label, deed in DEEDS.items()}
    chosen = [label for label in ([model] if model in names else names) if not request or label in tracked]
    number = min(int(page_number), 1_000) if page_number.isdecimal() and int(page_number) > 0 else 1
    first = (number - 1) * PAGE_LENGTH
    parts = [
        DEEDS[label].numbers(actor=actor, words=words)
        if label in DEEDS
        else _numbers(label, tracked[label], actor=actor, words=words, request=request)
        for label in chosen
    ]
    rows = []
    if parts:
        union = parts[0].union(*parts[1:], all=True) if len(parts) > 1 else parts[0]
        rows = list(union.order_by("-history_date", "-history_id")[first : first + PAGE_LENGTH + 1])
    return ChangesPage(
        changes=_changes(rows[:PAGE_LENGTH], tracked),
        models=sorted(names.items(), key=lambda named: named[1]),
        model=model if model in names else "",
        actor=actor,
        words=words,
        request=request,
        number=number,
        has_more=len(rows) > PAGE_LENGTH,
    )


def _numbers(label: str, model: type[Any], *, actor: str, words: str, request: str) -> QuerySet[Any]:
    history = model.history.filter(history_request_id=request) if request else model.history.all()
    if actor:
        history = history.filter(
            Q(history_change_reason__istartswith=f"{actor}: ") | Q(history_user__username__iexact=actor)
        )
    if words:
        texts = [field.name for field in model._meta.fields if field.name in NAMES and isinstance(field, CharField)]
        found = Q(history_change_reason__icontains=words)
        for name in texts:
            found |= Q(**{f"{name}__icontains": words})
        history = history.filter(found)
    return (
        history.order_by()
        .annotate(label=Value(label, output_field=CharField()))
        .values("label", "history_id", "history_date")
    )


def _changes(rows: list[dict[str, Any]], tracked: dict[str, type[Any]]) -> list[LinkedChange]:
    told: dict[tuple[str, int], LinkedChange] = {}
    for label in {row["label"] for row in rows}:
        numbers = [row["history_id"] for row in rows if row["label"] == label]
        if label in DEEDS:
            for number, (change, url) in DEEDS[label].changes(keys=numbers).items():
                told[label, number] = LinkedChange(**vars(change), url=url)
            continue
        history = list(with_previous(history=tracked[label].history.filter(history_id__in=numbers)))
        for row, change in zip(history, changes_of(rows=history), strict=True):
            told[label, row.history_id] = LinkedChange(
                **vars(change),
                url=_url(tracked[label], change, "change"),
                history_url=_url(tracked[label], change, "history"),
            )
    return [told[row["label"], row["history_id"]] for row in rows]


def _url(model: type[Any], change: Change, page: str) -> str:
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=[change.object_id])
    except NoReverseMatch:
        return ""
