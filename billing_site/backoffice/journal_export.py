"""The page of the journal's exports: which span, for which system, what moved in it, and the file."""

from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.entities.queries import choices_of_entities
from invoicing.ledger.models import Account
from invoicing.ledger.queries import currencies_booked
from invoicing.reports.asking import Question, read_question
from invoicing.reports.catalogue import BY_NAME
from invoicing.reports.exports.export import FORMATS, export_journal, export_settings
from invoicing.reports.mapping import codes_in
from invoicing.reports.models import BookkeepingSystem

VIEW = "invoicing.view_posting"
ASKED = ("start", "end", "currency", "legal_entity")


def journal_export(request: HttpRequest, *, site: AdminSite) -> HttpResponse | StreamingHttpResponse:
    """Show what an export of a span would hold, or hand it out."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    asked = {name: request.GET.get(name, "") for name in ASKED}
    form = request.GET.get("form", "csv")
    question: Question | None = None
    problems: dict[str, str] = {}
    try:
        question = read_question(asked=asked, today=now().date())
        if "download" in request.GET:
            file = export_journal(form=form, question=question, settings=export_settings(), at=now())
            response = StreamingHttpResponse(file.chunks, content_type=file.content_type)
            response["Content-Disposition"] = f'attachment; filename="{file.name}"'
            return response
    except BillingError as problem:
        problems = {error.field: error.message for error in problem.field_errors}
    moved = BY_NAME["account-movements"].answer(question=question) if question else None
    context = {
        **site.each_context(request),
        "title": "Journal export",
        "question": question,
        "asked": asked,
        "form": form,
        "formats": FORMATS,
        "currencies": currencies_booked(),
        "entities": choices_of_entities(all_of_them="all legal entities"),
        "problems": problems,
        "moved": moved,
        "accounts": _accounts(),
        "systems": BookkeepingSystem.choices,
    }
    return TemplateResponse(request, "backoffice/journal_export.html", context, status=422 if problems else 200)


def _accounts() -> list[dict[str, Any]]:
    """Return every account with what it is called in each system."""
    called = {system: codes_in(system=system) for system in BookkeepingSystem.values}
    return [
        {"account": account, "codes": [called[system][account.code] for system in BookkeepingSystem.values]}
        for account in Account.objects.order_by("code")
    ]
