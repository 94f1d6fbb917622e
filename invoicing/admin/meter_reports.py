"""Usage that Stripe settles, in the admin: which that is, what Stripe's meters were told, and what has to be repaired there."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    TrackedAdmin,
    actor_of,
    add_field_errors,
    confirm_with_reason,
    confirmation,
    go,
    moment_column,
)
from billing_site.display.figures import NOTHING, link, moment, quantity
from billing_site.display.pills import AMBER, BLUE, GREY, RED, pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.words import counted
from invoicing.meter_reports.models import MeterReport, ReportStatus
from invoicing.subscriptions.metered_at_stripe import ADDITIVE, MeterReporting, ReportingMode
from invoicing.subscriptions.models import Subscription
from invoicing.workflows.report_usage import begin_reporting, end_reporting, next_hour
from metering.models import Meter

PERMISSION = "invoicing.report_usage"
LIST = "admin:invoicing_meterreporting_changelist"
WORDS = {
    ReportStatus.PLANNED: ("to be sent", AMBER),
    ReportStatus.SENT: ("sent", BLUE),
    ReportStatus.REFUSED: ("refused", RED),
    ReportStatus.WITHDRAWN: ("not needed", GREY),
    ReportStatus.WAIVED: ("given up", GREY),
}


class BeginForm(ReasonForm):
    """Which usage Stripe settles, how it hears of it, and why."""

    field_order = ("subscription", "meter", "mode", "event_name", "starts_at", "reason")
    subscription = forms.CharField(
        max_length=100, widget=UnfoldAdminTextInputWidget(), help_text="Its key; the usage is that of its customer."
    )
    meter = forms.ModelChoiceField(
        queryset=Meter.objects.filter(aggregation__in=ADDITIVE).order_by("name"),
        widget=UnfoldAdminSelectWidget(),
        help_text="Sums and counts only: others cannot be told piece by piece.",
    )
    mode = forms.ChoiceField(choices=ReportingMode.choices, label="Told by", widget=UnfoldAdminSelectWidget())
    event_name = forms.CharField(
        max_length=100, widget=UnfoldAdminTextInputWidget(), help_text="Of the meter at Stripe, which is looked at."
    )
    starts_at = forms.DateTimeField(
        label="From the hour (UTC)", widget=UnfoldAdminTextInputWidget(), help_text="As 2026-07-01 09:00."
    )

    def clean_subscription(self) -> Subscription:
        """Find it."""
        found = Subscription.objects.filter(key=self.cleaned_data["subscription"]).first()
        if found is None:
            raise forms.ValidationError("There is no such subscription.")
        return found


def subscription_link(reporting: MeterReporting) -> SafeString:
    """Link to the subscription of a reporting."""
    page = reverse("admin:invoicing_subscription_change", args=[reporting.subscription_id])
    return link(page, reporting.subscription)


def customer_link(reporting: MeterReporting) -> SafeString:
    """Link to the customer of a reporting."""
    return link(reverse("admin:invoicing_customer_change", args=[reporting.customer_id]), reporting.customer)


@admin.register(MeterReporting)
class MeterReportingAdmin(TrackedAdmin):
    """Which usage Stripe settles."""

    list_display = (
        "usage",
        "state",
        "subscription_page",
        "mode",
        "event_name",
        moment_column("starts_at", "From"),
        moment_column("ends_at", "Until"),
        moment_column("looked_until", "Told until"),
        "customer_page",
    )
    list_filter = ("mode", "meter")
    list_select_related = ("customer", "subscription", "meter")
    search_fields = ("customer__key", "customer__name", "subscription__key", "event_name")
    ordering = ("-id",)
    fields = (
        "usage",
        "customer_page",
        "subscription_page",
        "mode",
        "event_name",
        "stripe_meter_id",
        "starts_at",
        "ends_at",
        "looked_until",
        "told",
        "cases",
    )
    readonly_fields = fields
    actions_detail = ("end",)
    empty_message = "Usage is rated here. A subscription's meter that Stripe shall settle instead stands here once somebody says so."

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may let Stripe settle usage begins it, on a page that looks at Stripe's meter first."""
        return request.user.has_perm(PERMISSION)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Its terms stay."""
        return False

    @admin.display(description="Usage", ordering="meter__name")
    def usage(self, reporting: MeterReporting) -> str:
        """Name the meter."""
        return reporting.meter.name

    @admin.display(description="Customer", ordering="customer__name")
    def customer_page(self, reporting: MeterReporting) -> SafeString:
        """Link to the customer."""
        return customer_link(reporting)

    @admin.display(description="Subscription", ordering="subscription__key")
    def subscription_page(self, reporting: MeterReporting) -> SafeString:
        """Link to the subscription."""
        return subscription_link(reporting)

    @admin.display(description="State", ordering="ends_at")
    def state(self, reporting: MeterReporting) -> SafeString:
        """Show whether it lasts."""
        if reporting.ends_at is not None and reporting.ends_at <= now():
            return pill("ended")
        return pill("active") if reporting.starts_at <= now() else pill("planned")

    @admin.display(description="Reports")
    def told(self, reporting: MeterReporting) -> SafeString:
        """Link to what was told."""
        number = reporting.reports.count()
        page = reverse("admin:invoicing_meterreport_changelist") + f"?reporting__id__exact={reporting.pk}"
        return link(page, f"{number:,} {counted('report', number)}")

    @admin.display(description="Repair cases")
    def cases(self, reporting: MeterReporting) -> SafeString:
        """Link to what had, or has, to be repaired."""
        number = reporting.repair_cases.count()
        page = reverse("admin:invoicing_repaircase_changelist") + f"?reporting__id__exact={reporting.pk}"
        return link(page, f"{number:,} {counted('case', number)}")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for the terms and a reason, look at Stripe's meter, and begin."""
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        initial = {"starts_at": f"{next_hour(at=now()):%Y-%m-%d %H:%M}", "mode": ReportingMode.WINDOWS}
        form = BeginForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            try:
                reporting = begin_reporting(**form.cleaned_data, at=now(), actor=actor_of(request))
            except BillingError as problem:
                add_field_errors(form, problem)
            else:
                return go(reverse("admin:invoicing_meterreporting_change", args=[reporting.pk]))
        return confirmation(
            request,
            admin=self,
            title="Let Stripe settle usage",
            effect="From that hour on Stripe's meter hears of this usage, and Stripe charges for it; no plan of the customer may price it here."
            " Events that are late or corrected are corrected there, too.",
            form=form,
            submit="Begin",
            back=reverse(LIST),
        )

    @action(description="End", url_path="end")
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, and tell Stripe of nothing that is used from the next whole hour on."""
        reporting: MeterReporting = self.row_or_404(request, object_id)
        ends_at = max(next_hour(at=now()), next_hour(at=reporting.starts_at))
        return confirm_with_reason(
            request,
            admin=self,
            row=reporting,
            permission=PERMISSION,
            deed=lambda **who: end_reporting(reporting_id=reporting.pk, ends_at=ends_at, at=now(), **who),
            done=lambda _: "Stripe hears of no later usage.",
            title=f"End the settling of {reporting.meter.name} by Stripe",
            effect=f"Usage from {ends_at:%Y-%m-%d %H:%M} UTC on is told to Stripe no more; what was before is still corrected there.",
            submit="End it",
            dangerous=True,
        )


@admin.register(MeterReport)
class MeterReportAdmin(ReadOnlyAdmin):
    """What Stripe's meters were told, row by row."""

    list_display = (
        "identifier",
        "state",
        "says",
        "amount",
        moment_column("happened_at", "Used"),
        moment_column("sent_at", "Accepted"),
        "attempt_count",
        "next_attempt",
        "account",
    )
    list_display_links = ("identifier",)
    list_filter = ("status", "kind", "reporting__mode")
    list_select_related = ("reporting__customer", "reporting__meter")
    search_fields = ("identifier", "request", "source", "reporting__customer__key", "stripe_request_id")
    ordering = ("-id",)
    fields = (
        "identifier",
        "state",
        "says",
        "amount",
        "account",
        "reporting_page",
        "happened_at",
        "request",
        "cancels",
        "attempt_count",
        "first_sent_at",
        "sent_at",
        "next_attempt",
        "last_error",
        "stripe_request_id",
        "planned_at",
    )
    readonly_fields = fields
    empty_message = "Usage that Stripe settles is written down here before Stripe hears of it."

    @admin.display(description="State", ordering="status")
    def state(self, report: MeterReport) -> SafeString:
        """Show how far it is, and why not further."""
        word, tone = WORDS[ReportStatus(report.status)]
        return pill(word, tone=tone, why=report.last_error)

    @admin.display(description="Says", ordering="kind")
    def says(self, report: MeterReport) -> str:
        """Say what it does to Stripe's sum."""
        return report.get_kind_display()

    @admin.display(description="Value", ordering="value")
    def amount(self, report: MeterReport) -> str:
        """Show the quantity with its unit."""
        return quantity(report.value, report.reporting.meter.unit)

    @admin.display(description="Customer", ordering="reporting__customer__name")
    def account(self, report: MeterReport) -> SafeString:
        """Link to the customer."""
        return customer_link(report.reporting)

    @admin.display(description="Next attempt", ordering="next_attempt_at")
    def next_attempt(self, report: MeterReport) -> SafeString:
        """Show when it is tried again, if it is."""
        return moment(report.next_attempt_at) if report.status == ReportStatus.PLANNED else NOTHING

    @admin.display(description="Settled by Stripe as")
    def reporting_page(self, report: MeterReport) -> SafeString:
        """Link to the reporting."""
        page = reverse("admin:invoicing_meterreporting_change", args=[report.reporting_id])
        return link(page, f"{report.reporting.meter.name} to {report.reporting.event_name}")
