"""The taxes of invoice lines: rate and amount stay with the line, whatever rates are later (S0-119)."""

from django.db import models
from django.db.models import Q

from billing_site.kernel.model import fits_currency, frozen_with_parent, money_field
from invoicing.core.tax import TaxKind
from invoicing.invoices.models.line import InvoiceLine

TAX_KINDS = [(kind.value, kind.value.replace("_", " ").capitalize()) for kind in TaxKind]


class TaxLine(models.Model):
    """One tax of one line. Of each line that is not paid by prepaid credit there is one at least, also over nothing: that it is none is told."""

    line = models.ForeignKey(InvoiceLine, on_delete=models.CASCADE, related_name="taxes")
    ordinal = models.PositiveSmallIntegerField(help_text="Counts the taxes of the line from 1.")
    kind = models.CharField(max_length=20, choices=TAX_KINDS)
    jurisdiction = models.CharField(max_length=10)
    name = models.CharField(max_length=50)
    rate = models.DecimalField(max_digits=9, decimal_places=8, help_text="A fraction of one.")
    inclusive = models.BooleanField(help_text="The line's amount contains it.")
    currency = models.CharField(max_length=3)
    taxable = money_field(help_text="What it is owed of: the line without tax, after discounts.")
    amount = money_field()
    reason = models.CharField(max_length=300, blank=True, help_text="Why there is no tax: the sentence on the invoice.")
    evidence = models.CharField(max_length=200, blank=True)

    objects = models.Manager["TaxLine"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["line", "ordinal"], name="tax_line_is_one_of_its_line"),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in TaxKind]), name="tax_line_kind_is_known"
            ),
            models.CheckConstraint(
                condition=Q(kind="taxed", rate__gte=0, rate__lt=1) | Q(rate=0, amount=0) & ~Q(reason=""),
                name="tax_line_has_a_rate_or_a_reason",
            ),
            fits_currency("taxable", "amount", name="tax_line_fits_its_currency"),
        ]
        triggers = frozen_with_parent(
            noun="taxes of issued line",
            parent_column="line_id",
            open_parent="SELECT 1 FROM invoicing_invoice invoice"
            " JOIN invoicing_invoiceline line ON line.invoice_id = invoice.id"
            " WHERE line.id = {row}.line_id AND invoice.status = 'draft' FOR SHARE OF invoice",
        )

    def __str__(self) -> str:
        return f"{self.name} {self.jurisdiction} on {self.line}"
