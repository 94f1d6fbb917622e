"""What is true about invoices: runs, series, invoices, their lines, and corrections of lines."""

from invoicing.invoices.models.correction import CorrectionDecision, CorrectionRule, UsageCorrection
from invoicing.invoices.models.invoice import (
    BillingRun,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    TaxState,
)
from invoicing.invoices.models.life import written_off_sql
from invoicing.invoices.models.line import STATED, InvoiceLine, LineKind
from invoicing.invoices.models.objection import Objection
from invoicing.invoices.models.progressive import ProgressiveInvoice
from invoicing.invoices.models.series import InvoiceSeries, is_of_the_year_sql, number_sql
from invoicing.invoices.models.tax import TaxLine

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
    "Objection",
    "ProgressiveInvoice",
    "TaxLine",
    "TaxState",
    "UsageCorrection",
    "is_of_the_year_sql",
    "number_sql",
    "written_off_sql",
]
