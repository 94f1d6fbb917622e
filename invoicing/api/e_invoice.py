"""The e-invoice of an issued invoice, for whoever may see its PDF."""

from hashlib import sha256

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from billing_site.kernel.errors import InvalidInput
from invoicing.api.base import filters_of
from invoicing.api.pdf import DocumentView, Printed, visible_document
from invoicing.e_invoices.files import cii_file, ubl_file
from invoicing.e_invoices.statement import e_invoice_of

SYNTAXES = {"cii": cii_file, "ubl": ubl_file}


class EInvoiceView(DocumentView):
    """One invoice as XML, EN 16931."""

    @extend_schema(
        operation_id="get_e_invoice",
        summary="Read an e-invoice",
        description="EN 16931 as Cross Industry Invoice (ZUGFeRD, Factur-X; the file that stands in the PDF) or UBL 2.1 (Peppol), valid against its schema."
        " 409 where there is none: the invoice was issued without tax, or the seller's country does not know EN 16931.",
        parameters=[OpenApiParameter("syntax", str, enum=list(SYNTAXES), default="cii")],
        responses={(200, "application/xml"): OpenApiTypes.BINARY, 304: None},
    )
    def get(self, request: Request, number: str) -> HttpResponseBase:
        """Return the file, or 304 where the caller has it."""

        def visible() -> Printed:
            invoice = visible_document(request, number=number)
            syntax = filters_of(request, known=("syntax",)).get("syntax", "cii")
            if syntax not in SYNTAXES:
                raise InvalidInput(f"must be one of {', '.join(SYNTAXES)}", field="syntax", code="unknown")
            content = SYNTAXES[syntax](e_invoice=e_invoice_of(invoice=invoice))
            return Printed(f"{number}-{syntax}.xml", sha256(content).hexdigest(), lambda: content, "application/xml")

        return self.printed(request, visible=visible)
