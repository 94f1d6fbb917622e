"""Backfills in the admin: upload a file of old events, look at what it would do in money, commit it with a reason."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

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
from billing_site.kernel.money import round_money
from billing_site.kernel.text import is_storable
from invoicing.backfills.models import Backfill
from invoicing.workflows.backfill import commit_backfill, propose_backfill, show_backfill_again
from metering.core.presets import PRESETS

BACKFILL = "invoicing.backfill_usage"


class UploadForm(forms.Form):
    """A file of events, and how it is read."""

    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        help_text="CSV, NDJSON or a JSON array, plain or .gz, as import_events reads.",
    )
    preset = forms.ChoiceField(
        required=False,
        widget=UnfoldAdminSelectWidget,
        choices=[("", "Our own event fields"), *((name, preset.title) for name, preset in PRESETS.items())],
    )
    rules = forms.CharField(
        required=False,
        label="Columns",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="One rule a line: FIELD=COLUMN, or FIELD==CONSTANT. Columns named like fields need none.",
    )
    timezone = forms.CharField(
        required=False,
        label="Time zone",
        widget=UnfoldAdminTextInputWidget,
        help_text="What timestamps without an offset mean: Europe/Berlin.",
    )

    def clean_rules(self) -> list[str]:
        """Split the rules."""
        return [line.strip() for line in self.cleaned_data["rules"].splitlines() if line.strip()]

    def clean_file(self) -> Any:
        """Refuse a name that no column can keep."""
        file = self.cleaned_data["file"]
        if not is_storable(file.name):
            raise forms.ValidationError("Its name has characters that cannot be kept: rename it.")
        return file


@admin.register(Backfill)
class BackfillAdmin(ReadOnlyAdmin):
    """Files of old events, with their dry runs."""

    list_display = (
        "name",
        "state",
        "events",
        "money",
        "uploaded_by",
        moment_column("uploaded_at", "Uploaded"),
        "committed_by",
    )
    list_filter = ("uploaded_by",)
    search_fields = ("name", "reason")
    ordering = ("-id",)
    actions_detail = ("commit", "again")
    empty_message = (
        "A file of old events that somebody uploads stands here with what it would do, and whether it was committed."
    )

    @admin.display(description="State")
    def state(self, backfill: Backfill) -> SafeString:
        """Show whether its events are accepted."""
        return pill("done", why="committed") if backfill.committed_at else pill("waiting", why="dry run only")

    @admin.display(description="New events")
    def events(self, backfill: Backfill) -> int:
        """Show how many events it adds."""
        return int(backfill.figures["accepted"])

    @admin.display(description="Money effect")
    def money(self, backfill: Backfill) -> str:
        """Show what it changes."""
        return _effects_text(backfill) or "none"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may backfill uploads files."""
        return bool(request.user.has_perm(BACKFILL))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Take a file, make its dry run, and go to the page that shows it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            file = form.cleaned_data["file"]
            try:
                backfill = propose_backfill(
                    name=file.name,
                    content=file.read(),
                    preset=form.cleaned_data["preset"],
                    rules=form.cleaned_data["rules"],
                    timezone=form.cleaned_data["timezone"],
                    at=now(),
                    actor=actor_of(request),
                )
                return go(reverse("admin:invoicing_backfill_change", args=[backfill.pk]))
            except BillingError as problem:
                add_field_errors(form, problem, renamed={"map": "rules"})
        context = self.page_context(request, title="Backfill events from a file", form=form)
        return TemplateResponse(request, "backoffice/backfill_upload.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the dry run, or what was committed."""
        backfill = self.row_or_404(request, object_id)
        figures = backfill.figures
        customers = [one for one in figures["customers"] if one["accepted"] or one["conflicts"]]
        context = self.page_context(
            request,
            title=backfill.name,
            row=backfill,
            figures=figures,
            customers=[_with_money(one) for one in customers],
            effects=[_money(one) for one in figures["effects"]],
            may_commit=request.user.has_perm(BACKFILL) and backfill.committed_at is None,
        )
        return TemplateResponse(request, "backoffice/backfill.html", context)

    @action(description="Make the dry run again", url_path="again")
    def again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Compute the figures as of now."""
        backfill = self._open(request, object_id)
        page = reverse("admin:invoicing_backfill_change", args=[backfill.pk])
        if request.method == "POST":
            try:
                show_backfill_again(backfill_id=backfill.pk, at=now())
                messages.success(request, "These are the figures of this moment.")
            except BillingError as problem:
                messages.error(request, problem.message)
        return go(page)

    @action(description="Commit", url_path="commit")
    def commit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Accept the events, as long as every figure is still the one that was shown."""
        backfill = self._open(request, object_id)
        page = reverse("admin:invoicing_backfill_change", args=[backfill.pk])
        shown = request.POST.get("digest", "") or backfill.figures_digest
        form = ReasonForm(request.POST if "digest" in request.POST else None)
        if form.is_valid():
            try:
                done = commit_backfill(
                    backfill_id=backfill.pk,
                    digest=shown,
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                )
                messages.success(request, f"Committed: {done.figures['accepted']:,} events are accepted.")
            except BillingError as problem:
                messages.error(request, f"Nothing was kept: {problem.message}")
            return go(page)
        figures = backfill.figures
        return confirmation(
            request,
            admin=self,
            title=f"Commit {backfill.name}",
            effect=f"Accept {figures['accepted']:,} events of {len(figures['customers']):,} customers;"
            f" money effect: {_effects_text(backfill) or 'none'}. They stay: a wrong event is cancelled one by one.",
            warnings=[
                *([f"{figures['rejected']:,} rows are refused and stay out."] if figures["rejected"] else []),
                *(
                    [f"{figures['conflicts']:,} events contradict accepted ones and stay out; they are listed."]
                    if figures["conflicts"]
                    else []
                ),
            ],
            form=form,
            submit=f"Commit {figures['accepted']:,} events",
            hidden=[("digest", backfill.figures_digest)],
            back=page,
            row=backfill,
        )

    def _open(self, request: HttpRequest, object_id: str) -> Backfill:
        backfill: Backfill = self.row_or_404(request, object_id)
        if not request.user.has_perm(BACKFILL):
            raise PermissionDenied
        return backfill


def _money(document: dict[str, str]) -> Any:
    return round_money(Decimal(document["amount"]), document["currency"])


def _with_money(customer: dict[str, Any]) -> dict[str, Any]:
    """Return a customer's figures with money that templates can write."""
    return {
        **customer,
        "effect": _money(customer["effect"]) if customer["effect"] else None,
        "money": [
            {**one, **{name: _money(one[name]) for name in ("before", "after", "effect")}} for one in customer["money"]
        ],
    }


def _effects_text(backfill: Backfill) -> str:
    return ", ".join(money_text(_money(one)) for one in backfill.figures["effects"])
