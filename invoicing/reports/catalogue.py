"""Which reports there are: name, what each asks for, and the function that answers."""

from collections.abc import Callable
from dataclasses import dataclass

from billing_site.kernel.errors import NotFound
from invoicing.reports.aged_receivables import aged_receivables_report, open_invoices_report
from invoicing.reports.asking import Question
from invoicing.reports.deferred import deferred_revenue_report
from invoicing.reports.ec_sales import ec_sales_report
from invoicing.reports.general_ledger import account_movements_report, general_ledger_report
from invoicing.reports.recurring import mrr_by_customer_report, mrr_report
from invoicing.reports.report import Report
from invoicing.reports.statement import statement_report
from invoicing.reports.tax import tax_report
from invoicing.reports.trial_balance import trial_balance_report

DAY, SPAN, OF_BOOKS = ("as_of",), ("start", "end"), ("currency", "legal_entity")


@dataclass(frozen=True)
class ReportKind:
    """One report of the catalogue: what it is called, the question that it answers, what it asks for."""

    name: str
    title: str
    answers: str
    asks: tuple[str, ...]
    build: Callable[..., Report]
    empty: str

    def answer(self, *, question: Question) -> Report:
        """Return the report."""
        return self.build(question=question)


REPORTS: tuple[ReportKind, ...] = (
    ReportKind(
        "trial-balance",
        "Trial balance",
        "What stands on every account, as of a day.",
        (*DAY, *OF_BOOKS),
        trial_balance_report,
        "The books are empty as of this day. Issuing the first invoice writes the first entry.",
    ),
    ReportKind(
        "account-movements",
        "Account movements",
        "What moved on every account in a span, from opening to closing balance.",
        (*SPAN, *OF_BOOKS),
        account_movements_report,
        "Nothing is in the books by the end of this span. Issuing the first invoice writes the first entry.",
    ),
    ReportKind(
        "general-ledger",
        "General ledger",
        "Every posting to one account in a span, with the running balance.",
        (*SPAN, "account", *OF_BOOKS),
        general_ledger_report,
        "Nothing was posted to this account by the end of this span.",
    ),
    ReportKind(
        "aged-receivables",
        "Aged receivables",
        "Who owes how much, and for how long it is overdue, as of a day.",
        (*DAY, "customer_id", *OF_BOOKS),
        aged_receivables_report,
        "Nobody owed anything as of this day. An issued invoice stands here until it is paid.",
    ),
    ReportKind(
        "open-invoices",
        "Open invoices",
        "Which invoices are open, as of a day.",
        (*DAY, "customer_id", *OF_BOOKS),
        open_invoices_report,
        "No invoice was open as of this day. An issued invoice stands here until it is paid.",
    ),
    ReportKind(
        "statement",
        "Customer statement",
        "What one customer owed, was charged and has paid in a span.",
        ("customer_id", *SPAN, "currency"),
        statement_report,
        "Name a customer by its key, such as cust_acme. One without documents has nothing to state.",
    ),
    ReportKind(
        "deferred-revenue",
        "Deferred revenue",
        "What is paid and not earned yet, and when it becomes revenue.",
        (*DAY, *OF_BOOKS),
        deferred_revenue_report,
        "Nothing was paid before it was earned, as of this day. Fees in advance, prepaid commitments and prepaid credit stand here.",
    ),
    ReportKind(
        "tax",
        "Tax",
        "What was sold and taxed in a span, by registration, place, rate and treatment.",
        (*SPAN, *OF_BOOKS),
        tax_report,
        "Nothing was invoiced in this span. An issued invoice stands here with its tax, or why there is none.",
    ),
    ReportKind(
        "ec-sales-list",
        "EC sales list",
        "What was sold by reverse charge to companies elsewhere in the European Union in a span, by VAT id.",
        (*SPAN, *OF_BOOKS),
        ec_sales_report,
        "Nothing was invoiced in this span. What is sold to companies elsewhere in the Union stands here by their VAT ids.",
    ),
    ReportKind(
        "mrr",
        "Monthly recurring revenue",
        "What fees come to in a month, and why that moved: new, expansion, contraction, churn, reactivation.",
        (*SPAN, *OF_BOOKS),
        mrr_report,
        "No customer has a flat fee in these months. A subscription to a plan with one begins the count.",
    ),
    ReportKind(
        "mrr-by-customer",
        "Recurring revenue by customer",
        "Whose fees moved in these months, and why.",
        (*SPAN, "customer_id", *OF_BOOKS),
        mrr_by_customer_report,
        "No customer has a flat fee in these months. A subscription to a plan with one begins the count.",
    ),
)
BY_NAME = {kind.name: kind for kind in REPORTS}


def report_kind(*, name: str) -> ReportKind:
    """Return a report of the catalogue; raises NotFound."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise NotFound(f"there is no report {name!r}; there are {', '.join(BY_NAME)}", field="report") from None
