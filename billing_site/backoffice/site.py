"""The admin site: its index shows work, not tables; beside it stand search and the changes of everything."""

from functools import partial
from typing import Any, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.functional import SimpleLazyObject
from unfold.sites import UnfoldAdminSite

from billing_site.backoffice.audit import changes_page
from billing_site.backoffice.journal_export import journal_export
from billing_site.backoffice.queries import index_page
from billing_site.backoffice.reports import report_urls
from billing_site.backoffice.search import search_everything
from billing_site.backoffice.usage_problems import usage_problems
from billing_site.display.charts import Series, bar_chart
from billing_site.display.figures import figure_text
from billing_site.kernel.clock import now
from billing_site.kernel.requests import NAME_MAX
from invoicing.payments.breaker import outage_now


class BackofficeSite(UnfoldAdminSite):
    """Django's admin, themed, with the work queues as its index."""

    index_title = "Needs you"
    index_template = "backoffice/index.html"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """List apps and their models where somebody asks for them: every page would, and shows our sidebar instead."""
        return cast("list[Any]", SimpleLazyObject(partial(super().get_app_list, request, app_label)))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add to what every page needs whether Stripe is called: templates/admin/base_site.html says so where it is not (S2-032)."""
        outage = outage_now() if request.user.is_active and request.user.is_staff else None
        return {**super().each_context(request), "stripe_outage": outage}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show what waits for people, how the month stands and whether everything flows."""
        at = now()
        may = request.user.has_perm
        name = request.user.get_username()
        page = index_page(at=at, name=name, allowed=may) if may("invoicing.view_invoice") else None
        charts = [
            {"currency": currency, "days": days, "svg": _chart(currency, days)}
            for currency, days in (page.days if page else {}).items()
        ]
        return super().index(request, {"page": page, "charts": charts, "at": at, **(extra_context or {})})

    def extra_urls(self) -> list[URLPattern]:
        """Return the pages that belong to no single model."""
        return [
            path("find/", self.admin_view(self.find), name="backoffice_search"),
            path("changes/", self.admin_view(self.changes), name="backoffice_changes"),
            path("usage-problems/", self.admin_view(self.usage_problems), name="backoffice_usage_problems"),
            *report_urls(site=self),
            path("reports/journal-export/", self.admin_view(self.journal_export), name="backoffice_journal_export"),
        ]

    def find(self, request: HttpRequest) -> HttpResponse:
        """Search customers, invoices, events, Stripe ids and amounts at once."""
        term = request.GET.get("q", "").replace("\x00", "").strip()[:200]
        groups = search_everything(term=term, allowed=request.user.has_perm) if term else []
        exact = [group.hits[0] for group in groups if group.exact]
        if len(exact) == 1:
            return HttpResponseRedirect(exact[0].url)
        context = {**self.each_context(request), "title": "Search", "term": term, "groups": groups}
        return TemplateResponse(request, "backoffice/search.html", context)

    def changes(self, request: HttpRequest) -> HttpResponse:
        """List who changed what, when and why, over everything that is tracked."""
        if not request.user.has_perm("invoicing.view_customer"):
            raise PermissionDenied
        page = changes_page(
            model=request.GET.get("model", ""),
            actor=request.GET.get("actor", "").replace("\x00", "").strip(),
            words=request.GET.get("words", "").replace("\x00", "").strip()[:200],
            page_number=request.GET.get("page", "1"),
            request=request.GET.get("request", "").replace("\x00", "").strip()[:NAME_MAX],
        )
        context = {**self.each_context(request), "title": "Changes", "page": page, "changes": page.changes}
        return TemplateResponse(request, "backoffice/changes.html", context)

    def usage_problems(self, request: HttpRequest) -> HttpResponse:
        """List usage that no invoice holds: late, charged by no plan, of unknown customers, or counted by no meter."""
        if not request.user.has_perm("metering.view_usageevent"):
            raise PermissionDenied
        context = {**self.each_context(request), "title": "Usage that is not billed", "page": usage_problems(at=now())}
        return TemplateResponse(request, "backoffice/usage_problems.html", context)

    def journal_export(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Hand out the journal of a span for another system."""
        return journal_export(request, site=self)


def _chart(currency: str, days: list[Any]) -> str:
    return bar_chart(
        title=f"Issued and collected by day in {currency}, last six weeks",
        labels=[day.day.isoformat() for day in days],
        series=[
            Series(
                "issued",
                1,
                [day.issued for day in days],
                [f"{currency} {figure_text(day.issued, currency)}" for day in days],
            ),
            Series(
                "collected",
                2,
                [day.collected for day in days],
                [f"{currency} {figure_text(day.collected, currency)}" for day in days],
            ),
        ],
    )
