"""What is true about invoices: runs, series, invoices, their lines, and corrections of lines."""

from invoicing.invoices.models.correction import CorrectionDecision, CorrectionRule, UsageCorrection
from invoicing.invoices.models.invoice import BillingRun, Invoice, InvoiceKind, InvoiceSeries, InvoiceStatus, number_sql
from invoicing.invoices.models.line import STATED, InvoiceLine, LineKind

__all__ = [
    "STATED",
    "BillingRun",
    "CorrectionDecision",
    "CorrectionRule",
    "Invoice",
    "InvoiceKind",
    "InvoiceLine",
    "InvoiceSeries",
    "InvoiceStatus",
    "LineKind",
    "UsageCorrection",
    "number_sql",
]
