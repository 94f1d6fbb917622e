"""Money in: refusals, pushes to Stripe and Stripe's notices; all read-only."""

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.enums import ActionVariant

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    attempt,
    confirm_with_reason,
    confirmation,
    go,
    moment_column,
    show_selected,
)
from billing_site.display.figures import NOTHING, link, moment, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from invoicing.admin.deeds_in_numbers import InvoiceToPush, in_numbers
from invoicing.invoices.models import InvoiceStatus
from invoicing.payments.attempts import attempts_of
from invoicing.payments.intake import dismiss_notice, replay_notices
from invoicing.payments.models import (
    FAILED_STATUSES,
    PaymentFailure,
    PushIntent,
    PushStatus,
    StripeNotice,
)
from invoicing.payments.push import retry_push, retry_pushes

RETRY = "invoicing.retry_push"
# A confirmation lists so many; the sum is over all.
LISTED_MAX = 100
RECEIVED = moment_column("received_at", "Received")


def invoice_link(row: Any) -> SafeString:
    """Link to the invoice that a row is about."""
    return link(reverse("admin:invoicing_invoice_change", args=[row.invoice_id]), row.invoice)


@admin.register(PaymentFailure)
class PaymentFailureAdmin(ReadOnlyAdmin):
    """Attempts to collect that were refused."""

    list_display = ("code", moment_column("occurred_at", "Happened"), "invoice_link", "message", "reference")
    list_display_links = ("code",)
    list_filter = ("code", ("occurred_at", admin.DateFieldListFilter))
    search_fields = ("reference", "message", "invoice__number", "invoice__customer__key")
    list_select_related = ("invoice",)
    ordering = ("-occurred_at", "-id")
    fields = ("invoice_link", "code", "message", "reference", "occurred_at", "by_customer")
    readonly_fields = fields
    empty_message = "A declined card leaves a row here, with the bank's reason."

    @admin.display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, failure: PaymentFailure) -> SafeString:
        """Link to the invoice."""
        return invoice_link(failure)


class TroubleFilter(admin.SimpleListFilter):
    """Pushes that failed: for good, or until they are tried again."""

    title = "trouble"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("failed", "Waits for people"), ("failing", "Pending with an error")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those."""
        if self.value() == "failing":
            return queryset.filter(status=PushStatus.PENDING).exclude(last_error="")
        if self.value() == "failed":
            return queryset.filter(status__in=FAILED_STATUSES, invoice__status=InvoiceStatus.ISSUED)
        return queryset


@admin.register(PushIntent)
class PushIntentAdmin(ReadOnlyAdmin):
    """Our decisions to send an invoice to Stripe, and how far each is."""

    list_display = (
        "state",
        "invoice_link",
        "customer_link",
        "invoice_total",
        "attempts",
        "last_error",
        "when",
    )
    list_display_links = ("state",)
    list_filter = ("status", TroubleFilter, "is_urgent")
    actions = ("retry_selected",)
    actions_detail = ("retry",)
    search_fields = ("stripe_invoice_id", "invoice__number", "invoice__customer__key", "last_error")
    list_select_related = ("invoice__customer",)
    ordering = ("-id",)
    fields = (
        "invoice_link",
        "customer_link",
        "state",
        "invoice_total",
        "last_error",
        "next_attempt",
        "turn",
        "attempt_count",
        "failure_count",
        "created_at",
        "pushed_at",
        "stripe_invoice_id",
        "key",
    )
    readonly_fields = fields
    change_form_outer_after_template = "backoffice/push_attempts_card.html"
    empty_message = "Issuing an invoice of a customer who pays through Stripe writes a row here."

    @admin.display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, push: PushIntent) -> SafeString:
        """Link to the invoice."""
        return invoice_link(push)

    @admin.display(description="State", ordering="status")
    def state(self, push: PushIntent) -> SafeString:
        """Show how far it is."""
        return pill(push.status)

    @admin.display(description="Total", ordering="invoice__total")
    def invoice_total(self, push: PushIntent) -> SafeString:
        """Show what is pushed."""
        return money(push.invoice.total)

    @admin.display(description="Customer", ordering="invoice__customer_name")
    def customer_link(self, push: PushIntent) -> SafeString:
        """Link to the customer who owes it."""
        invoice = push.invoice
        return link(reverse("admin:invoicing_customer_change", args=[invoice.customer_id]), invoice.customer_name)

    @admin.display(description="Next attempt", ordering="next_attempt_at")
    def next_attempt(self, push: PushIntent) -> SafeString:
        """Show when it is tried again by itself; what has arrived or waits for people is not."""
        return moment(push.next_attempt_at) if push.status == PushStatus.PENDING else NOTHING

    @admin.display(description="Attempts", ordering="attempt_count")
    def attempts(self, push: PushIntent) -> int:
        """Show how often it was tried."""
        return push.attempt_count

    @admin.display(description="Arrived, or next attempt")
    def when(self, push: PushIntent) -> SafeString:
        """Show when it arrived, or when it is tried again by itself."""
        return moment(push.pushed_at) if push.pushed_at else self.next_attempt(push)

    @admin.display(description="Its turn", ordering="is_urgent")
    def turn(self, push: PushIntent) -> str:
        """Say whether it goes before others."""
        return "before all others: it is large" if push.is_urgent else "in its order"

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show below it what became of each attempt, and who sent it again."""
        attempts = attempts_of(intent_id=int(object_id)) if object_id and object_id.isdecimal() else ()
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), "attempts": attempts})

    def has_retry_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Say whether this person may send pushes again."""
        return bool(request.user.has_perm(RETRY))

    @admin.action(description="Try the selected again", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[PushIntent]) -> HttpResponse:
        """Send all again that wait for people among the selected."""
        waiting = queryset.filter(status__in=FAILED_STATUSES, invoice__status=InvoiceStatus.ISSUED)
        waiting = waiting.select_related("invoice__customer")
        pushes = list(waiting.order_by("-is_urgent", "id"))
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        back = reverse("admin:invoicing_pushintent_changelist") + "?state=failed"
        if form.is_valid():
            attempt(
                request,
                lambda: retry_pushes(
                    intent_ids=[push.pk for push in pushes],
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda sent: f"Queued for Stripe again: {in_numbers([push.invoice for push in sent])}.",
            )
            return go(back)
        told = in_numbers([push.invoice for push in pushes])
        return confirmation(
            request,
            admin=self,
            title="Send invoices to Stripe again",
            effect=f"{told}: each is sent to Stripe and collected there, once."
            " Those that others have sent again meanwhile are left as they are.",
            items=[InvoiceToPush.of(push) for push in pushes[:LISTED_MAX]],
            warnings=[] if pushes else ["None of the selected waits for people."],
            form=form,
            submit="Send them again",
            hidden=show_selected(request, queryset, action="retry_selected"),
            back=back,
        )

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Offer to send again what `retry_push` takes."""
        again = Q(status__in=FAILED_STATUSES) | Q(status=PushStatus.PENDING) & ~Q(last_error="")
        may = PushIntent.objects.filter(again, pk=object_id).exists()
        return super().get_actions_detail(request, object_id) if may else []

    @action(description="Try again", url_path="retry", permissions=["retry"], variant=ActionVariant.PRIMARY)
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send one again, also before its time has come."""
        push: PushIntent = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=push,
            permission=RETRY,
            deed=lambda **who: retry_push(intent_id=push.pk, at=now(), **who),
            done=lambda _: f"{push.invoice} is queued for Stripe again.",
            title=f"Send {push.invoice} to Stripe again",
            effect=f"{money_text(push.invoice.total)} is sent to Stripe and collected there, once.",
            submit="Send it again",
            warnings=[push.last_error] if push.last_error else [],
        )


class WaitingFilter(admin.SimpleListFilter):
    """Notices by whether something was done about them."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [
            ("waiting", "Waiting"),
            ("failing", "Waiting with an error"),
            ("parked", "Parked: waits for people"),
            ("processed", "Processed"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the notices in the chosen state."""
        match self.value():
            case "waiting":
                return queryset.filter(processed_at__isnull=True)
            case "failing":
                return queryset.filter(processed_at__isnull=True).exclude(last_error="")
            case "parked":
                return queryset.filter(processed_at__isnull=True, parked_at__isnull=False)
            case "processed":
                return queryset.filter(processed_at__isnull=False)
        return queryset


@admin.register(StripeNotice)
class StripeNoticeAdmin(ReadOnlyAdmin):
    """What Stripe told us, and what came of it."""

    list_display = (RECEIVED, "what", "state", "outcome", "delivery_count", "event_id")
    list_display_links = (RECEIVED,)
    list_filter = (WaitingFilter, "event_type")
    actions = ("replay_selected",)
    actions_detail = ("replay", "dismiss")
    search_fields = ("event_id", "object_id", "event_type")
    ordering = ("-received_at", "-id")
    fields = (
        "event_id",
        "event_type",
        "object_id",
        "state",
        "outcome",
        "received_at",
        "processed_at",
        "parked_at",
        "delivery_count",
        "attempt_count",
        "last_error",
        "body_text",
    )
    readonly_fields = fields
    empty_message = "Verified webhooks of Stripe stand here, each once."

    @admin.display(description="What", ordering="event_type")
    def what(self, notice: StripeNotice) -> SafeString:
        """Show what happened at Stripe, and to which object."""
        return format_html(
            '{}<span class="bo-line bo-small bo-faint bo-break">{}</span>', notice.event_type, notice.object_id
        )

    @admin.display(description="State")
    def state(self, notice: StripeNotice) -> SafeString:
        """Show whether it was acted on."""
        if notice.processed_at is not None:
            return pill("processed")
        if notice.parked_at is not None:
            return pill("failed", why="parked")
        return pill("failed", why="tried again") if notice.last_error else pill("waiting")

    def has_replay_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Say whether this person may replay notices."""
        return bool(request.user.has_perm(RETRY))

    @admin.action(description="Replay the selected", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[StripeNotice]) -> None:
        """Queue the selected again, as if they came now: each reads what is true at Stripe at that moment."""
        waiting = list(queryset.filter(processed_at__isnull=True).values_list("pk", flat=True))
        attempt(
            request,
            lambda: replay_notices(notice_ids=waiting, at=now()),
            done=lambda number: f"Queued again: {number}.",
        )

    @action(description="Replay", url_path="replay", permissions=["replay"])
    def replay(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Queue one again, once somebody says so."""
        notice: StripeNotice = self.row_or_404(request, object_id)
        page = reverse("admin:invoicing_stripenotice_change", args=[notice.pk])
        if request.method == "POST":
            self.replay_selected(request, StripeNotice.objects.filter(pk=notice.pk))
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Replay the notice {notice.event_type}",
            effect="It is followed again, as if it came now: what is true at Stripe at that moment counts.",
            form=forms.Form(),
            submit="Replay it",
            warnings=[notice.last_error] if notice.last_error else [],
            back=page,
            row=notice,
        )

    @action(description="Dismiss", url_path="dismiss", permissions=["replay"])
    def dismiss(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Close one that was dealt with by hand."""
        notice: StripeNotice = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=notice,
            permission=RETRY,
            deed=lambda **who: dismiss_notice(notice_id=notice.pk, at=now(), **who),
            done=lambda _: "It is closed; nothing follows from it.",
            title=f"Dismiss the notice {notice.event_type}",
            effect="It is closed as it is, and nothing follows from it: what it was about was dealt with by hand.",
            submit="Dismiss it",
            warnings=[notice.last_error] if notice.last_error else [],
            dangerous=True,
        )

    @admin.display(description="Body")
    def body_text(self, notice: StripeNotice) -> SafeString:
        """Show the notice as Stripe sent it."""
        if not notice.body:
            return NOTHING
        return format_html('<pre class="bo-code">{}</pre>', json.dumps(notice.body, indent=2, ensure_ascii=False))
