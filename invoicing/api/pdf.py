"""The files of issued invoices and credit notes, for staff, for the customer's portal, and for machines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render, resolve_url
from django.utils.cache import add_never_cache_headers, get_conditional_response, patch_vary_headers
from django.utils.http import quote_etag, urlencode
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import NotAuthenticated, PermissionDenied
from rest_framework.request import Request
from rest_framework.views import APIView

from billing_site.kernel.clock import now
from billing_site.kernel.errors import NotFound
from invoicing.api.base import bound_customer, has_scope
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.queries import credit_note_by_number
from invoicing.entities.operations import first_entity
from invoicing.invoices.models import Invoice
from invoicing.workflows.render_documents import rendered_document

SCOPE = "invoices:read"
STAFF_PERMISSION = "invoicing.view_invoice"
NOTE_SCOPE = "credit_notes:read"
NOTE_PERMISSION = "invoicing.view_creditnote"
# The portal signs a customer in under this name (billing_site.portal.access).
PORTAL_SESSION_KEY = "portal_customer"


@dataclass(frozen=True)
class Printed:
    """A document that the caller may see: its file's name, what its bytes hang on, and how they are made."""

    file_name: str
    etag: str
    render: Callable[[], bytes]
    content_type: str = "application/pdf"


class DocumentView(APIView):
    """One document as a file, for three kinds of caller: who may see which is decided in `_visible_of`."""

    authentication_classes = [*APIView.authentication_classes, SessionAuthentication]
    permission_classes: list[Any] = []

    def printed(self, request: Request, *, visible: Callable[[], Printed]) -> HttpResponseBase:
        """Return the file, or 304 where the caller has it; a person without a session is told what is needed."""
        try:
            document = visible()
        except NotAuthenticated:
            if "text/html" not in request.headers.get("Accept", ""):
                raise
            return _no_access(request)
        etag = quote_etag(document.etag)
        response = get_conditional_response(request._request, etag=etag)
        if response is None:
            response = HttpResponse(
                document.render(),
                content_type=document.content_type,
                headers={"Content-Disposition": f'inline; filename="{document.file_name}"'},
            )
        response.headers["ETag"] = etag
        response.headers["Cache-Control"] = "private, no-cache"
        patch_vary_headers(response, ("Authorization", "Cookie"))
        return response


class InvoicePdfView(DocumentView):
    """One invoice as PDF/A."""

    @extend_schema(
        operation_id="get_invoice_pdf",
        summary="Print an invoice",
        description="With an `ETag`; `If-None-Match` is answered with 304.",
        responses={(200, "application/pdf"): OpenApiTypes.BINARY, 304: None},
    )
    def get(self, request: Request, number: str) -> HttpResponseBase:
        """Return the PDF, or 304 where the caller has it."""

        def visible() -> Printed:
            return _printed(visible_document(request, number=number))

        return self.printed(request, visible=visible)


class CreditNotePdfView(DocumentView):
    """One credit note as PDF/A."""

    @extend_schema(
        operation_id="get_credit_note_pdf",
        summary="Print a credit note",
        description="With an `ETag`; `If-None-Match` is answered with 304.",
        responses={(200, "application/pdf"): OpenApiTypes.BINARY, 304: None},
    )
    def get(self, request: Request, number: str) -> HttpResponseBase:
        """Return the PDF, or 304 where the caller has it."""

        def visible() -> Printed:
            return _printed(visible_note(request, number=number))

        return self.printed(request, visible=visible)


def _printed(document: Invoice | CreditNote) -> Printed:
    rendered = rendered_document(document=document, at=now())
    return Printed(f"{document.number}.pdf", rendered.etag, lambda: bytes(rendered.content))


def _no_access(request: Request) -> HttpResponse:
    """Tell a person without a session what is needed: most are customers, and staff find their way in from there."""
    sign_in = f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': request.get_full_path()})}"
    context = {"seller": first_entity(), "staff_sign_in": sign_in}
    page = render(request._request, "portal/no_access.html", context, status=401)
    add_never_cache_headers(page)
    return page


def visible_document(request: Request, *, number: str) -> Invoice:
    """Return the issued invoice whose documents the caller may see; raises NotAuthenticated, PermissionDenied, NotFound."""
    key = _visible_of(request, scope=SCOPE, permission=STAFF_PERMISSION)
    invoice = Invoice.objects.select_related("customer").filter(number=number).first()
    if invoice is None or key not in ("", invoice.customer.key):
        raise NotFound(f"there is no invoice {number!r}", field="number")
    return invoice


def visible_note(request: Request, *, number: str) -> CreditNote:
    """Return the credit note whose documents the caller may see, with its lines; raises NotAuthenticated, PermissionDenied, NotFound."""
    key = _visible_of(request, scope=NOTE_SCOPE, permission=NOTE_PERMISSION)
    return credit_note_by_number(number=number, of_customer=key)


def _visible_of(request: Request, *, scope: str, permission: str) -> str:
    """Return the key of the only customer whose documents the caller may see, or "" for all; raises NotAuthenticated, PermissionDenied."""
    if request.auth is not None:
        if not has_scope(request, scope):
            raise PermissionDenied(f"this key lacks the scope {scope}", code="missing_scope")
        return bound_customer(request)
    user = request.user
    if user is not None and user.is_active and user.is_staff and user.has_perm(permission):
        return ""
    customer = str(request._request.session.get(PORTAL_SESSION_KEY, ""))
    if not customer and (user is None or not user.is_authenticated):
        raise NotAuthenticated
    # Somebody who is signed in without the right to see any: no key is this one.
    return customer or "\x00"
