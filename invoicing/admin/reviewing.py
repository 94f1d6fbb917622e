"""What was found, once somebody has looked: the same pages for unusual days and for lines that rate otherwise."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    attempt,
    confirmation,
    go,
    show_selected,
)
from billing_site.display.figures import moment
from billing_site.display.pills import AMBER, GREEN, pill
from billing_site.kernel.clock import now


class Reviews(Protocol):
    """The operation that keeps what was found about rows, by primary key, and returns of how many."""

    def __call__(self, keys: Collection[int], /, *, at: datetime, actor: str, reason: str) -> int:
        """Say it; raises InvalidInput at `reason`."""


@dataclass(frozen=True)
class Reviewed:
    """What is looked into, in words: `permission` may say what was found, `counted` names so many of them."""

    permission: str
    title: str
    counted: Callable[[int], str]
    unchanged: str
    look_at: str
    waiting: Callable[[], "QuerySet[Any]"]
    review: Reviews


class OpenFilter(admin.SimpleListFilter):
    """By whether somebody has looked into it."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two."""
        return [("open", "Nobody has looked into it"), ("done", "Looked into")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those in the chosen state."""
        if self.value() not in ("open", "done"):
            return queryset
        return queryset.filter(review__isnull=self.value() == "open")


class FoundForm(ReasonForm):
    """What was found."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Ask for it in these words."""
        super().__init__(*args, **options)
        self.fields["reason"].label = "What was found"
        self.fields["reason"].help_text = "It stands beside it with your name: a launch, a test, a broken sender."


class ReviewedAdmin(ReadOnlyAdmin):
    """Rows that wait on *Needs you* until somebody says what was found; `reviewed` says what they are."""

    reviewed: Reviewed
    actions = ("review_selected",)
    actions_detail = ("review",)

    @admin.display(description="State")
    def state(self, row: Any) -> SafeString:
        """Show whether somebody has looked into it."""
        return pill("looked into", tone=GREEN) if hasattr(row, "review") else pill("open", tone=AMBER)

    @admin.display(description="What was found")
    def said(self, row: Any) -> str | SafeString:
        """Show what was said about it, by whom and when."""
        if not hasattr(row, "review"):
            return f"nothing yet: {self.reviewed.look_at}, then say what was found"
        return format_html("{} ({}, {})", row.review.reason, row.review.actor, moment(row.review.reviewed_at))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Show it all."""
        return self.fields

    def has_review_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Say whether this person may say what was found."""
        return bool(request.user.has_perm(self.reviewed.permission))

    @admin.action(description="Say what was found about the selected", permissions=["review"])
    def review_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Say it once of several: one cause may stand behind many."""
        form = FoundForm(request.POST if "confirmed" in request.POST else None)
        hidden = show_selected(request, queryset, action="review_selected")
        return self._review(request, queryset, form, back=self._page("changelist"), hidden=hidden)

    @action(description="Say what was found", url_path="review")
    def review(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say it of one."""
        row = self.row_or_404(request, object_id)
        if not self.has_review_permission(request):
            raise PermissionDenied
        rows = self.model._default_manager.filter(pk=row.pk)
        return self._review(request, rows, FoundForm(request.POST or None), back=self._page("change", row.pk))

    def _page(self, name: str, *key: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", args=key)

    def _review(
        self,
        request: HttpRequest,
        rows: QuerySet[Any],
        form: forms.Form,
        *,
        back: str,
        hidden: list[tuple[str, str]] | None = None,
    ) -> HttpResponse:
        keys = list(self.reviewed.waiting().filter(pk__in=rows.values("pk")).values_list("pk", flat=True))
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            attempt(
                request,
                lambda: self.reviewed.review(keys, at=now(), actor=actor_of(request), reason=reason),
                done=lambda number: f"Looked into: {self.reviewed.counted(number)}.",
            )
            return go(back)
        return confirmation(
            request,
            admin=self,
            title=self.reviewed.title,
            effect=f"{self.reviewed.counted(len(keys))} will no longer wait on Needs you. {self.reviewed.unchanged}",
            warnings=[] if keys else ["Somebody has looked into it already: what was said stays."],
            form=form,
            submit="Looked into",
            hidden=hidden or (),
            back=back,
        )
