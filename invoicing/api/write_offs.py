"""Write-offs over HTTP: what is open of an invoice is given up, that is taken back, and all of them are listed."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from invoicing.api.approvals import ApprovalSerializer
from invoicing.api.base import actor_of, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, StrictSerializer, TextField
from invoicing.api.invoice_documents import INVOICE_EXAMPLE, InvoiceSerializer
from invoicing.api.invoices import visible_invoice
from invoicing.approvals.models import Approval
from invoicing.invoices.models import Invoice
from invoicing.workflows.ask_first import write_off_or_ask
from invoicing.workflows.write_off_invoice import take_back_write_off
from invoicing.write_offs.models import Recovery, WriteOff
from invoicing.write_offs.queries import with_recoveries

EXAMPLE = {
    "reference": "INV-2026-00042/1",
    "invoice": "INV-2026-00042",
    "customer_id": "cust_acme",
    "amount": {"amount": "23.80", "currency": "EUR"},
    "written_off_at": "2027-03-01T09:00:00Z",
    "actor": "API key finance",
    "reason": "insolvency, file 12 IN 34/27",
    "recoveries": [
        {
            "reference": "INV-2026-00042/1/1",
            "cause": "payment",
            "amount": {"amount": "3.80", "currency": "EUR"},
            "recovered_at": "2027-09-01T09:00:00Z",
            "reason": "payment of the administrator",
        }
    ],
}


class ReasonRequest(StrictSerializer):
    """Why."""

    reason = TextField(max_length=300)


class RecoverySerializer(serializers.ModelSerializer[Recovery]):
    """What of a write-off is a loss no more."""

    amount = MoneyField()
    recovered_at = MomentField()

    class Meta:
        model = Recovery
        fields = ("reference", "cause", "amount", "recovered_at", "reason")


class WriteOffSerializer(serializers.ModelSerializer[WriteOff]):
    """What was given up of an invoice."""

    invoice = serializers.CharField(source="invoice.number")
    customer_id = serializers.CharField(source="invoice.customer.key")
    amount = MoneyField()
    written_off_at = MomentField()
    recoveries = RecoverySerializer(many=True)

    class Meta:
        model = WriteOff
        fields = tuple(EXAMPLE)


@extend_schema_view(
    get=extend_schema(
        operation_id="list_write_offs",
        summary="List write-offs with what was recovered of them, newest first",
        parameters=[
            OpenApiParameter("customer_id", str, description="Only this customer's."),
            OpenApiParameter("invoice", str, description="Only those of the invoice with this number."),
        ],
    )
)
class WriteOffsView(generics.ListAPIView[WriteOff]):
    """All write-offs."""

    scopes = {"GET": "write_offs:read"}
    serializer_class = WriteOffSerializer

    def get_queryset(self) -> QuerySet[WriteOff]:
        """Return the write-offs that the caller asks for."""
        filters = filters_of(self.request, known=("customer_id", "invoice"))
        found = with_recoveries(write_offs=WriteOff.objects.select_related("invoice__customer"))
        if "customer_id" in filters:
            found = found.filter(invoice__customer__key=filters["customer_id"])
        return found.filter(invoice__number=filters["invoice"]) if "invoice" in filters else found


class InvoiceWriteOffView(generics.GenericAPIView[WriteOff]):
    """Giving up what is open of an invoice."""

    scopes = {"POST": "write_offs:write"}
    serializer_class = WriteOffSerializer

    @extend_schema(
        operation_id="write_off_invoice",
        summary="Write off what is open of an issued invoice",
        description="All that is open becomes a loss, with the tax in it. The debt stays: a payment that comes after all is booked, and recovers its amount. A"
        " second time changes nothing. Refused (`sells_credit`) where the invoice sells prepaid credit: declare it void. From the limit of its currency on (202) somebody else has to approve.",
        request=ReasonRequest,
        responses={200: WriteOffSerializer, 202: ApprovalSerializer},
        examples=[
            OpenApiExample("Why", value={"reason": "insolvency, file 12 IN 34/27"}, request_only=True),
            OpenApiExample("Written off", value=EXAMPLE | {"recoveries": []}, response_only=True),
        ],
    )
    def post(self, request: Request, number: str) -> Response:
        """Write it off."""
        fields: dict[str, Any] = read(ReasonRequest(data=request.data))
        found = visible_invoice(request, number=number)
        done = write_off_or_ask(invoice_id=found.pk, at=now(), actor=actor_of(request), reason=fields["reason"])
        if isinstance(done, Approval):
            return Response(ApprovalSerializer(done).data, status=202)
        return Response(WriteOffSerializer(done).data)


class WriteOffReversalView(generics.GenericAPIView[Invoice]):
    """Expecting again what was given up of an invoice."""

    scopes = {"POST": "write_offs:write"}
    serializer_class = InvoiceSerializer

    @extend_schema(
        operation_id="take_back_write_off",
        summary="Take the write-off of an invoice back",
        description="What is left of it is open again, and no loss. A second time changes nothing.",
        request=ReasonRequest,
        responses=InvoiceSerializer,
        examples=[
            OpenApiExample("Why", value={"reason": "the administrator pays after all"}, request_only=True),
            OpenApiExample(
                "Open again",
                value={name: value for name, value in INVOICE_EXAMPLE.items() if name != "lines"}
                | {"status": "issued", "stage": "issued", "paid_at": None},
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request, number: str) -> Response:
        """Take it back."""
        fields: dict[str, Any] = read(ReasonRequest(data=request.data))
        found = visible_invoice(request, number=number)
        invoice = take_back_write_off(invoice_id=found.pk, at=now(), actor=actor_of(request), reason=fields["reason"])
        return Response(InvoiceSerializer(invoice).data)
