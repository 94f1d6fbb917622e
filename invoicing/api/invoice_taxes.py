"""How the tax of an invoice is written over HTTP: of each line, and the sum of each rate."""

from typing import Any

from rest_framework import serializers

from invoicing.api.fields import MoneyField, QuantityField
from invoicing.invoices.models.tax import TAX_KINDS

TAX_EXAMPLE = {
    "kind": "taxed",
    "jurisdiction": "DE",
    "name": "VAT",
    "rate": "0.19",
    "inclusive": False,
    "taxable": {"amount": "20.00", "currency": "EUR"},
    "amount": {"amount": "3.80", "currency": "EUR"},
    "reason": "",
    "evidence": "",
}
ONCE_TAX_EXAMPLE = TAX_EXAMPLE | {
    "taxable": {"amount": "300.00", "currency": "EUR"},
    "amount": {"amount": "57.00", "currency": "EUR"},
}
DECIDED_EXAMPLE = {
    "provider": "table",
    "rounding": "per_invoice",
    "seller": {"country": "DE", "region": "", "number": "DE136695976"},
    "customer": {"country": "DE", "region": "", "number": ""},
}
INVOICE_TAX_EXAMPLE = {
    "tax_amount": {"amount": "3.80", "currency": "EUR"},
    "tax": DECIDED_EXAMPLE | {"summary": [TAX_EXAMPLE]},
    "total": {"amount": "23.80", "currency": "EUR"},
}
INVOICE_ONCE_TAX_EXAMPLE = {
    "tax_amount": {"amount": "57.00", "currency": "EUR"},
    "tax": DECIDED_EXAMPLE | {"summary": [ONCE_TAX_EXAMPLE]},
    "total": {"amount": "357.00", "currency": "EUR"},
}


class LineTaxSerializer(serializers.Serializer[Any]):
    """One tax of one line."""

    kind = serializers.ChoiceField(choices=TAX_KINDS, help_text="Why it is taxed, or is not.")
    jurisdiction = serializers.CharField()
    name = serializers.CharField()
    rate = QuantityField(help_text="A fraction of one.")
    inclusive = serializers.BooleanField(help_text="The line's amount contains it.")
    taxable = MoneyField(help_text="What it is owed of.")
    amount = MoneyField()
    reason = serializers.CharField(allow_blank=True, help_text="Why there is none: the sentence on the invoice.")
    evidence = serializers.CharField(allow_blank=True)


class TaxSumSerializer(serializers.Serializer[Any]):
    """What all lines of one rate come to."""

    kind = serializers.ChoiceField(choices=TAX_KINDS)
    jurisdiction = serializers.CharField()
    name = serializers.CharField()
    rate = serializers.CharField(help_text="A fraction of one.")
    inclusive = serializers.BooleanField()
    taxable = serializers.JSONField(help_text="Money: what it is owed of.")
    amount = serializers.JSONField(help_text="Money.")
    reason = serializers.CharField(allow_blank=True)
    evidence = serializers.CharField(allow_blank=True)


class InvoiceTaxSerializer(serializers.Serializer[Any]):
    """What was decided about an invoice's tax; where something is missing for it, only that."""

    provider = serializers.CharField(help_text="Who decided: our table, or another.")
    missing = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="What has to be known before a draft can be issued."
    )
    rounding = serializers.CharField(required=False)
    seller = serializers.JSONField(required=False, help_text="Country and number.")
    customer = serializers.JSONField(required=False, help_text="Country, region and VAT id.")
    summary = TaxSumSerializer(many=True, required=False)
    answers = serializers.DictField(
        child=serializers.IntegerField(),
        required=False,
        help_text="Where Stripe Tax decided: the number of the answer that told the rates of a day, by day.",
    )
