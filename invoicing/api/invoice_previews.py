"""Invoices as they would be, over the wire."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel.money import plain, wire
from invoicing.api.fields import MomentField, MoneyField, PeriodSerializer, QuantityField
from invoicing.api.invoice_documents import StepSerializer
from invoicing.api.invoice_taxes import (
    InvoiceTaxSerializer,
    LineTaxSerializer,
)
from invoicing.core.contract import (
    AdjustmentKind,
    AdjustmentLine,
    AssembledInvoice,
    CorrectionLine,
    DecidedAdjustment,
    DocumentLine,
)
from invoicing.core.tax import LineTax
from invoicing.core.tax_document import tax_document
from invoicing.invoices.models import LineKind


class PreviewLineSerializer(serializers.Serializer[DocumentLine]):
    """A line as it would be."""

    position = serializers.SerializerMethodField()
    kind = serializers.SerializerMethodField(
        help_text="A charge, an adjustment of the bill, or a correction of an earlier invoice's line."
    )
    adjustment = serializers.SerializerMethodField(help_text="What an adjustment is about; empty: a charge.")
    description = serializers.CharField()
    explanation = serializers.CharField()
    subscription = serializers.SerializerMethodField(help_text="null where a line is about all of the customer's.")
    customer_id = serializers.SerializerMethodField(
        help_text="The account whose subscription it is, where it is billed to the customer; null of the customer's own."
    )
    meter = serializers.SerializerMethodField(help_text="Empty: a fixed fee.")
    unit = serializers.CharField(allow_blank=True)
    quantity = QuantityField()
    amount = MoneyField()
    taxes = serializers.SerializerMethodField()
    service_period = PeriodSerializer()
    steps = serializers.SerializerMethodField()

    @extend_schema_field(LineTaxSerializer(many=True))
    def get_taxes(self, line: DocumentLine) -> Any:
        """Return its taxes."""
        return LineTaxSerializer(self.context["taxes"].get(line.reference, ()), many=True).data

    def get_position(self, line: DocumentLine) -> int:
        """Return the place on the document."""
        return int(self.context["positions"][line.reference])

    @extend_schema_field(serializers.ChoiceField(choices=LineKind.choices))
    def get_kind(self, line: DocumentLine) -> str:
        """Return what the line is about."""
        kinds = {CorrectionLine: LineKind.CORRECTION, AdjustmentLine: LineKind.ADJUSTMENT}
        return str(kinds.get(type(line), LineKind.CHARGE))

    @extend_schema_field(serializers.ChoiceField(choices=[(kind.value, kind.value) for kind in AdjustmentKind]))
    def get_adjustment(self, line: DocumentLine) -> str:
        """Return the kind of an adjustment, or of the one that a correction is about."""
        if isinstance(line, CorrectionLine) and isinstance(line.correction, DecidedAdjustment):
            return line.correction.after.kind.value
        return line.kind.value if isinstance(line, AdjustmentLine) else ""

    def get_subscription(self, line: DocumentLine) -> str | None:
        """Return the subscription's key."""
        return line.subscription or None

    def get_customer_id(self, line: DocumentLine) -> str | None:
        """Return the key of the account."""
        found: str | None = self.context["consumers"].get(line.subscription)
        return found

    def get_meter(self, line: DocumentLine) -> str:
        """Return the meter's key."""
        return line.meter or ""

    @extend_schema_field(StepSerializer(many=True))
    def get_steps(self, line: DocumentLine) -> list[dict[str, str]]:
        """Return the written-out arithmetic."""
        return [
            {
                "text": step.text,
                "quantity": plain(step.quantity),
                "unit_amount": plain(step.unit_amount),
                "flat_amount": plain(step.flat_amount),
                "rate": plain(step.rate),
                "amount": plain(step.amount),
            }
            for step in line.steps
        ]


class PreviewSerializer(serializers.Serializer[AssembledInvoice]):
    """An invoice as it would be."""

    customer_id = serializers.CharField(source="customer")
    as_of = serializers.SerializerMethodField()
    currency = serializers.CharField()
    period = PeriodSerializer()
    subtotal = MoneyField()
    tax_amount = serializers.SerializerMethodField(help_text="null: no tax is charged, or it is not known yet.")
    tax = serializers.SerializerMethodField()
    total = MoneyField()
    lines = serializers.SerializerMethodField()

    @extend_schema_field(MoneyField(allow_null=True))
    def get_tax_amount(self, invoice: AssembledInvoice) -> dict[str, str] | None:
        """Return all tax of the lines."""
        return None if invoice.tax is None or invoice.tax.missing else wire(invoice.tax.amount)

    @extend_schema_field(InvoiceTaxSerializer(allow_null=True))
    def get_tax(self, invoice: AssembledInvoice) -> dict[str, Any] | None:
        """Return what was decided."""
        return None if invoice.tax is None else tax_document(tax=invoice.tax)

    @extend_schema_field(MomentField)
    def get_as_of(self, invoice: AssembledInvoice) -> str:
        """Return the moment of knowledge."""
        return MomentField().to_representation(self.context["as_of"])

    @extend_schema_field(PreviewLineSerializer(many=True))
    def get_lines(self, invoice: AssembledInvoice) -> Any:
        """Return the lines in the order of the document."""
        positions = {line.reference: place for place, line in enumerate(invoice.document_lines, start=1)}
        taxes: dict[str, list[LineTax]] = {}
        for tax in invoice.tax.lines if invoice.tax else ():
            taxes.setdefault(tax.reference, []).append(tax)
        context = {"positions": positions, "taxes": taxes, "consumers": self.context["consumers"]}
        return [PreviewLineSerializer(line, context=context).data for line in invoice.document_lines]
