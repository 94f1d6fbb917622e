"""Nightly re-rating in the admin: what each night has looked at, and the lines that came out otherwise until somebody looks into them."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, moment_column
from billing_site.display.figures import link, moment, money
from billing_site.display.pills import pill
from billing_site.kernel.words import counted
from invoicing.admin.reviewing import OpenFilter, Reviewed, ReviewedAdmin
from invoicing.rerating.models import ReratingFinding, ReratingRun
from invoicing.rerating.operations import open_findings, review_findings


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
class ReratingFindingAdmin(ReviewedAdmin):
    """Issued lines that came out otherwise."""

    reviewed = Reviewed(
        permission="invoicing.review_reratingfinding",
        title="What was found about lines that rate otherwise",
        counted=lambda number: f"{number:,} {counted('line', number)}",
        unchanged="The invoice, its events and the books stay as they are.",
        look_at="open the line's proof, rate it again",
        waiting=open_findings,
        review=review_findings,
    )

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
