"""The PDF of an issued invoice, for staff, for the customer's portal, and for machines."""

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

from billing_site.kernel.errors import NotFound
from invoicing.api.base import has_scope
from invoicing.api.invoices import visible_invoice
from invoicing.invoices.document import document_etag, render_pdf
from invoicing.invoices.models import Invoice
from invoicing.invoices.queries import invoice_by_number
from invoicing.workflows.invoice_document import document_of

SCOPE = "invoices:read"
STAFF_PERMISSION = "invoicing.view_invoice"
# The portal signs a customer in under this name (billing_site.portal.access).
PORTAL_SESSION_KEY = "portal_customer"


class InvoicePdfView(APIView):
    """One invoice as PDF/A."""

    authentication_classes = [*APIView.authentication_classes, SessionAuthentication]
    # Three kinds of caller: who may see which invoice is decided in _visible.
    permission_classes: list[Any] = []

    @extend_schema(
        operation_id="get_invoice_pdf",
        summary="Print an invoice",
        description="With an `ETag`; `If-None-Match` is answered with 304.",
        responses={(200, "application/pdf"): OpenApiTypes.BINARY, 304: None},
    )
    def get(self, request: Request, number: str) -> HttpResponseBase:
        """Return the PDF, or 304 where the caller has it."""
        try:
            invoice = _visible(request, number)
        except NotAuthenticated:
            if "text/html" not in request.headers.get("Accept", ""):
                raise
            return _no_access(request)
        document = document_of(invoice=invoice)
        etag = quote_etag(document_etag(document=document))
        response = get_conditional_response(request._request, etag=etag)
        if response is None:
            response = HttpResponse(
                render_pdf(document=document),
                content_type="application/pdf",
                headers={"Content-Disposition": f'inline; filename="{invoice.number}.pdf"'},
            )
        response.headers["ETag"] = etag
        response.headers["Cache-Control"] = "private, no-cache"
        patch_vary_headers(response, ("Authorization", "Cookie"))
        return response


def _no_access(request: Request) -> HttpResponse:
    """Tell a person without a session what is needed: most are customers, and staff find their way in from there."""
    sign_in = f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': request.get_full_path()})}"
    context = {"seller": settings.SELLER, "staff_sign_in": sign_in}
    page = render(request._request, "portal/no_access.html", context, status=401)
    add_never_cache_headers(page)
    return page


def _visible(request: Request, number: str) -> Invoice:
    """Return the invoice if the caller may see it; raises NotAuthenticated, PermissionDenied or NotFound."""
    if request.auth is not None:
        if not has_scope(request, SCOPE):
            raise PermissionDenied(f"this key lacks the scope {SCOPE}", code="missing_scope")
        return visible_invoice(request, number=number)
    user = request.user
    if user is not None and user.is_active and user.is_staff and user.has_perm(STAFF_PERMISSION):
        return invoice_by_number(number=number)
    customer = request._request.session.get(PORTAL_SESSION_KEY, "")
    if not customer and (user is None or not user.is_authenticated):
        raise NotAuthenticated
    invoice = Invoice.objects.select_related("customer").filter(number=number, customer__key=customer).first()
    if invoice is None:
        raise NotFound(f"there is no invoice {number!r}", field="number")
    return invoice
