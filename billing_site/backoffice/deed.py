"""How the rows of a table of deeds read as changes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import CharField, F, Model, QuerySet, Value
from django.urls import reverse

from billing_site.display.changes import Change


@dataclass(frozen=True)
class Deed:
    """How the rows of a model read as changes: the fields for when, who and why, and the words."""

    label: str
    at: str
    actor: str
    reason: str
    verb: Callable[[Any], str]
    subject: Callable[[Any], str]
    page: tuple[str, str]

    @property
    def model(self) -> type[Model]:
        """The table of the deeds."""
        return apps.get_model(self.label)

    def rows(self, *, actor: str = "") -> QuerySet[Any]:
        """Return the deeds that are done, of one actor or everyone: what waits for somebody is not one yet."""
        done = self.model._default_manager.filter(**{f"{self.at}__isnull": False})
        return done.filter(**{f"{self.actor}__iexact": actor}) if actor else done

    def numbers(self, *, actor: str, words: str = "") -> QuerySet[Any]:
        """Return label, key and time of each deed, as a part of the union over all histories; with some words in its reason, where they are asked for."""
        rows = self.rows(actor=actor)
        if words:
            rows = rows.filter(**{f"{self.reason}__icontains": words}) if self.reason else rows.none()
        return (
            rows.order_by()
            .annotate(label=Value(self.label, output_field=CharField()), history_id=F("pk"), history_date=F(self.at))
            .values("label", "history_id", "history_date")
        )

    def changes(self, *, keys: Iterable[int]) -> dict[int, tuple[Change, str]]:
        """Return the deeds with these keys in words, each with the address of what it was done to."""
        name, key = self.page
        return {
            row.pk: (
                Change(
                    model=str(self.model._meta.verbose_name),
                    subject=self.subject(row),
                    object_id=row.pk,
                    verb=self.verb(row),
                    at=getattr(row, self.at),
                    actor=getattr(row, self.actor),
                    reason=getattr(row, self.reason) if self.reason else "",
                    fields=(),
                ),
                reverse(f"admin:{name}", args=[getattr(row, key)] if key else []),
            )
            for row in self.model._default_manager.filter(pk__in=list(keys))
        }
