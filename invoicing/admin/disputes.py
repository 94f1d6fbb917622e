"""Disputes in the admin: those that wait for an answer first, the story of one with its entries, and what somebody decides about it."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, confirm_with_reason, moment_column
from billing_site.display.figures import NOTHING, link, moment, money, money_text
from billing_site.kernel.clock import now
from invoicing.admin.dispute_words import (
    dashboard_page,
    dispute_entries,
    dispute_pill,
    dispute_question,
    story_of,
)
from invoicing.core.dispute_life import NEEDS_ANSWER, OPEN, DisputeStatus
from invoicing.payments.dispute import DecisionKind, Dispute
from invoicing.payments.disputes import decide_about_dispute, freezing_disputes, held_of
from invoicing.payments.models import StripeNotice

DECIDE = "invoicing.settle_dispute"


class StateFilter(admin.SimpleListFilter):
    """By what is to be done."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [
            ("open", "Open"),
            ("answer", "Needs an answer"),
            ("freezing", "Freezes its customer"),
            ("closed", "Closed"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        match self.value():
            case "open":
                return queryset.filter(status__in=OPEN)
            case "answer":
                return queryset.filter(status__in=NEEDS_ANSWER)
            case "freezing":
                return queryset.filter(pk__in=freezing_disputes().values("pk"))
            case "closed":
                return queryset.exclude(status__in=OPEN)
        return queryset


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    """Card payments that their bank questions."""

    list_display = (
        "stripe_id",
        "state",
        "invoice_link",
        "amount_disputed",
        moment_column("evidence_due_at", "Evidence due"),
    )
    list_filter = (StateFilter, "status", "reason", "currency", ("opened_at", admin.DateFieldListFilter))
    search_fields = (
        "stripe_id",
        "charge",
        "payment__invoice__number",
        "payment__customer__key",
        "payment__customer__name",
    )
    list_select_related = ("payment__invoice", "payment__customer")
    ordering = ("-id",)
    empty_message = "A payment by card that its bank questions (a chargeback, or an inquiry before one) stands here as Stripe has it."

    @admin.display(description="State", ordering="status")
    def state(self, dispute: Dispute) -> SafeString:
        """Show where it stands, and what the cardholder says."""
        return format_html(
            '{}<span class="bo-line bo-small bo-faint">{}</span>', dispute_pill(dispute), dispute.reason_words
        )

    @admin.display(description="Invoice", ordering="payment__invoice__number")
    def invoice_link(self, dispute: Dispute) -> SafeString:
        """Link to the invoice, and under it to its customer."""
        customer = dispute.payment.customer
        return format_html(
            '{}<span class="bo-line bo-small">{}</span>',
            link(reverse("admin:invoicing_invoice_change", args=[dispute.payment.invoice_id]), dispute.invoice),
            link(reverse("admin:invoicing_customer_change", args=[customer.pk]), customer),
        )

    @admin.display(description="Disputed", ordering="amount")
    def amount_disputed(self, dispute: Dispute) -> SafeString:
        """Show what it is over."""
        return money(dispute.amount)

    def get_urls(self) -> list[Any]:
        """Add the pages of what may be decided."""
        return [
            path(
                f"<int:object_id>/{kind}/",
                self.admin_site.admin_view(view),
                name=f"invoicing_dispute_{kind}",
            )
            for kind, view in ((DecisionKind.ACCEPT.value, self.accept), (DecisionKind.UNFREEZE.value, self.unfreeze))
        ] + super().get_urls()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the story of a dispute."""
        dispute = self.row_or_404(request, object_id)
        is_frozen = freezing_disputes().filter(pk=dispute.pk).exists()
        may_decide = request.user.has_perm(DECIDE)
        held = held_of(dispute=dispute)
        accepted = dispute.decisions.filter(kind=DecisionKind.ACCEPT).exists()
        context = self.page_context(
            request,
            title=f"Dispute {dispute}",
            row=dispute,
            state=dispute_pill(dispute),
            is_frozen=is_frozen,
            question=dispute_question(dispute, is_frozen=is_frozen, held=held),
            held=held,
            due=moment(dispute.evidence_due_at) if dispute.evidence_due_at else NOTHING,
            story=story_of(dispute),
            entries=dispute_entries([dispute]).prefetch_related("postings__account").order_by("occurred_at", "id"),
            notices=StripeNotice.objects.filter(object_id=dispute.stripe_id).order_by("received_at", "id"),
            dashboard=dashboard_page(dispute),
            may_accept=may_decide and dispute.status == DisputeStatus.NEEDS_RESPONSE and not accepted,
            may_unfreeze=may_decide and is_frozen,
        )
        return TemplateResponse(request, "backoffice/dispute.html", context)

    def accept(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Accept the loss of a chargeback."""
        dispute = self.row_or_404(request, str(object_id))
        return confirm_with_reason(
            request,
            admin=self,
            row=dispute,
            permission=DECIDE,
            deed=lambda **who: decide_about_dispute(dispute_id=dispute.pk, kind=DecisionKind.ACCEPT, at=now(), **who),
            done=lambda decision: f"The loss of {money_text(dispute.amount)} is accepted; Stripe hears it in a moment.",
            title=f"Accept the loss of dispute {dispute}",
            effect=f"{money_text(dispute.amount)} of invoice {dispute.invoice} become a loss in the books, for good: Stripe closes the dispute as lost, and"
            " takes no evidence any more. The invoice stays paid.",
            submit="Accept the loss",
            dangerous=True,
        )

    def unfreeze(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Let a customer be served and charged again though a payment is disputed."""
        dispute = self.row_or_404(request, str(object_id))
        return confirm_with_reason(
            request,
            admin=self,
            row=dispute,
            permission=DECIDE,
            deed=lambda **who: decide_about_dispute(dispute_id=dispute.pk, kind=DecisionKind.UNFREEZE, at=now(), **who),
            done=lambda decision: f"Dispute {dispute} freezes {dispute.payment.customer} no more.",
            title=f"Serve and charge {dispute.payment.customer} again",
            effect="The dispute goes on at the bank. Access is granted as the subscriptions say, and invoices and top-ups are charged by themselves again.",
            submit="Serve and charge again",
        )
