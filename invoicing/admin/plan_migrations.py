"""Bulk migrations in the admin: who is on which version, what moving them would do, and doing exactly that with a reason."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSingleDateWidget

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    add_field_errors,
    confirmation,
    go,
    moment_column,
)
from billing_site.display.figures import money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import round_money, total
from billing_site.kernel.words import counted
from invoicing.admin.catalog import MIGRATE
from invoicing.catalog.models import PlanVersion
from invoicing.plan_migrations.models import PlanMigration
from invoicing.workflows.migrate_subscribers import commit_migration, propose_migration, show_migration_again

PAGE_SUBSCRIPTIONS = 100


class MigrationForm(forms.Form):
    """Whose subscribers move to which version, and from when."""

    target = forms.ModelChoiceField(
        PlanVersion.objects.none(), widget=UnfoldAdminSelectWidget, label="Move to", empty_label="choose a version"
    )
    source = forms.ModelChoiceField(
        PlanVersion.objects.none(),
        required=False,
        widget=UnfoldAdminSelectWidget,
        label="Who",
        empty_label="the subscribers of all its other versions",
    )
    from_date = forms.DateField(
        widget=UnfoldAdminSingleDateWidget,
        label="From",
        help_text="Each moves with the first billing period that begins on this day or later in its own time zone; no period is split.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        published = PlanVersion.objects.filter(published_at__isnull=False).select_related("plan__product")
        for name in ("target", "source"):
            self.fields[name].queryset = published.order_by("plan__name", "-number")  # type: ignore[attr-defined]

    @property
    def sources(self) -> list[PlanVersion]:
        """The versions whose subscribers move."""
        chosen, target = self.cleaned_data["source"], self.cleaned_data["target"]
        return (
            [chosen] if chosen else list(target.plan.versions.filter(published_at__isnull=False).exclude(pk=target.pk))
        )


# What stands in the row of a customer who has no invoice yet.
NONE_YET = {"invoice": "", "problem": "", "before": None, "after": None, "effect": None}


@admin.register(PlanMigration)
class PlanMigrationAdmin(ReadOnlyAdmin):
    """Moves of subscribers to another version, with their dry runs."""

    list_display = (
        "target",
        "from_date",
        "state",
        "moves",
        "proposed_by",
        moment_column("proposed_at", "Proposed"),
        "committed_by",
    )
    list_select_related = ("target__plan",)
    search_fields = ("target__plan__name", "reason")
    ordering = ("-id",)
    actions_detail = ("commit", "again")
    empty_message = (
        "A move of subscribers to another version stands here with what it does to each, and whether it was committed."
    )

    @admin.display(description="State")
    def state(self, migration: PlanMigration) -> SafeString:
        """Show whether it is done."""
        return pill("done", why="committed") if migration.committed_at else pill("waiting", why="dry run only")

    @admin.display(description="Subscriptions that move")
    def moves(self, migration: PlanMigration) -> int:
        """Show how many move."""
        return len(migration.figures["moves"])

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may move subscribers proposes moves."""
        return bool(request.user.has_perm(MIGRATE))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Take what should move, make its dry run, and go to the page that shows it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        at = now()
        number = request.GET.get("target", "")
        initial = {"from_date": at.date(), "target": number if number.isdecimal() and len(number) < 19 else None}
        form = MigrationForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            try:
                migration = propose_migration(
                    target=form.cleaned_data["target"],
                    sources=form.sources,
                    from_date=form.cleaned_data["from_date"],
                    at=at,
                    actor=actor_of(request),
                )
                return go(_page(migration))
            except BillingError as problem:
                add_field_errors(form, problem)
        context = self.page_context(request, title="Move subscribers to another version", form=form)
        return TemplateResponse(request, "backoffice/plan_migration_propose.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the dry run, or what was committed."""
        migration: PlanMigration = self.row_or_404(request, object_id)
        figures = migration.figures
        last = {one["customer"]: _with_money(one) for one in figures["last_invoices"]}
        moves = Paginator(figures["moves"], PAGE_SUBSCRIPTIONS).get_page(request.GET.get("page", "1"))
        context = self.page_context(
            request,
            title=str(migration),
            row=migration,
            moves=[(_with_text(one), last.get(one["customer"], NONE_YET)) for one in moves],
            page=moves,
            stays=figures["stays"],
            effects=_effects(migration),
            may_commit=self.has_add_permission(request) and migration.committed_at is None,
        )
        return TemplateResponse(request, "backoffice/plan_migration.html", context)

    @action(description="Make the dry run again", url_path="again")
    def again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Compute the figures as of now."""
        migration = self._open(request, object_id)
        if request.method == "POST":
            try:
                show_migration_again(migration_id=migration.pk, at=now())
                messages.success(request, "This is what it would do at this moment.")
            except BillingError as problem:
                messages.error(request, problem.message)
        return go(_page(migration))

    @action(description="Commit", url_path="commit")
    def commit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Move the subscribers, as long as each still gets what was shown."""
        migration = self._open(request, object_id)
        shown = request.POST.get("digest", "") or migration.figures_digest
        form = ReasonForm(request.POST if "digest" in request.POST else None)
        number = len(migration.figures["moves"])
        if form.is_valid():
            try:
                commit_migration(
                    migration_id=migration.pk,
                    digest=shown,
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                )
                messages.success(
                    request, f"Committed: {number:,} {counted('subscription', number)} will be on {migration.target}."
                )
            except BillingError as problem:
                messages.error(request, f"Nobody was moved: {problem.message}")
            return go(_page(migration))
        stays = len(migration.figures["stays"])
        return confirmation(
            request,
            admin=self,
            title=f"Move {number:,} {counted('subscription', number)} to {migration.target}",
            effect=f"{number:,} {counted('subscription', number)} will be on {migration.target} from the first billing period of"
            f" {migration.from_date} or later. On their last invoices that would have been: {_effects_text(migration)}.",
            warnings=[f"{stays:,} {counted('subscription', stays)} stay as they are; the page says why."]
            if stays
            else [],
            form=form,
            submit=f"Move {number:,} {counted('subscription', number)}",
            hidden=[("digest", migration.figures_digest)],
            back=_page(migration),
            row=migration,
        )

    def _open(self, request: HttpRequest, object_id: str) -> PlanMigration:
        migration: PlanMigration = self.row_or_404(request, object_id)
        if not self.has_add_permission(request):
            raise PermissionDenied
        return migration


def _page(migration: PlanMigration) -> str:
    return reverse("admin:invoicing_planmigration_change", args=[migration.pk])


def _money(document: dict[str, str]) -> Money:
    return round_money(Decimal(document["amount"]), document["currency"])


def _with_text(move: dict[str, Any]) -> dict[str, Any]:
    """Return a move with the moment as people of the customer's zone write it."""
    local = datetime.fromisoformat(move["at"]).astimezone(ZoneInfo(move["timezone"]))
    return {**move, "local": f"{local:%Y-%m-%d %H:%M}"}


def _with_money(last: dict[str, Any]) -> dict[str, Any]:
    before, after = _money(last["before"]), _money(last["after"]) if last["after"] else None
    return {**last, "before": before, "after": after, "effect": None if after is None else after - before}


def _effects(migration: PlanMigration) -> list[tuple[Money, Money, Money]]:
    """Return before, after and difference of the last invoices together, by currency; those that cannot be told left out."""
    told = [_with_money(one) for one in migration.figures["last_invoices"] if one["after"]]
    sums = []
    for currency in sorted({one["before"].currency.code for one in told}):
        members = [one for one in told if one["before"].currency.code == currency]
        before, after = (total((one[side] for one in members), currency) for side in ("before", "after"))
        sums.append((before, after, after - before))
    return sums


def _effects_text(migration: PlanMigration) -> str:
    return (
        ", ".join(f"{money_text(after)} instead of {money_text(before)}" for before, after, _ in _effects(migration))
        or "nothing was invoiced yet"
    )
