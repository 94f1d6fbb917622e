"""Nightly re-rating in the admin: what each night has looked at, and the lines that came out otherwise until somebody looks into them."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action

from billing_site.display.admin import (
    ReadOnlyAdmin,
    actor_of,
    attempt,
    confirmation,
    go,
    moment_column,
    show_selected,
)
from billing_site.display.figures import link, moment, money
from billing_site.display.pills import AMBER, GREEN, pill
from billing_site.kernel.clock import now
from billing_site.kernel.words import counted
from invoicing.admin.anomalies import FoundForm, OpenFilter
from invoicing.rerating.models import ReratingFinding, ReratingRun
from invoicing.rerating.operations import open_findings, review_findings

REVIEW = "invoicing.review_reratingfinding"


@admin.register(ReratingRun)
class ReratingRunAdmin(ReadOnlyAdmin):
    """Nights."""

    list_display = (
        moment_column("at", "Night"),
        "drawn",
        "large",
        "archived",
        "outcome",
    )
    ordering = ("-id",)
    fields = ("night", "drawn", "large", "archived", "outcome", "found")
    empty_message = (
        "Every night some issued lines, and all of large amounts, are counted from their raw events and rated again."
    )

    @admin.display(description="Drawn at random", ordering="sampled_count")
    def drawn(self, run: ReratingRun) -> str:
        """Show how many lines were drawn."""
        return f"{run.sampled_count:,}"

    @admin.display(description="Large", ordering="large_count")
    def large(self, run: ReratingRun) -> str:
        """Show how many large lines there were."""
        return f"{run.large_count:,}"

    @admin.display(description="Not counted: archived", ordering="archived_count")
    def archived(self, run: ReratingRun) -> str:
        """Show of how many lines the events are in the archive only."""
        return f"{run.archived_count:,}"

    @admin.display(description="Outcome", ordering="different_count")
    def outcome(self, run: ReratingRun) -> SafeString:
        """Show whether all came out equal."""
        number = run.different_count
        return pill("different", why=f"{number:,} {counted('line', number)}") if number else pill("equal")

    @admin.display(description="Night")
    def night(self, run: ReratingRun) -> SafeString:
        """Show when it was."""
        return moment(run.at)

    @admin.display(description="Told that night")
    def found(self, run: ReratingRun) -> SafeString | str:
        """Link to what was told for the first time."""
        number = run.findings.count()
        if not number:
            return "nothing that was not told before"
        page = reverse("admin:invoicing_reratingfinding_changelist") + f"?run__id__exact={run.pk}"
        return link(page, f"{number:,} {counted('line', number)}")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields


@admin.register(ReratingFinding)
class ReratingFindingAdmin(ReadOnlyAdmin):
    """Issued lines that came out otherwise."""

    list_display = (
        "line_link",
        "customer_link",
        "amount",
        "first_difference",
        "state",
        moment_column("found_at", "Found"),
    )
    list_filter = (OpenFilter, "run")
    search_fields = ("line__invoice__number", "line__invoice__customer__key", "line__invoice__customer__name")
    list_select_related = ("line__invoice__customer", "review")
    ordering = ("-id",)
    actions = ("review_selected",)
    actions_detail = ("review",)
    fields = ("line_link", "customer_link", "amount", "all_differences", "found", "run", "state", "said")
    empty_message = "A line that comes out otherwise when it is counted and rated again at night stands here."

    @admin.display(description="Line")
    def line_link(self, finding: ReratingFinding) -> SafeString:
        """Link to the proof, which rates it again now."""
        line = finding.line
        proof = reverse("admin:invoicing_invoice_proof", args=[line.invoice_id]) + f"?line={line.position}"
        return link(proof, f"{line.invoice.number}, line {line.position}: {line.description}")

    @admin.display(description="Customer", ordering="line__invoice__customer__name")
    def customer_link(self, finding: ReratingFinding) -> SafeString:
        """Link to the customer."""
        customer = finding.line.invoice.customer
        return link(reverse("admin:invoicing_customer_change", args=[customer.pk]), customer)

    @admin.display(description="Amount", ordering="line__amount")
    def amount(self, finding: ReratingFinding) -> SafeString:
        """Show what it charges."""
        return money(finding.line.amount)

    @admin.display(description="First difference")
    def first_difference(self, finding: ReratingFinding) -> str:
        """Show the first difference."""
        return str(finding.differences[0])

    @admin.display(description="Differences")
    def all_differences(self, finding: ReratingFinding) -> SafeString:
        """Show all of them."""
        return format_html_join("", "<p>{}</p>", ((one,) for one in finding.differences))

    @admin.display(description="Found")
    def found(self, finding: ReratingFinding) -> SafeString:
        """Show when it was found."""
        return moment(finding.found_at)

    @admin.display(description="State")
    def state(self, finding: ReratingFinding) -> SafeString:
        """Show whether somebody has looked into it."""
        return pill("looked into", tone=GREEN) if hasattr(finding, "review") else pill("open", tone=AMBER)

    @admin.display(description="What was found")
    def said(self, finding: ReratingFinding) -> str | SafeString:
        """Show what was said about it, by whom and when."""
        if not hasattr(finding, "review"):
            return "nothing yet: open the line's proof, rate it again, then say what was found"
        review = finding.review
        return format_html("{} ({}, {})", review.reason, review.actor, moment(review.reviewed_at))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields

    def has_review_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Say whether this person may say what was found."""
        return bool(request.user.has_perm(REVIEW))

    @admin.action(description="Say what was found about the selected", permissions=["review"])
    def review_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Say it once of several: one cause may have changed many lines."""
        waiting = open_findings().filter(pk__in=queryset.values("pk"))
        form = FoundForm(request.POST if "confirmed" in request.POST else None)
        back = reverse("admin:invoicing_reratingfinding_changelist")
        return self._review(
            request, waiting, form, back=back, hidden=show_selected(request, queryset, action="review_selected")
        )

    @action(description="Say what was found", url_path="review")
    def review(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say it of one."""
        finding = self.row_or_404(request, object_id)
        if not request.user.has_perm(REVIEW):
            raise PermissionDenied
        page = reverse("admin:invoicing_reratingfinding_change", args=[finding.pk])
        return self._review(request, open_findings().filter(pk=finding.pk), FoundForm(request.POST or None), back=page)

    def _review(
        self,
        request: HttpRequest,
        waiting: QuerySet[ReratingFinding],
        form: forms.Form,
        *,
        back: str,
        hidden: list[tuple[str, str]] | None = None,
    ) -> HttpResponse:
        keys = list(waiting.values_list("pk", flat=True))
        if form.is_valid():
            attempt(
                request,
                lambda: review_findings(
                    findings=keys, at=now(), actor=actor_of(request), reason=form.cleaned_data["reason"]
                ),
                done=lambda number: f"Looked into: {number:,} {counted('line', number)}.",
            )
            return go(back)
        number = len(keys)
        return confirmation(
            request,
            admin=self,
            title="What was found about lines that rate otherwise",
            effect=f"{number:,} {counted('line', number)} will no longer wait on Needs you. The invoice, its events and the books stay as they are.",
            warnings=[] if keys else ["Somebody has looked into it already: what was said stays."],
            form=form,
            submit="Looked into",
            hidden=hidden or (),
            back=back,
        )
