"""Invoices as they go over the wire."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invoicing.api.fields import MomentField, MoneyField, PeriodSerializer, QuantityField
from invoicing.api.invoice_taxes import (
    INVOICE_ONCE_TAX_EXAMPLE,
    INVOICE_TAX_EXAMPLE,
    ONCE_TAX_EXAMPLE,
    TAX_EXAMPLE,
    InvoiceTaxSerializer,
    LineTaxSerializer,
)
from invoicing.core.invoice_life import InvoiceStage, stage_words
from invoicing.invoices.consumers import account_of
from invoicing.invoices.models import STATED, Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from invoicing.invoices.queries import billed_progressively, taken_off_by, taking_off

MONTH_EXAMPLE = {"start": "2026-07-31T22:00:00Z", "end": "2026-08-31T22:00:00Z"}
STEP_EXAMPLE = {
    "text": "First 1,000,000",
    "quantity": "1000000",
    "unit_amount": "0.00002",
    "flat_amount": "0",
    "rate": "0",
    "amount": "20",
}
LINE_EXAMPLE = {
    "position": 1,
    "kind": "charge",
    "adjustment": "",
    "description": "Tokens",
    "explanation": "1,000,000 × EUR 0.00002",
    "subscription": "sub_acme_pro",
    "customer_id": None,
    "meter": "tokens",
    "unit": "token",
    "quantity": "1000000",
    "amount": {"amount": "20.00", "currency": "EUR"},
    "taxes": [TAX_EXAMPLE],
    "service_period": MONTH_EXAMPLE,
    "steps": [STEP_EXAMPLE],
}
INVOICE_EXAMPLE = {
    "number": "INV-2026-00042",
    "kind": "period",
    "key": None,
    "customer_id": "cust_acme",
    "legal_entity": "main",
    "status": "paid",
    "stage": "paid",
    "currency": "EUR",
    "period": MONTH_EXAMPLE,
    "timezone": "Europe/Berlin",
    "subtotal": {"amount": "20.00", "currency": "EUR"},
    **INVOICE_TAX_EXAMPLE,
    "amount_paid": {"amount": "23.80", "currency": "EUR"},
    "amount_credited": {"amount": "0.00", "currency": "EUR"},
    "amount_written_off": {"amount": "0.00", "currency": "EUR"},
    "amount_due": {"amount": "0.00", "currency": "EUR"},
    "drafted_at": "2026-09-01T00:07:00Z",
    "issued_at": "2026-09-01T00:07:00Z",
    "due_date": "2026-09-15",
    "paid_at": "2026-09-01T00:08:12Z",
    "settlement_channel": "stripe",
    "seal": "9f2c0b7c1d0e4d5fa1c3b5e7092a4c6e8f0b1d3f5a7c9e1b3d5f7092a4c6e8f0",
    "events_root": "41d0b7f39b1ad5c8e2f4a6980b3c7d1e5f2a4b6c8d0e1f3a5b7c9d1e3f5a7b9c",
    "lines": [LINE_EXAMPLE],
}
ONCE_EXAMPLE = {
    "key": "workshop-2026-08",
    "customer_id": "cust_acme",
    "lines": [
        {
            "description": "Workshop",
            "quantity": "2.5",
            "unit": "hour",
            "unit_amount": {"amount": "120.00", "currency": "EUR"},
        }
    ],
    "reason": "order 4711",
}
INVOICED_ONCE_EXAMPLE = INVOICE_EXAMPLE | {
    "events_root": "",
    "kind": "one_off",
    "key": "workshop-2026-08",
    "status": "issued",
    "stage": "issued",
    "period": None,
    "subtotal": {"amount": "300.00", "currency": "EUR"},
    **INVOICE_ONCE_TAX_EXAMPLE,
    "amount_paid": {"amount": "0.00", "currency": "EUR"},
    "amount_credited": {"amount": "0.00", "currency": "EUR"},
    "amount_due": {"amount": "357.00", "currency": "EUR"},
    "paid_at": None,
    "lines": [
        LINE_EXAMPLE
        | {
            "kind": "one_off",
            "description": "Workshop",
            "explanation": "2.5 hours at EUR 120.00 each.",
            "subscription": None,
            "meter": "",
            "unit": "hour",
            "quantity": "2.5",
            "amount": {"amount": "300.00", "currency": "EUR"},
            "taxes": [ONCE_TAX_EXAMPLE],
            "service_period": None,
            "steps": [
                STEP_EXAMPLE
                | {
                    "text": "2.5 hours at EUR 120.00 each",
                    "quantity": "2.5",
                    "unit_amount": "120",
                    "amount": "300",
                }
            ],
        }
    ],
}
PREVIEW_EXAMPLE = {
    "customer_id": "cust_acme",
    "as_of": "2026-08-15T12:00:00Z",
    "currency": "EUR",
    "period": MONTH_EXAMPLE,
    "subtotal": {"amount": "20.00", "currency": "EUR"},
    **INVOICE_TAX_EXAMPLE,
    "lines": [LINE_EXAMPLE],
}


class StepSerializer(serializers.Serializer[Any]):
    """One rung of the written-out arithmetic."""

    text = serializers.CharField()
    quantity = serializers.CharField()
    unit_amount = serializers.CharField()
    flat_amount = serializers.CharField()
    rate = serializers.CharField()
    amount = serializers.CharField(help_text="Exact; a fraction such as 1/3 where it has no end.")


class LineSerializer(serializers.ModelSerializer[InvoiceLine]):
    """A stored line."""

    explanation = serializers.CharField(source="rated.explanation")
    subscription = serializers.CharField(
        source="subscription.key",
        default=None,
        allow_null=True,
        help_text="null where a line is about all of the customer's.",
    )
    customer_id = serializers.SerializerMethodField(
        help_text="The account whose subscription it is, where it is billed to the invoice's customer; null of the customer's own."
    )
    meter = serializers.CharField(source="meter_key", allow_blank=True, help_text="Empty: a fixed fee.")
    quantity = QuantityField()
    amount = MoneyField()
    taxes = LineTaxSerializer(many=True)
    service_period = serializers.SerializerMethodField()
    steps = StepSerializer(many=True, source="rated.steps")

    class Meta:
        model = InvoiceLine
        fields = (
            "position",
            "kind",
            "adjustment",
            "description",
            "explanation",
            "subscription",
            "customer_id",
            "meter",
            "unit",
            "quantity",
            "amount",
            "taxes",
            "service_period",
            "steps",
        )

    def get_customer_id(self, line: InvoiceLine) -> str | None:
        """Return the key of the account."""
        return account_of(line=line) or None

    @extend_schema_field(PeriodSerializer(allow_null=True))
    def get_service_period(self, line: InvoiceLine) -> Any:
        """Return when it was delivered; what is stated once has no such time."""
        if line.kind in STATED:
            return None
        return PeriodSerializer({"start": line.service_start, "end": line.service_end}).data


class InvoiceSerializer(serializers.ModelSerializer[Invoice]):
    """An invoice without its lines."""

    customer_id = serializers.CharField(source="customer.key")
    legal_entity = serializers.CharField(source="customer.legal_entity_id", help_text="The key of who sells.")
    number = serializers.CharField(allow_null=True, help_text="Null: a draft.")
    kind = serializers.ChoiceField(choices=InvoiceKind.choices)
    key = serializers.CharField(allow_null=True, help_text="Of an invoice of no period: what whoever made it calls it.")
    status = serializers.ChoiceField(choices=InvoiceStatus.choices)
    stage = serializers.ChoiceField(
        choices=[(one.value, stage_words(one)) for one in InvoiceStage],
        help_text="Finer than the status: a draft that is held or ready, an issued invoice that is part-paid.",
    )
    period = serializers.SerializerMethodField()
    subtotal = MoneyField(help_text="The sum of the lines.")
    tax_amount = MoneyField(allow_null=True, help_text="null: no tax is charged.")
    tax = InvoiceTaxSerializer(allow_null=True)
    total = MoneyField()
    amount_paid = MoneyField()
    amount_credited = MoneyField(help_text="What credit notes have taken off what was open.")
    amount_written_off = MoneyField(help_text="What was given up of it, less what was recovered of that.")
    amount_due = serializers.SerializerMethodField()
    drafted_at = MomentField()
    issued_at = MomentField(allow_null=True)
    paid_at = MomentField(allow_null=True)

    class Meta:
        model = Invoice
        fields: tuple[str, ...] = (
            "number",
            "kind",
            "key",
            "customer_id",
            "legal_entity",
            "status",
            "stage",
            "currency",
            "period",
            "timezone",
            "subtotal",
            "tax_amount",
            "tax",
            "total",
            "amount_paid",
            "amount_credited",
            "amount_written_off",
            "amount_due",
            "drafted_at",
            "issued_at",
            "due_date",
            "paid_at",
            "settlement_channel",
            "seal",
            "events_root",
        )

    @extend_schema_field(PeriodSerializer(allow_null=True))
    def get_period(self, invoice: Invoice) -> Any:
        """Return what it covers; a one-off invoice covers no time, a progressive one is of the period that ran when it was made."""
        if invoice.kind == InvoiceKind.ONE_OFF:
            return None
        if (runs := billed_progressively(invoice=invoice)) is not None:
            return PeriodSerializer({"start": runs.start, "end": runs.end}).data
        return PeriodSerializer({"start": invoice.period_start, "end": invoice.period_end}).data

    @extend_schema_field(MoneyField)
    def get_amount_due(self, invoice: Invoice) -> dict[str, str]:
        """Return what is still expected; nothing of a void or written-off invoice."""
        return MoneyField().to_representation(invoice.amount_due)


class InvoiceWithLines(InvoiceSerializer):
    """An invoice with its lines."""

    lines = LineSerializer(many=True)
    takes_off = serializers.SerializerMethodField(
        help_text="The numbers of the progressive invoices that it takes off."
    )
    taken_off_by = serializers.SerializerMethodField(
        help_text="Of a progressive invoice: the numbers of the issued invoices that take it off."
    )

    class Meta(InvoiceSerializer.Meta):
        fields = (*InvoiceSerializer.Meta.fields, "lines", "takes_off", "taken_off_by")

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_takes_off(self, invoice: Invoice) -> list[str]:
        """Return the numbers, oldest first."""
        if all(line.progressive_id is None for line in invoice.lines.all()):
            return []
        return [str(one.number) for one in taken_off_by(invoice=invoice)]

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_taken_off_by(self, invoice: Invoice) -> list[str]:
        """Return the numbers, oldest first."""
        if invoice.kind != InvoiceKind.PROGRESSIVE:
            return []
        return [str(one.number) for one in taking_off(invoice=invoice) if one.number is not None]
