"""Held invoices in the admin: what the gate found about a draft, releasing it with a reason, and the checks with their hit rates."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    attempt,
    confirmation,
    go,
    moment_column,
)
from billing_site.display.figures import NOTHING, link, moment, money, money_text, period
from billing_site.display.pills import GREEN, GREY, pill
from billing_site.kernel.clock import now
from invoicing.admin.approvals import waits_words
from invoicing.admin.gate_checks import SET_CHECKS, check_page, checks_page
from invoicing.approvals.models import ApprovedDeed
from invoicing.approvals.queries import last_approval
from invoicing.core.gate import CHECKS, Check
from invoicing.core.gate_states import GateState
from invoicing.gate.models import InvoiceHold
from invoicing.gate.operations import subject_of
from invoicing.workflows.approve import release_invoice, why_two_release

RELEASE = "invoicing.release_invoicehold"


TWO_DECIDE = "two people decide: it is asked for, and released once another approves."


def _may_be_released(held: InvoiceHold) -> bool:
    """Say whether it is held, and its release not asked for yet."""
    asked = last_approval(deed=ApprovedDeed.RELEASE, subject=subject_of(held=held))
    return held.state == GateState.HELD and (asked is None or bool(asked.decision))


class HoldFilter(admin.SimpleListFilter):
    """By what became of it."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("held", "Held: waits for somebody"), ("ready", "Released, not issued yet"), ("over", "Over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those in the chosen state."""
        match self.value():
            case "held":
                return queryset.filter(state=GateState.HELD.value)
            case "ready":
                return queryset.filter(state=GateState.READY.value, invoice__status="draft")
            case "over":
                return queryset.exclude(state=GateState.HELD.value).exclude(
                    state=GateState.READY.value, invoice__status="draft"
                )
        return queryset


class CheckFilter(admin.SimpleListFilter):
    """By the check that found something."""

    title = "check"
    parameter_name = "check"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the checks."""
        return [(check.value, terms.title) for check, terms in CHECKS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep what the chosen one found."""
        if self.value() not in set(Check):
            return queryset
        return queryset.filter(findings__contains=[{"check": self.value()}])


@admin.register(InvoiceHold)
class InvoiceHoldAdmin(ReadOnlyAdmin):
    """Drafts that the gate held."""

    list_display = ("billed_period", "customer_link", "amount", "state_pill", "found", moment_column("held_at", "Held"))
    list_filter = (HoldFilter, CheckFilter, "currency")
    search_fields = ("customer__key", "customer__name")
    list_select_related = ("customer", "invoice")
    ordering = ("-id",)
    actions_detail = ("release",)
    fields = (
        "customer_link",
        "invoice_link",
        "billed_period",
        "amount",
        "state_pill",
        "found",
        "held_on",
        "released",
        "content_digest",
    )
    empty_message = (
        "Before an invoice of a period is issued, checks look at it; a draft that one of them finds odd stands here."
    )

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, held: InvoiceHold) -> SafeString:
        """Link to the customer."""
        page = reverse("admin:invoicing_customer_change", args=[held.customer_id])
        return link(page, held.customer.name, title=held.customer.name)

    @admin.display(description="Invoice")
    def invoice_link(self, held: InvoiceHold) -> SafeString:
        """Link to the invoice."""
        if held.invoice is None:
            return NOTHING
        page = reverse("admin:invoicing_invoice_change", args=[held.invoice.pk])
        return link(page, held.invoice.number or f"draft {held.invoice.pk}: its lines down to the events")

    @admin.display(description="Period", ordering="period_start")
    def billed_period(self, held: InvoiceHold) -> SafeString:
        """Show the billed period where the customer is."""
        return period(start=held.period_start, end=held.period_end, timezone=held.customer.timezone)

    @admin.display(description="Total", ordering="total")
    def amount(self, held: InvoiceHold) -> SafeString:
        """Show the total of the draft that was held."""
        return money(held.total)

    @admin.display(description="State", ordering="state")
    def state_pill(self, held: InvoiceHold) -> SafeString:
        """Show where it stands."""
        if held.outcome:
            return pill("over", why=held.get_outcome_display().lower(), tone=GREY)
        if held.state == GateState.READY and held.invoice is not None and held.invoice.status != "draft":
            return pill("issued", why="as it was released", tone=GREEN)
        return pill(held.state)

    @admin.display(description="What was found")
    def found(self, held: InvoiceHold) -> SafeString:
        """Show each finding as its sentence."""
        rows = ((CHECKS[Check(one["check"])].title, one["message"]) for one in held.findings)
        return format_html_join("", '<span class="bo-line bo-break"><b>{}</b>: {}</span>', rows)

    @admin.display(description="Held")
    def held_on(self, held: InvoiceHold) -> SafeString:
        """Show when it was held."""
        return moment(held.held_at)

    @admin.display(description="Released")
    def released(self, held: InvoiceHold) -> str | SafeString:
        """Show who released it, when and why."""
        asked = last_approval(deed=ApprovedDeed.RELEASE, subject=subject_of(held=held))
        if held.released_at is None and asked is not None and not asked.decision:
            page = reverse("admin:invoicing_approval_change", args=[asked.pk])
            return link(page, f"{asked.requested_by} has asked for it; it is large, so somebody else approves")
        if held.released_at is None:
            return "not yet: look at its lines; release it as it is, or mend what it is made of"
        return format_html("{} ({}, {})", held.reason, held.released_by, moment(held.released_at))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields

    def get_urls(self) -> list[Any]:
        """Add the page of the checks, and a form for each."""
        view = self.admin_site.admin_view
        return [
            path("checks/", view(self.checks), name="invoicing_gate_checks"),
            path("checks/<str:check>/", view(self.set_one), name="invoicing_gate_check"),
            *super().get_urls(),
        ]

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Offer the release while it is held and nobody has asked for it yet."""
        held = InvoiceHold.objects.filter(pk=object_id).first()
        return super().get_actions_detail(request, object_id) if held and _may_be_released(held) else []

    @action(description="Release", url_path="release")
    def release(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Release a held draft as it is, with a reason."""
        held: InvoiceHold = self.row_or_404(request, object_id)
        if not request.user.has_perm(RELEASE):
            raise PermissionDenied
        page = reverse("admin:invoicing_invoicehold_change", args=[held.pk])
        if request.method != "POST" and not _may_be_released(held):
            return go(page)
        why_two = why_two_release(held=held)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            attempt(
                request,
                lambda: release_invoice(
                    hold_id=held.pk,
                    digest=request.POST.get("digest", ""),
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda asked: (
                    waits_words(asked) or "Released as it is: the next billing run issues it, or you do on its page."
                ),
            )
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Release the invoice for {held.customer.name}",
            effect=f"Release the draft over {money_text(held.total)} as it is. It may be issued then; should it say something else before, it is checked again.",
            warnings=[
                *([f"{why_two} {TWO_DECIDE}"] if why_two else []),
                *(one["message"] for one in held.findings),
            ],
            form=form,
            submit="Ask for its release" if why_two else "Release it as it is",
            hidden=[("digest", held.content_digest)],
            back=page,
            row=held,
        )

    def checks(self, request: HttpRequest) -> HttpResponse:
        """Show how each check is set, and how often it was right."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self.page_context(
            request, title="Checks before issue", checks=checks_page(), may_set=request.user.has_perm(SET_CHECKS)
        )
        return TemplateResponse(request, "backoffice/gate_checks.html", context)

    def set_one(self, request: HttpRequest, check: str) -> HttpResponse:
        """Set one check."""
        if check not in set(Check):
            raise Http404(f"there is no check {check}")
        if not request.user.has_perm(SET_CHECKS):
            raise PermissionDenied
        return check_page(request, admin=self, check=Check(check))
