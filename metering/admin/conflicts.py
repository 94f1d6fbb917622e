"""Contradictions: events that were refused because their key was accepted with another content."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action

from billing_site.display.admin import confirm_with_reason
from billing_site.display.figures import moment
from billing_site.display.pills import pill
from billing_site.kernel.errors import BillingError
from metering.admin.events import CORRECT, effect_text
from metering.admin.facts import FactsAdmin
from metering.admin.layout import json_text
from metering.models import EventConflict
from metering.queries.contradictions import CONTENT, contents_of
from metering.settling import amend_to_refused, effect_of_settling, keep_accepted

STAMPS = ("timestamp", "event_id")
TITLES = {"event_type": "Event type", "namespace_id": "Namespace", "timestamp": "Happened", "event_id": "Event id"}


@dataclass(frozen=True)
class Difference:
    """One field of both contents; a stamp may differ in a repetition, too."""

    title: str
    accepted: str
    refused: str
    differs: bool
    is_stamp: bool


class SettlementFilter(admin.SimpleListFilter):
    """Those that wait for somebody, or those that are settled."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two."""
        return [("waiting", "waiting"), ("settled", "settled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the state."""
        return queryset.filter(settled_at__isnull=self.value() == "waiting") if self.value() else queryset


@admin.register(EventConflict)
class EventConflictAdmin(FactsAdmin):
    """Contradicting events, each with both contents and what may be done."""

    list_display = ("key", "customer", "state", "times_seen", "seen")
    list_display_links = ("key",)
    list_filter = (SettlementFilter,)
    search_fields = ("customer_id", "idempotency_key")
    search_help_text = "A customer's key or an idempotency key, whole."
    ordering = ("-id",)
    sortable_by = ()
    actions_detail = ("keep", "amend")
    empty_message = "An event that carries a known key and another content is refused, and stands here with both."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by whole keys."""
        term = search_term.strip().replace("\x00", "")
        if not term:
            return queryset, False
        return queryset.filter(customer_id=term) | queryset.filter(idempotency_key=term), False

    @admin.display(description="Idempotency key")
    def key(self, conflict: EventConflict) -> SafeString:
        """Show the key in two lines at most."""
        return format_html('<span class="bo-clamp">{}</span>', conflict.idempotency_key)

    @admin.display(description="Customer")
    def customer(self, conflict: EventConflict) -> str:
        """Show whose key it is."""
        return conflict.customer_id

    @admin.display(description="State")
    def state(self, conflict: EventConflict) -> SafeString:
        """Show whether it waits, or how it was settled."""
        return pill(conflict.outcome or "waiting")

    @admin.display(description="Last seen")
    def seen(self, conflict: EventConflict) -> SafeString:
        """Show when it came last."""
        return moment(conflict.last_seen_at)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show both contents side by side."""
        conflict = self.row_or_404(request, object_id)
        if request.method == "POST":
            raise PermissionDenied
        context = self.page_context(
            request,
            title=f"Contradiction of {conflict.customer_id}",
            row=conflict,
            differences=differences(conflict=conflict),
            may_settle=request.user.has_perm(CORRECT) and conflict.settled_at is None,
        )
        return TemplateResponse(request, "backoffice/conflict.html", context)

    @action(description="Keep the accepted one", url_path="keep")
    def keep(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say that the accepted event is right."""
        return self._settle(
            request,
            object_id,
            settle=keep_accepted,
            title="Keep the accepted event",
            effect="No quantity changes. The contradiction leaves the list of those that wait.",
            submit="Keep the accepted one",
        )

    @action(description="Amend to the refused one", url_path="amend")
    def amend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say that the refused event is right, after a page that says what that does to each meter."""
        conflict = self.row_or_404(request, object_id)
        refusal = ""
        effect: str | SafeString = "It cannot be amended."
        if conflict.settled_at is None and request.user.has_perm(CORRECT):
            try:
                effect = effect_text(
                    effect_of_settling(conflict=conflict), "No quantity changes: no meter counts the event."
                )
            except BillingError as problem:
                refusal = problem.message
        return self._settle(
            request,
            object_id,
            settle=amend_to_refused,
            title="Amend to the refused event",
            effect=effect,
            submit="Amend to the refused one",
            warnings=[refusal] if refusal else [],
        )

    def _settle(
        self,
        request: HttpRequest,
        object_id: str,
        *,
        settle: Callable[..., EventConflict],
        title: str,
        effect: str | SafeString,
        submit: str,
        warnings: list[str] | None = None,
    ) -> HttpResponse:
        conflict = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=conflict,
            permission=CORRECT,
            deed=lambda **who: settle(conflict_id=conflict.pk, **who),
            done=lambda done: f"Settled: the {'accepted' if done.outcome == 'kept' else 'refused'} one counts.",
            title=title,
            effect=effect,
            submit=submit,
            warnings=warnings or [],
        )


def differences(*, conflict: EventConflict) -> list[Difference]:
    """Return both contents field by field, content before stamps; an archived event's is not known any more."""
    accepted, refused = contents_of(conflict_id=conflict.pk)
    return [
        Difference(
            title=TITLES.get(name, name.capitalize()),
            accepted="" if accepted is None else _shown(accepted[name]),
            refused=_shown(refused[name]),
            differs=accepted is not None and accepted[name] != refused[name],
            is_stamp=name in STAMPS,
        )
        for name in (*CONTENT, *STAMPS)
    ]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)
