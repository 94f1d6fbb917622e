"""What a caller needs to check an invoice by itself: the proof document, the events, the way of one event, the checker."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.display.downloads import NDJSON, lines_file
from billing_site.kernel.errors import InvalidInput
from invoicing.api.base import filters_of
from invoicing.api.invoice_documents import InvoiceSerializer
from invoicing.api.invoices import visible_invoice
from invoicing.invoices.models import Invoice
from invoicing.workflows.event_evidence import event_file, inclusion_document, proof_document, windows_document


class ProofView(generics.GenericAPIView[Invoice]):
    """The proof document of an invoice."""

    scopes = {"GET": "invoices:read"}
    customer_bound = ("GET",)
    serializer_class = InvoiceSerializer

    @extend_schema(
        operation_id="get_invoice_proof",
        summary="Read all that an invoice says about its figures",
        description="Per line: the meter, the events that it counts (how many, known up to which number, the root of their Merkle tree), inputs and steps of"
        " the rating. `check_invoice.py` of the portal checks it against the event file, offline.",
        responses=OpenApiResponse(OpenApiTypes.OBJECT, description="The proof document."),
    )
    def get(self, request: Request, number: str) -> Response:
        """Return the document."""
        filters_of(request, known=())
        return Response(proof_document(invoice=visible_invoice(request, number=number)))


class EventFileView(generics.GenericAPIView[Invoice]):
    """The events behind an invoice."""

    scopes = {"GET": "invoices:read"}
    customer_bound = ("GET",)
    serializer_class = InvoiceSerializer

    @extend_schema(
        operation_id="get_invoice_events",
        summary="Download the events that an invoice counts",
        description="NDJSON, streamed: for each line that charges for usage a heading (`line`, `meter`, `events`), then its events in the order of their numbers,"
        " byte by byte as they were hashed. Events of purged months come out of the archive.",
        responses={(200, NDJSON): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, number: str) -> Any:
        """Return the file."""
        filters_of(request, known=())
        invoice = visible_invoice(request, number=number)
        return lines_file(lines=event_file(invoice=invoice), name=f"{invoice.number}-events.ndjson")


class WindowsView(generics.GenericAPIView[Invoice]):
    """The hours behind one line."""

    scopes = {"GET": "invoices:read"}
    customer_bound = ("GET",)
    serializer_class = InvoiceSerializer

    @extend_schema(
        operation_id="get_invoice_windows",
        summary="Read the hours behind a line",
        description="Each hour with usage, counted again now from the raw events as they were known when the line was rated: quantity and number of events, by group"
        " where the meter has dimensions. `count` and `digest` are those of the line. 409 where its events are in the archive only.",
        parameters=[OpenApiParameter("line", int, required=True, description="The position of the line.")],
        responses=OpenApiResponse(OpenApiTypes.OBJECT, description="The hours."),
    )
    def get(self, request: Request, number: str) -> Response:
        """Return the hours."""
        asked = filters_of(request, known=("line",))
        position = whole_number(asked.get("line", ""), field="line")
        return Response(windows_document(invoice=visible_invoice(request, number=number), position=position))


class InclusionView(generics.GenericAPIView[Invoice]):
    """The way of one event to the root."""

    scopes = {"GET": "invoices:read"}
    customer_bound = ("GET",)
    serializer_class = InvoiceSerializer

    @extend_schema(
        operation_id="get_inclusion_proof",
        summary="Prove that an invoice counts an event",
        description="The event as it was hashed, its place among the events of the line, and the hashes beside its way up to the root (RFC 9162, 2.1.3).",
        parameters=[
            OpenApiParameter("line", int, required=True, description="The position of the line."),
            OpenApiParameter(
                "event", int, required=True, description="The number of the event, `id` in the event file."
            ),
        ],
        responses=OpenApiResponse(OpenApiTypes.OBJECT, description="The inclusion proof."),
    )
    def get(self, request: Request, number: str) -> Response:
        """Return the proof."""
        asked = filters_of(request, known=("line", "event"))
        numbers = {name: whole_number(asked.get(name, ""), field=name) for name in ("line", "event")}
        invoice = visible_invoice(request, number=number)
        return Response(inclusion_document(invoice=invoice, position=numbers["line"], number=numbers["event"]))


def whole_number(text: str, *, field: str) -> int:
    """Read a number of a line or an event; raises InvalidInput at its field."""
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise InvalidInput("must be a whole number", field=field)
    return int(text)
