"""Credit notes over HTTP: looked at first, then issued; refunds that somebody transferred are written down."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import FieldError, InvalidFields, NotFound
from invoicing.api.approvals import ApprovalSerializer
from invoicing.api.base import actor_of, bound_customer, filters_of, read
from invoicing.api.fields import (
    MomentField,
    MoneyField,
    NewMoneyField,
    NewQuantityField,
    QuantityField,
    StrictSerializer,
    TextField,
    WholeField,
)
from invoicing.api.invoices import visible_invoice
from invoicing.approvals.models import Approval
from invoicing.credit_notes.models import CreditNote, CreditNoteLine, Disposition
from invoicing.credit_notes.operations import CreditAsked
from invoicing.credit_notes.queries import credit_note_by_number, with_lines
from invoicing.customers.models import SettlementChannel
from invoicing.payments.refund import Refund
from invoicing.workflows.ask_first import credit_or_ask
from invoicing.workflows.credit_invoice import preview_credit
from invoicing.workflows.pay_refund import settle_refund

POSITION_MAX = 1_000_000
REQUEST_EXAMPLE = {
    "key": "acme-outage-july",
    "disposition": "balance",
    "lines": [{"position": 2, "quantity": "500"}, {"position": 3, "amount": {"amount": "4.00", "currency": "EUR"}}],
    "reason": "outage on 12 July",
}
SHOWN_EXAMPLE = {
    "preview": True,
    "invoice": "INV-2026-00042",
    "disposition": "balance",
    "total": {"amount": "5.95", "currency": "EUR"},
    "offset_amount": {"amount": "0.00", "currency": "EUR"},
    "balance_amount": {"amount": "5.95", "currency": "EUR"},
    "refund_amount": {"amount": "0.00", "currency": "EUR"},
    "tax_amount": {"amount": "0.95", "currency": "EUR"},
    "lines": [
        {
            "position": 2,
            "description": "Actions",
            "quantity": "500",
            "amount": {"amount": "5.00", "currency": "EUR"},
            "released": {"amount": "0.00", "currency": "EUR"},
            "tax_amount": {"amount": "0.95", "currency": "EUR"},
        }
    ],
    "digest": "9f2c…",
}
NOTE_EXAMPLE = {name: member for name, member in SHOWN_EXAMPLE.items() if name not in ("preview", "digest")} | {
    "number": "CN-2026-00007",
    "key": "acme-outage-july",
    "customer_id": "cust_acme",
    "credit_grant": "credit-note-CN-2026-00007-6f1c2a90",
    "refunds": [],
    "issued_at": "2026-08-10T09:00:00Z",
    "reason": "outage on 12 July",
    "seal": "5d41…",
}


class NewCreditLine(StrictSerializer):
    """What is credited of one line; without quantity and amount all that is left of it."""

    position = WholeField(min_value=1, max_value=POSITION_MAX, help_text="Of the invoice's line.")
    quantity = NewQuantityField(required=False, help_text="At the line's own price, pro rata.")
    amount = NewMoneyField(required=False, help_text="Instead of a quantity; before tax that comes on top.")


class NewCreditNote(StrictSerializer):
    """A credit note to be issued, or looked at."""

    key = TextField(
        max_length=100, required=False, help_text="The same key a second time is the credit note that exists."
    )
    lines = NewCreditLine(many=True, required=False, help_text="Left out: all that is left of the invoice.")
    disposition = serializers.ChoiceField(
        choices=Disposition.choices,
        help_text="What is open of the invoice is taken off first. What becomes of the rest: `offset`: there must be none;"
        " `balance`: credit that later invoices draw; `refund`: it is paid back.",
    )
    preview = serializers.BooleanField(required=False, help_text="Only say what it would be. Default: false.")
    digest = TextField(required=False, max_length=64, help_text="Of a preview: issue it only if it is what was shown.")
    reason = TextField(required=False, max_length=300, help_text="Why; needed unless it is a preview.")


class CreditLineSerializer(serializers.ModelSerializer[CreditNoteLine]):
    """A line of a credit note."""

    position = serializers.IntegerField(source="line.position")
    description = serializers.CharField(source="line.description")
    quantity = QuantityField(allow_null=True, help_text="Null where an amount was credited.")
    amount = MoneyField()
    released = MoneyField(help_text="What of it was held in advance and is held no longer.")
    tax_amount = MoneyField(help_text="The tax that goes back with it.")

    class Meta:
        model = CreditNoteLine
        fields = ("position", "description", "quantity", "amount", "released", "tax_amount")


class ShownCreditSerializer(serializers.Serializer[Any]):
    """A credit note as it would be."""

    preview = serializers.BooleanField(default=True)
    invoice = serializers.CharField(source="invoice.number")
    disposition = serializers.ChoiceField(choices=Disposition.choices)
    total = MoneyField()
    offset_amount = MoneyField(source="offset")
    balance_amount = MoneyField(source="balance")
    refund_amount = MoneyField(source="refund")
    tax_amount = MoneyField()
    lines = CreditLineSerializer(many=True)
    digest = serializers.CharField()


class RefundSerializer(serializers.ModelSerializer[Refund]):
    """What is to be paid back, or was."""

    id = serializers.IntegerField()
    amount = MoneyField()
    planned_at = MomentField()
    paid_at = MomentField(allow_null=True)

    class Meta:
        model = Refund
        fields = ("id", "channel", "status", "amount", "reference", "last_error", "planned_at", "paid_at")


class CreditNoteSerializer(serializers.ModelSerializer[CreditNote]):
    """An issued credit note."""

    customer_id = serializers.CharField(source="customer.key")
    invoice = serializers.CharField(source="invoice.number")
    disposition = serializers.ChoiceField(choices=Disposition.choices)
    total = MoneyField()
    offset_amount = MoneyField(help_text="Taken off what was open of the invoice.")
    balance_amount = MoneyField(help_text="Given as credit, which later invoices draw.")
    refund_amount = MoneyField(help_text="To be paid back.")
    tax_amount = MoneyField(help_text="The tax in it.")
    credit_grant = serializers.CharField(source="grant.key", default=None, allow_null=True)
    lines = CreditLineSerializer(many=True)
    refunds = RefundSerializer(many=True)
    issued_at = MomentField()

    class Meta:
        model = CreditNote
        fields = (
            "number",
            "key",
            "customer_id",
            "invoice",
            "disposition",
            "total",
            "offset_amount",
            "balance_amount",
            "refund_amount",
            "tax_amount",
            "credit_grant",
            "lines",
            "refunds",
            "issued_at",
            "reason",
            "seal",
        )


class InvoiceCreditView(generics.GenericAPIView[CreditNote]):
    """Crediting one invoice."""

    scopes = {"POST": "credit_notes:write"}
    serializer_class = NewCreditNote

    @extend_schema(
        operation_id="credit_invoice",
        summary="Credit an issued invoice, or see what a credit note would be",
        description="Whole, by line, by quantity or by amount; never over more than remains. With `preview` nothing is kept. A quantity costs its share of"
        " what the invoice asks for the line, after discounts and credit; the last of it takes the rest. From the limit of its currency on (202) somebody else has to approve.",
        request=NewCreditNote,
        responses={200: ShownCreditSerializer, 201: CreditNoteSerializer, 202: ApprovalSerializer},
        examples=[
            OpenApiExample("Part of two lines", value=REQUEST_EXAMPLE, request_only=True),
            OpenApiExample("Preview", value=SHOWN_EXAMPLE, response_only=True, status_codes=["200"]),
            OpenApiExample("Issued", value=NOTE_EXAMPLE, response_only=True, status_codes=["201"]),
        ],
    )
    def post(self, request: Request, number: str) -> Response:
        """Issue it, or show it."""
        fields = read(NewCreditNote(data=request.data))
        invoice = visible_invoice(request, number=number)
        asked = [CreditAsked(**line) for line in fields.get("lines", ())]
        if "lines" in fields and not asked:
            raise InvalidFields((FieldError("lines", "empty", "name a line, or leave it out for all that is left"),))
        if fields.get("preview", False):
            shown = preview_credit(invoice=invoice, asked=asked, disposition=fields["disposition"], at=now())
            return Response(ShownCreditSerializer(shown).data)
        missing = [name for name in ("key", "reason") if not fields.get(name, "").strip()]
        if missing:
            message = "is missing: it is needed unless you ask for a preview"
            raise InvalidFields(tuple(FieldError(name, "required", message) for name in missing))
        note = credit_or_ask(
            invoice_id=invoice.pk,
            key=fields["key"],
            asked=asked,
            disposition=fields["disposition"],
            at=now(),
            actor=actor_of(request),
            reason=fields["reason"],
            digest=fields.get("digest", ""),
        )
        if isinstance(note, Approval):
            return Response(ApprovalSerializer(note).data, status=202)
        return Response(CreditNoteSerializer(credit_note_by_number(number=note.number)).data, status=201)


@extend_schema_view(
    get=extend_schema(
        operation_id="list_credit_notes",
        summary="List credit notes, newest first",
        parameters=[
            OpenApiParameter("customer_id", str, description="Only this customer's."),
            OpenApiParameter("invoice", str, description="Only those of the invoice with this number."),
        ],
    )
)
class CreditNotesView(generics.ListAPIView[CreditNote]):
    """All credit notes."""

    scopes = {"GET": "credit_notes:read"}
    customer_bound = ("GET",)
    serializer_class = CreditNoteSerializer

    def get_queryset(self) -> QuerySet[CreditNote]:
        """Return the credit notes that the caller may see and asks for."""
        filters = filters_of(self.request, known=("customer_id", "invoice"))
        notes = with_lines(notes=CreditNote.objects.all())
        for key in filter(None, (bound_customer(self.request), filters.get("customer_id", ""))):
            notes = notes.filter(customer__key=key)
        return notes.filter(invoice__number=filters["invoice"]) if "invoice" in filters else notes


class CreditNoteView(generics.GenericAPIView[CreditNote]):
    """One credit note."""

    scopes = {"GET": "credit_notes:read"}
    customer_bound = ("GET",)
    serializer_class = CreditNoteSerializer

    @extend_schema(
        operation_id="get_credit_note",
        summary="Read a credit note",
        responses=CreditNoteSerializer,
        examples=[OpenApiExample("Issued", value=NOTE_EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, number: str) -> Response:
        """Return it."""
        note = credit_note_by_number(number=number, of_customer=bound_customer(request))
        return Response(CreditNoteSerializer(note).data)


class RefundPaidRequest(StrictSerializer):
    """How a refund was transferred."""

    reference = TextField(max_length=190, help_text="Of the transfer: it keeps a refund from being paid twice.")
    paid_at = MomentField(required=False, help_text="Left out: now.")


class RefundPaidView(generics.GenericAPIView[CreditNote]):
    """Writing down that a refund was transferred by hand."""

    scopes = {"POST": "credit_notes:write"}
    serializer_class = CreditNoteSerializer

    @extend_schema(
        operation_id="record_refund",
        summary="Write down that a refund was transferred",
        description="For what is to be paid back by hand, or what Stripe has refused to pay. The same reference a second time changes nothing.",
        request=RefundPaidRequest,
        responses=CreditNoteSerializer,
        examples=[
            OpenApiExample("A transfer", value={"reference": "SEPA 4711"}, request_only=True),
            OpenApiExample("Issued", value=NOTE_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request, number: str, refund: str) -> Response:
        """Write it down."""
        fields = read(RefundPaidRequest(data=request.data))
        note = credit_note_by_number(number=number)
        found = next((one for one in note.refunds.all() if str(one.pk) == refund), None)
        if found is None:
            raise NotFound(f"credit note {number} has no refund {refund!r}", field="refund")
        settle_refund(
            refund_id=found.pk,
            channel=SettlementChannel.MANUAL,
            reference=fields["reference"],
            paid_at=fields.get("paid_at") or now(),
            actor=actor_of(request),
        )
        return Response(CreditNoteSerializer(credit_note_by_number(number=number)).data)
