"""What Stripe's meters do not have as they should, in the admin: each leads back to request and account, and is sent again or given up."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action

from billing_site.display.admin import ReadOnlyAdmin, confirm_with_reason, moment_column
from billing_site.display.figures import NOTHING, link
from billing_site.display.pills import GREEN, pill
from billing_site.kernel.clock import now
from billing_site.kernel.words import counted
from invoicing.admin.meter_reports import PERMISSION, customer_link, subscription_link
from invoicing.meter_reports.models import RepairCase
from invoicing.meter_reports.repair import give_up, send_again


class CaseFilter(admin.SimpleListFilter):
    """By whether it is repaired."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two."""
        return [("open", "To be repaired"), ("closed", "Closed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those in the chosen state."""
        if self.value() not in ("open", "closed"):
            return queryset
        return queryset.filter(closed_at__isnull=self.value() == "open")


@admin.register(RepairCase)
class RepairCaseAdmin(ReadOnlyAdmin):
    """What Stripe does not have as it should."""

    list_display = ("subject", "state", "code", "message", moment_column("opened_at", "Opened"), "account")
    list_display_links = ("subject",)
    list_filter = (CaseFilter, "code")
    list_select_related = ("reporting__customer", "reporting__meter", "report")
    search_fields = ("subject", "code", "message", "report__request", "reporting__customer__key", "notice")
    ordering = ("-id",)
    fields = (
        "subject",
        "state",
        "code",
        "message",
        "account",
        "subscription_page",
        "report_page",
        "request_words",
        "notice",
        "opened_at",
        "closed_at",
        "closed_by",
        "closed_because",
    )
    readonly_fields = fields
    actions_detail = ("resend", "dismiss")
    empty_message = (
        "What Stripe refuses, at once or in an error report, stands here until it is sent again or given up."
    )

    @admin.display(description="State", ordering="closed_at")
    def state(self, case: RepairCase) -> SafeString:
        """Show whether it is repaired, and how."""
        if case.closed_at is None:
            return pill("to look at")
        return pill("done", tone=GREEN, why=case.closed_because)

    @admin.display(description="Customer")
    def account(self, case: RepairCase) -> SafeString:
        """Link to the customer."""
        return customer_link(case.reporting) if case.reporting else NOTHING

    @admin.display(description="Subscription")
    def subscription_page(self, case: RepairCase) -> SafeString:
        """Link to the subscription."""
        return subscription_link(case.reporting) if case.reporting else NOTHING

    @admin.display(description="Report")
    def report_page(self, case: RepairCase) -> SafeString:
        """Link to the report."""
        if case.report is None:
            return NOTHING
        return link(reverse("admin:invoicing_meterreport_change", args=[case.report_id]), case.report)

    @admin.display(description="Event or hour")
    def request_words(self, case: RepairCase) -> SafeString | str:
        """Lead to the event that it is about, or name the hour."""
        if case.report is None or case.reporting is None:
            return NOTHING
        if not case.report.request:
            return f"{case.report.happened_at:%Y-%m-%d %H:00} UTC"
        number = case.report.source.rpartition("-")[2]
        return link(reverse("admin:metering_usageevent_change", args=[number]), case.report.request)

    @action(description="Send again", url_path="send-again")
    def resend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then tell Stripe what is counted now."""
        case: RepairCase = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=case,
            permission=PERMISSION,
            deed=lambda **who: send_again(case_id=case.pk, at=now(), **who),
            done=lambda planned: f"{len(planned):,} {counted('report', len(planned))} on the way to Stripe.",
            title=f"Send {case.subject} again",
            effect="Stripe hears what is counted now and it does not have, under a new identifier. If nothing is missing any more, nothing is sent.",
            submit="Send again",
        )

    @action(description="Give up", url_path="give-up")
    def dismiss(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then let what is missing count as told."""
        case: RepairCase = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=case,
            permission=PERMISSION,
            deed=lambda **who: give_up(case_id=case.pk, at=now(), **who),
            done=lambda _: "The case is closed; Stripe hears nothing of it.",
            title=f"Give {case.subject} up",
            effect="Stripe never hears of what is missing, and does not charge for it. What changes there later is still told.",
            submit="Give it up",
            dangerous=True,
        )
