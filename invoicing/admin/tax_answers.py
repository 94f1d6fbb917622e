"""What Stripe Tax told, in the admin: each answer as Stripe sent it, and asking it once more about a customer."""

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, attempt, confirmation, go, moment_column
from billing_site.display.figures import day, link
from billing_site.kernel.clock import now
from invoicing.admin.tax_words import answer_words
from invoicing.customers.models import Customer
from invoicing.tax.inquiries import TaxAnswer
from invoicing.workflows.ask_stripe_tax import order_answer

ASK = "invoicing.change_customertax"


class OutcomeFilter(admin.SimpleListFilter):
    """Answers that tell something, or why not."""

    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return both."""
        return [("told", "Told"), ("refused", "Refused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        if self.value() == "refused":
            return queryset.filter(kind="")
        return queryset.exclude(kind="") if self.value() == "told" else queryset


@admin.register(TaxAnswer)
class TaxAnswerAdmin(ReadOnlyAdmin):
    """What was told about a customer and a day; lines of invoices are proven from these rows."""

    list_display = ("number", "customer_link", "about", "words", moment_column("told_at", "Told"))
    list_filter = (OutcomeFilter, "kind", ("told_at", admin.DateFieldListFilter))
    search_fields = ("inquiry__customer__key", "inquiry__customer__name", "stripe_id", "inquiry__key")
    list_select_related = ("inquiry__customer",)
    ordering = ("-id",)
    fields = ("customer_link", "about", "words", "stripe_id", "told", "key", "asked", "sent")
    readonly_fields = ("customer_link", "about", "words", "told", "key", "asked", "sent")
    empty_message = "Where TAX_PROVIDER names Stripe Tax a job asks it how customers are taxed, before they are billed; its answers stand here."

    def get_urls(self) -> list[URLPattern]:
        """Add the page that asks once more."""
        view = self.admin_site.admin_view(self.ask)
        return [path("ask/<int:customer_id>/", view, name="invoicing_taxanswer_ask"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read what was asked with it."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.select_related("inquiry__customer")

    @admin.display(description="Answer", ordering="id")
    def number(self, answer: TaxAnswer) -> str:
        """Show its number, which invoices name."""
        return str(answer.pk)

    @admin.display(description="Customer", ordering="inquiry__customer__name")
    def customer_link(self, answer: TaxAnswer) -> SafeString:
        """Link to the customer."""
        customer = answer.inquiry.customer
        return link(reverse("admin:invoicing_customer_change", args=[customer.pk]), customer)

    @admin.display(description="About", ordering="inquiry__day")
    def about(self, answer: TaxAnswer) -> SafeString:
        """Show whose rates were asked for."""
        return day(answer.inquiry.day)

    @admin.display(description="Tells")
    def words(self, answer: TaxAnswer) -> str:
        """Show what it tells, or why it cannot."""
        return answer_words(answer)

    @admin.display(description="Asked and told (UTC)")
    def told(self, answer: TaxAnswer) -> str:
        """Show when."""
        return f"{answer.inquiry.asked_at:%Y-%m-%d %H:%M:%S}, {answer.told_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="Idempotency key")
    def key(self, answer: TaxAnswer) -> str:
        """Show by which key Stripe knows the question."""
        return str(answer.inquiry.key)

    @admin.display(description="What was asked")
    def asked(self, answer: TaxAnswer) -> SafeString:
        """Show the question."""
        return _pretty(answer.inquiry.question)

    @admin.display(description="As Stripe sent it")
    def sent(self, answer: TaxAnswer) -> SafeString | str:
        """Show the raw answer."""
        return "–" if answer.body is None else _pretty(answer.body)

    def ask(self, request: HttpRequest, customer_id: int) -> HttpResponse:
        """Ask Stripe once more about a customer."""
        if not request.user.has_perm(ASK):
            raise PermissionDenied
        customer = get_object_or_404(Customer, pk=customer_id)
        page = reverse("admin:invoicing_customer_change", args=[customer.pk])
        if request.method == "POST":
            attempt(
                request,
                lambda: order_answer(customer=customer, at=now()),
                done=lambda _: f"Stripe is asked about {customer}: its answer stands on this page in a moment.",
            )
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Ask Stripe again about {customer}",
            effect="Stripe Tax is asked how this customer is taxed today, and on the days that periods to be billed need. Its newest answer about a day holds;"
            " invoices that are issued keep what they were taxed by, the next billing run computes drafts again.",
            form=forms.Form(),
            submit="Ask Stripe again",
            back=page,
        )


def _pretty(document: Any) -> SafeString:
    return format_html(
        '<pre class="bo-small bo-break" style="white-space: pre-wrap">{}</pre>',
        json.dumps(document, indent=2, ensure_ascii=False),
    )
