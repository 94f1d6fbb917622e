"""What-ifs in the admin: choose price lists and months, see who would have paid less or more, open each customer, take it as CSV."""

import csv
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, actor_of, add_field_errors, go, moment_column
from billing_site.display.figures import NOTHING, money_list
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import round_money
from invoicing.admin.catalog import ASK
from invoicing.admin.what_if_form import WhatIfForm
from invoicing.admin.what_if_page import cards_of, csv_rows, invoice_changes, what_if_page
from invoicing.catalog.models import PlanVersion
from invoicing.customers.models import Customer
from invoicing.what_ifs.models import WhatIf
from invoicing.workflows.what_if import ask_what_if, invoices_in_months


class _Echo:
    """What csv writes to: it gives each row back."""

    def write(self, row: str) -> str:
        return row


@admin.register(WhatIf)
class WhatIfAdmin(ReadOnlyAdmin):
    """Price lists that were tried on closed periods, with what came out."""

    list_display = ("title", "months", "state", "change", "asked_by", moment_column("asked_at", "Asked"))
    list_filter = ("asked_by",)
    search_fields = ("title", "asked_by")
    ordering = ("-id",)
    empty_message = "A price list that somebody tries on closed periods stands here with who would have paid less or more. Nothing of it is charged."

    @admin.display(description="Over", ordering="month_count")
    def months(self, asked: WhatIf) -> str:
        """Show how far back it looks."""
        return "1 month" if asked.month_count == 1 else f"{asked.month_count} months"

    @admin.display(description="State")
    def state(self, asked: WhatIf) -> SafeString:
        """Show whether it is computed."""
        return (
            pill("done")
            if asked.finished_at
            else pill("waiting", why=f"{asked.done_count:,} of {asked.invoice_count:,} invoices")
        )

    @admin.display(description="Change")
    def change(self, asked: WhatIf) -> SafeString:
        """Show what all customers together would have paid more."""
        effects = [one["effect"] for one in asked.figures.get("currencies", ())]
        if not effects:
            return NOTHING
        return money_list(round_money(Decimal(one["amount"]), one["currency"]) for one in effects)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may ask asks."""
        return bool(request.user.has_perm(ASK))

    def get_urls(self) -> list[Any]:
        """Add the list as CSV and the page of one customer."""
        view = self.admin_site.admin_view
        return [
            path("<int:object_id>/csv/", view(self.as_csv), name="invoicing_whatif_csv"),
            path(
                "<int:object_id>/customer/<int:customer_id>/", view(self.of_customer), name="invoicing_whatif_customer"
            ),
            *super().get_urls(),
        ]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Take the question, compute what can be computed while one waits, and go to its page."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = WhatIfForm(request.POST or None, request.FILES or None, initial=_chosen(request))
        if request.method == "POST" and form.is_valid():
            try:
                asked = ask_what_if(
                    cards=form.cards, months=form.cleaned_data["months"], at=now(), actor=actor_of(request)
                )
                return go(reverse("admin:invoicing_whatif_change", args=[asked.pk]))
            except BillingError as problem:
                add_field_errors(form, problem)
        context = self.page_context(request, title="What if the prices had been others?", form=form)
        return TemplateResponse(request, "backoffice/what_if_ask.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the answer, or how far it is."""
        asked: WhatIf = self.row_or_404(request, object_id)
        context = self.page_context(
            request,
            title=asked.title,
            row=asked,
            cards=cards_of(asked=asked),
            may_ask=self.has_add_permission(request),
            page=what_if_page(asked=asked, parameters=request.GET.dict()) if asked.finished_at else None,
            others=invoices_in_months(asked=asked).count() - asked.invoice_count,
        )
        return TemplateResponse(request, "backoffice/what_if.html", context)

    def of_customer(self, request: HttpRequest, object_id: int, customer_id: int) -> HttpResponse:
        """Show a customer's invoices line by line, as they were and as they would have been, computed now."""
        asked: WhatIf = self.row_or_404(request, str(object_id))
        changes = invoice_changes(asked=asked, customer_id=customer_id)
        if not changes:
            raise Http404("this what-if has no invoice of this customer")
        customer = Customer.objects.get(pk=customer_id)
        context = self.page_context(
            request, title=f"{customer.name}: {asked.title}", row=asked, customer=customer, changes=changes
        )
        return TemplateResponse(request, "backoffice/what_if_customer.html", context)

    def as_csv(self, request: HttpRequest, object_id: int) -> HttpResponse | StreamingHttpResponse:
        """Answer with all customers as CSV."""
        asked: WhatIf = self.row_or_404(request, str(object_id))
        if asked.finished_at is None:
            raise Http404("it is not computed yet")
        writer = csv.writer(_Echo())
        return StreamingHttpResponse(
            (writer.writerow(row) for row in csv_rows(asked=asked)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="what-if-{asked.pk}.csv"'},
        )


def _chosen(request: HttpRequest) -> dict[str, str]:
    """Return what the address chooses already: the version from whose page somebody comes."""
    number = request.GET.get("version", "")
    if not number.isdecimal() or len(number) > 18:
        return {}
    plan = PlanVersion.objects.filter(pk=number).values_list("plan_id", flat=True).first()
    return {f"plan-{plan}": number} if plan else {}
