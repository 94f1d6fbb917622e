"""Invoices over HTTP: read, previewed, explained, and made once."""

import re

from django.db.models import CharField, F, Func, Prefetch, QuerySet, Value
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidInput, NotFound
from invoicing.api.approvals import ApprovalSerializer
from invoicing.api.base import actor_of, bound_customer, check_customer_visible, filters_of, read
from invoicing.api.fields import MomentField, NewQuantityField, NewUnitAmountField, StrictSerializer, TextField
from invoicing.api.invoice_documents import (
    INVOICE_EXAMPLE,
    INVOICED_ONCE_EXAMPLE,
    ONCE_EXAMPLE,
    PREVIEW_EXAMPLE,
    InvoiceSerializer,
    InvoiceWithLines,
)
from invoicing.api.invoice_previews import PreviewSerializer
from invoicing.approvals.models import Approval
from invoicing.customers.queries import customer_by_key
from invoicing.gate.queries import with_gate_state
from invoicing.invoices.consumers import with_consumers
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from invoicing.invoices.one_off import NewItem
from invoicing.invoices.queries import invoice_by_number
from invoicing.workflows.ask_to_void import void_or_ask
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.invoice_once import invoice_once
from invoicing.workflows.preview_invoice import preview_invoice

MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])")


class NewLine(StrictSerializer):
    """What is invoiced once."""

    description = TextField(max_length=300)
    quantity = NewQuantityField(help_text='More than nothing, as exact as usage: "2.5".')
    unit = TextField(max_length=50, required=False, allow_blank=True, help_text='Singular: "hour".')
    unit_amount = NewUnitAmountField(help_text="In the customer's currency; it may be finer than the minor unit.")


class NewInvoice(StrictSerializer):
    """A one-off invoice to be issued."""

    key = TextField(max_length=100, help_text="The same key a second time is the invoice that exists.")
    customer_id = TextField(max_length=100, help_text="The customer's key.")
    lines = NewLine(many=True)
    reason = TextField(max_length=300)


class InvoiceQuestion(StrictSerializer):
    """Whose invoice, and as of when."""

    customer_id = TextField(max_length=100, help_text="The customer's key.")
    as_of = MomentField(
        required=False, help_text="The period that runs at this moment, with the usage before it. Left out: now."
    )


@extend_schema_view(
    get=extend_schema(
        operation_id="list_invoices",
        summary="List invoices, newest first",
        parameters=[
            OpenApiParameter("customer_id", str, description="Only this customer's."),
            OpenApiParameter("legal_entity", str, description="Only what this one sells."),
            OpenApiParameter("status", str, enum=InvoiceStatus.values),
            OpenApiParameter("period", str, description="The month in which the period begins, there: `2026-07`."),
        ],
    )
)
class InvoicesView(generics.ListAPIView[Invoice]):
    """All invoices; drafts only for keys that are not bound to a customer."""

    scopes = {"GET": "invoices:read", "POST": "invoices:write"}
    customer_bound = ("GET",)
    serializer_class = InvoiceSerializer

    def get_queryset(self) -> QuerySet[Invoice]:
        """Return the invoices that the caller may see and asks for."""
        filters = filters_of(self.request, known=("customer_id", "legal_entity", "status", "period"))
        invoices = with_gate_state(invoices=Invoice.objects.select_related("customer", "progressive"))
        if bound := bound_customer(self.request):
            invoices = invoices.filter(customer__key=bound).exclude(status=InvoiceStatus.DRAFT)
        if "customer_id" in filters:
            invoices = invoices.filter(customer__key=filters["customer_id"])
        if "legal_entity" in filters:
            invoices = invoices.filter(customer__legal_entity__key=filters["legal_entity"])
        if "status" in filters:
            if filters["status"] not in InvoiceStatus.values:
                raise InvalidInput(f"must be one of {', '.join(InvoiceStatus.values)}", field="status", code="unknown")
            invoices = invoices.filter(status=filters["status"])
        if "period" in filters:
            invoices = _of_month(invoices, filters["period"])
        return invoices

    @extend_schema(
        operation_id="invoice_once",
        summary="Invoice something once",
        description="Issues a one-off invoice, which bills no period: quantity × unit amount of each line, rounded once. Credit does not pay for it. The same"
        " key a second time is the invoice that exists.",
        request=NewInvoice,
        responses={201: InvoiceWithLines},
        examples=[
            OpenApiExample("A workshop", value=ONCE_EXAMPLE, request_only=True),
            OpenApiExample("A workshop", value=INVOICED_ONCE_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Issue it."""
        fields = read(NewInvoice(data=request.data))
        invoice = invoice_once(
            customer=customer_by_key(key=fields["customer_id"], field="customer_id"),
            key=fields["key"],
            items=[NewItem(**line) for line in fields["lines"]],
            at=now(),
            actor=actor_of(request),
            reason=fields["reason"],
        )
        return Response(InvoiceWithLines(with_lines(invoice)).data, status=201)


class InvoiceView(generics.GenericAPIView[Invoice]):
    """One issued invoice."""

    scopes = {"GET": "invoices:read"}
    customer_bound = ("GET",)
    serializer_class = InvoiceWithLines

    @extend_schema(
        operation_id="get_invoice",
        summary="Read an invoice with its lines",
        examples=[OpenApiExample("Paid", value=INVOICE_EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, number: str) -> Response:
        """Return the invoice."""
        return Response(InvoiceWithLines(with_lines(visible_invoice(request, number=number))).data)


class InvoiceVoidRequest(StrictSerializer):
    """Why an invoice is declared void."""

    reason = TextField(max_length=300)


class InvoiceVoidView(generics.GenericAPIView[Invoice]):
    """Declaring an unpaid one-off invoice void."""

    scopes = {"POST": "invoices:write"}
    serializer_class = InvoiceWithLines

    @extend_schema(
        operation_id="void_invoice",
        summary="Declare an unpaid one-off invoice void",
        description="Nothing of it is owed any more, and the credit that it would have sold never comes. A second time changes nothing. From the limit of its currency on (202) somebody else has to approve.",
        request=InvoiceVoidRequest,
        responses={200: InvoiceWithLines, 202: ApprovalSerializer},
        examples=[
            OpenApiExample("Why", value={"reason": "agreed otherwise"}, request_only=True),
            OpenApiExample(
                "Void",
                value=INVOICED_ONCE_EXAMPLE | {"status": "void", "stage": "void"},
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def post(self, request: Request, number: str) -> Response:
        """Declare it void."""
        fields = read(InvoiceVoidRequest(data=request.data))
        found = visible_invoice(request, number=number)
        done = void_or_ask(invoice_id=found.pk, at=now(), actor=actor_of(request), reason=fields["reason"])
        if isinstance(done, Approval):
            return Response(ApprovalSerializer(done).data, status=202)
        return Response(InvoiceWithLines(with_lines(done)).data)


class InvoiceExplanationView(generics.GenericAPIView[Invoice]):
    """Why one invoice is what it is."""

    scopes = {"GET": "invoices:read"}
    customer_bound = ("GET",)
    serializer_class = InvoiceSerializer

    @extend_schema(
        operation_id="explain_invoice",
        summary="Explain an invoice",
        description="Per line: price, tiers, quantity, windows, number and digest of the raw events, the amount rated"
        " again now, and whether all of it is equal.",
        responses=OpenApiResponse(OpenApiTypes.OBJECT, description="The explanation."),
    )
    def get(self, request: Request, number: str) -> Response:
        """Return the explanation."""
        visible_invoice(request, number=number)
        return Response(explain_invoice(number=number))


class InvoicePreviewView(generics.GenericAPIView[Invoice]):
    """The invoice as it would be."""

    scopes = {"POST": "invoices:read"}
    customer_bound = ("POST",)
    serializer_class = InvoiceQuestion

    @extend_schema(
        operation_id="preview_invoice",
        summary="Preview an invoice",
        description="The same computation as the billing run's; nothing is stored.",
        responses=PreviewSerializer,
        examples=[
            OpenApiExample(
                "Acme, in mid-August",
                value={"customer_id": "cust_acme", "as_of": "2026-08-15T12:00:00Z"},
                request_only=True,
            ),
            OpenApiExample("Acme, in mid-August", value=PREVIEW_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Return the invoice of the running period up to a moment, or up to now."""
        question = read(InvoiceQuestion(data=request.data))
        check_customer_visible(request, key=question["customer_id"], field="customer_id")
        as_of = question.get("as_of") or now()
        computed = preview_invoice(customer_key=question["customer_id"], as_of=as_of)
        context = {"as_of": as_of, "consumers": computed.contract.snapshot.consumers}
        return Response(PreviewSerializer(computed.assembled, context=context).data)


def with_lines(invoice: Invoice) -> Invoice:
    """Return an invoice as it is now, read with its lines."""
    lines = with_consumers(InvoiceLine.objects.all()).prefetch_related("taxes").order_by("position")
    return (
        Invoice.objects.select_related("customer", "progressive")
        .prefetch_related(Prefetch("lines", lines))
        .get(pk=invoice.pk)
    )


def visible_invoice(request: Request, *, number: str) -> Invoice:
    """Return the invoice if the caller may see it; raises NotFound in the same words where not."""
    invoice = invoice_by_number(number=number)
    if bound_customer(request) not in ("", invoice.customer.key):
        raise NotFound(f"there is no invoice {number!r}", field="number")
    return invoice


def _of_month(invoices: QuerySet[Invoice], month: str) -> QuerySet[Invoice]:
    """Keep the invoices whose period begins in a month, by the clock of the invoice's own time zone."""
    if not MONTH.fullmatch(month):
        raise InvalidInput("must be a month such as 2026-07", field="period")
    invoices = invoices.filter(kind=InvoiceKind.PERIOD)
    local = Func(F("timezone"), F("period_start"), function="timezone")
    name = Func(local, Value("YYYY-MM"), function="to_char", output_field=CharField())
    return invoices.annotate(period_month=name).filter(period_month=month)
