"""Billing runs: what each pass over the customers drafted, issued and could not bill."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, moment_column
from billing_site.display.figures import NOTHING, link, moment
from billing_site.display.pills import pill
from invoicing.invoices.models import BillingRun


class TrialFilter(admin.SimpleListFilter):
    """Runs that billed, or those that were made on trial for somebody to sign."""

    title = "kind"
    parameter_name = "trial"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the other choice."""
        return [("yes", "On trial")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Call the first choice what it is: it leaves trials out."""
        billed, *others = super().choices(changelist)
        yield {**billed, "display": "Billing"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the trials, or the others."""
        return queryset.exclude(trial_of="") if self.value() == "yes" else queryset.filter(trial_of="")


@admin.register(BillingRun)
class BillingRunAdmin(ReadOnlyAdmin):
    """One pass of billing."""

    list_display = (
        "run",
        moment_column("as_of", "As of"),
        "started",
        "state",
        "drafted",
        "issued",
        "held",
        "failed",
    )
    list_filter = (TrialFilter,)
    ordering = ("-id",)
    fields = ("run", "as_of", "started", "finished", "drafted", "issued", "held", "failure_list")
    readonly_fields = fields
    empty_message = "Each `manage.py bill` and each scheduled run leaves a row here."

    @admin.display(description="Run", ordering="id")
    def run(self, run: BillingRun) -> str:
        """Show its number, and of what it was the trial."""
        return f"Run {run.pk}, trial of {run.trial_of}" if run.trial_of else f"Run {run.pk}"

    @admin.display(description="Started", ordering="started_at")
    def started(self, run: BillingRun) -> SafeString:
        """Show when it began."""
        return moment(run.started_at)

    @admin.display(description="Finished", ordering="finished_at")
    def finished(self, run: BillingRun) -> SafeString:
        """Show when it ended."""
        return moment(run.finished_at) if run.finished_at else NOTHING

    @admin.display(description="State")
    def state(self, run: BillingRun) -> SafeString:
        """Show whether it ended, and how."""
        if run.finished_at is None:
            return pill("late", why="has not ended")
        return pill("failed", why=f"{len(run.failures)} customers") if run.failures else pill("done")

    @admin.display(description="Drafted", ordering="drafted_count")
    def drafted(self, run: BillingRun) -> SafeString:
        """Link to its invoices by the number that it left as drafts."""
        return link(self._invoices(run), run.drafted_count)

    @admin.display(description="Issued", ordering="issued_count")
    def issued(self, run: BillingRun) -> SafeString:
        """Link to its invoices by the number that it issued."""
        return link(self._invoices(run), run.issued_count)

    @admin.display(description="Held", ordering="held_count")
    def held(self, run: BillingRun) -> SafeString:
        """Link to its drafts that are still held by the number that it held."""
        return link(f"{self._invoices(run)}&state=held", run.held_count)

    def _invoices(self, run: BillingRun) -> str:
        return f"{reverse('admin:invoicing_invoice_changelist')}?billing_run__id__exact={run.pk}"

    @admin.display(description="Not billed")
    def failed(self, run: BillingRun) -> int:
        """Count the customers that it could not bill."""
        return len(run.failures)

    @admin.display(description="Not billed, and why")
    def failure_list(self, run: BillingRun) -> SafeString:
        """List the customers that it could not bill."""
        rows = ((failure.get("customer", ""), failure.get("message", "")) for failure in run.failures)
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}: {}</li>", rows)) if run.failures else NOTHING
