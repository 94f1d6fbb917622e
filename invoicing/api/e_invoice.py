"""The e-invoice of an issued invoice, or of a credit note, for whoever may see its PDF."""

from hashlib import sha256

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidInput
from invoicing.api.base import filters_of
from invoicing.api.pdf import DocumentView, Printed, visible_document, visible_note
from invoicing.credit_notes.models import CreditNote
from invoicing.e_invoices.credit_notes import e_credit_note_of
from invoicing.e_invoices.files import ubl_file
from invoicing.e_invoices.statement import EInvoice, e_invoice_of
from invoicing.invoices.models import Invoice
from invoicing.workflows.render_documents import rendered_document

CII, UBL = "cii", "ubl"
SYNTAX = OpenApiParameter("syntax", str, enum=[CII, UBL], default=CII)


class EInvoiceView(DocumentView):
    """One invoice as XML, EN 16931."""

    @extend_schema(
        operation_id="get_e_invoice",
        summary="Read an e-invoice",
        description="EN 16931 as Cross Industry Invoice (ZUGFeRD, Factur-X; the file that stands in the PDF) or UBL 2.1 (Peppol), valid against its schema."
        " 409 where there is none: the invoice was issued without tax, or the seller's country does not know EN 16931.",
        parameters=[SYNTAX],
        responses={(200, "application/xml"): OpenApiTypes.BINARY, 304: None},
    )
    def get(self, request: Request, number: str) -> HttpResponseBase:
        """Return the file, or 304 where the caller has it."""

        def visible() -> Printed:
            invoice = visible_document(request, number=number)
            return _stated(invoice, e_invoice_of(invoice=invoice), syntax=_syntax(request))

        return self.printed(request, visible=visible)


class ECreditNoteView(DocumentView):
    """One credit note as XML, EN 16931."""

    @extend_schema(
        operation_id="get_e_credit_note",
        summary="Read a credit note as e-invoice",
        description="EN 16931, type 381 with the invoice that it corrects, as Cross Industry Invoice (the file that stands in the PDF) or UBL 2.1 CreditNote, valid against its"
        " schema. 409 where there is none: there is none of its invoice.",
        parameters=[SYNTAX],
        responses={(200, "application/xml"): OpenApiTypes.BINARY, 304: None},
    )
    def get(self, request: Request, number: str) -> HttpResponseBase:
        """Return the file, or 304 where the caller has it."""

        def visible() -> Printed:
            note = visible_note(request, number=number)
            return _stated(note, e_credit_note_of(note=note), syntax=_syntax(request))

        return self.printed(request, visible=visible)


def _syntax(request: Request) -> str:
    syntax: str = filters_of(request, known=("syntax",)).get("syntax", CII)
    if syntax not in (CII, UBL):
        raise InvalidInput(f"must be one of {CII}, {UBL}", field="syntax", code="unknown")
    return syntax


def _stated(document: Invoice | CreditNote, e_invoice: EInvoice, *, syntax: str) -> Printed:
    """Return the file of one syntax: CII is the one that stands in the document as it was printed."""
    if syntax == CII:
        content = rendered_document(document=document, at=now()).e_invoice.encode()
    else:
        content = ubl_file(e_invoice=e_invoice)
    name = f"{document.number}-{syntax}.xml"
    return Printed(name, sha256(content).hexdigest(), lambda: content, "application/xml")
