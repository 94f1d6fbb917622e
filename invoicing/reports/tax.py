"""The tax of a span: what was sold by registration, place, rate and treatment, before and with tax, and what of it is owed to the tax office.

Source: what tax returns ask for, net and tax of each rate (Art. 250 of Directive 2006/112/EC), and what is not taxed by its reason.
"""

from collections.abc import Sequence

from django.db.models import Q, Sum
from moneyed import Money

from billing_site.kernel.money import round_money, total
from invoicing.core.posting import ACCOUNT_NAMES, PREPAID_CREDIT, RECEIVABLE, REFUNDS_PAYABLE, TAX_PAYABLE
from invoicing.core.tax import TaxKind
from invoicing.core.tax_document import percent_text
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.queries import postings_of
from invoicing.reports.asking import Question
from invoicing.reports.report import Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie
from invoicing.reports.taxed_sales import DOCUMENTS, IS_PREPAID, TREATMENTS, TaxedSales, fetched, taxed_sales

ZERO_RATE = "Zero rate"
COLUMNS = (
    Column("registration", "Registration", is_optional=True, is_name=True),
    Column("seller", "Legal entity", is_optional=True),
    Column("jurisdiction", "Place", is_optional=True),
    Column("treatment", "Treatment"),
    Column("rate", "Rate", is_optional=True),
    Column("reason", "Why", is_optional=True),
    Column("documents", "Documents", ColumnKind.NUMBER),
    Column("net", "Net", ColumnKind.MONEY),
    Column("tax", "Tax", ColumnKind.MONEY),
    Column("gross", "With tax", ColumnKind.MONEY),
)
DEFINITION = (
    "What was invoiced in the span (UTC; where its month was closed by then, in the next one), after discounts and promotional credit, by the treatment that is stored with each line; an invoice that became void in it, "
    "and a credit note of it, count against it. Tax is owed from the invoice on, whether it is paid or not. What prepaid credit pays is taxed like anything else. Where a line owes "
    "two taxes, such as a country's and a region's, each row says what it is owed of, and the sum counts that once."
)

_PREPAID = f"""
    WITH document AS ({DOCUMENTS})
    SELECT line.currency, sum(document.sign * line.amount)
      FROM document JOIN invoicing_invoiceline line ON line.invoice_id = document.id
      JOIN invoicing_invoice invoice ON invoice.id = document.id
      JOIN invoicing_customer buyer ON buyer.id = invoice.customer_id
     WHERE {IS_PREPAID} AND (%(entity)s = '' OR buyer.legal_entity_id = %(entity)s) GROUP BY line.currency
"""


def tax_report(*, question: Question) -> Report:
    """Return what was sold and taxed in a span (S0-011, S0-119)."""
    sold = taxed_sales(question=question)
    paid_ahead = fetched(sql=_PREPAID, question=question)
    prepaid = {code: round_money(amount, code) for code, amount in paid_ahead}
    owed = _booked(question, Q(account__code=TAX_PAYABLE))
    invoiced = _invoiced(question)
    currencies = {code for code in {*sold, *owed, *invoiced} if question.currency in ("", code)}
    return Report(
        name="tax",
        title="Tax",
        asked=f"invoiced from {question.start} to {question.end}{question.of_whom}",
        columns=COLUMNS,
        sections=[_section(code, sold.get(code, ()), prepaid, owed, invoiced) for code in sorted(currencies)],
        definition=DEFINITION,
    )


def _section(
    currency: str,
    sold: Sequence[TaxedSales],
    prepaid: dict[str, Money],
    owed: dict[str, Money],
    invoiced: dict[str, Money],
) -> Section:
    nothing = total((), currency)
    net, tax = total((one.once for one in sold), currency), total((one.tax for one in sold), currency)
    totals = {"net": net, "tax": tax, "gross": net + tax}
    ties = (
        Tie("tax", tax, -owed.get(currency, nothing), f"account {TAX_PAYABLE} {ACCOUNT_NAMES[TAX_PAYABLE]}"),
        Tie(
            "with tax, less what prepaid credit pays",
            totals["gross"] + prepaid.get(currency, nothing),
            invoiced.get(currency, nothing),
            f"invoices on account {RECEIVABLE} {ACCOUNT_NAMES[RECEIVABLE]}, and what credit notes give back",
        ),
    )
    are_several = len({one.seller for one in sold}) > 1
    rows = [_row(one, seller=one.seller if are_several else None) for one in sold]
    return Section(currency, rows, totals, ties)


def _row(one: TaxedSales, *, seller: str | None) -> Row:
    is_taxed = one.kind == TaxKind.TAXED.value
    door = Door(DoorKind.ACCOUNT, TAX_PAYABLE)
    return Row(
        {
            "registration": _registration(one) or None,
            # Said only where there are several: what was closed before says the same.
            "seller": seller,
            "jurisdiction": one.jurisdiction or None,
            "treatment": ZERO_RATE if is_taxed and not one.rate else TREATMENTS[one.kind],
            "rate": f"{one.name} {percent_text(one.rate)}" if is_taxed else None,
            "reason": _told(one),
            "documents": one.documents,
            "net": one.net,
            "tax": one.tax,
            "gross": one.net + one.tax,
        },
        {"tax": door} if one.tax.amount else {},
    )


def _told(one: TaxedSales) -> str | None:
    """Return why there is no tax where the treatment does not say it: what an exemption says, else the sentence on the invoice up to its ground."""
    if one.kind == TaxKind.EXEMPT.value:
        return one.reason
    if one.kind == TaxKind.OUTSIDE_SCOPE.value:
        return one.reason.partition(":")[0]
    return None


def _registration(one: TaxedSales) -> str:
    """Return the number under which it is declared, with its place where the number does not say it."""
    if not one.registration or one.registration.startswith(one.registered_in):
        return one.registration
    return f"{one.registered_in} {one.registration}"


def _invoiced(question: Question) -> dict[str, Money]:
    """Return what invoices have asked for in the span, as the books say, less what credit notes gave back: off what is open, as credit, as money."""
    of_invoices = Q(entry__kind__in=(JournalEntry.Kind.ISSUE, JournalEntry.Kind.REVERSAL), account__code=RECEIVABLE)
    of_notes = Q(
        entry__kind=JournalEntry.Kind.CREDIT_NOTE, account__code__in=(RECEIVABLE, PREPAID_CREDIT, REFUNDS_PAYABLE)
    )
    return _booked(question, of_invoices | of_notes)


def _booked(question: Question, which: Q) -> dict[str, Money]:
    """Return what some postings come to in the span, by currency."""
    postings = postings_of(entity=question.books).filter(
        which,
        entry__booked_at__gte=question.span.start,
        entry__booked_at__lt=question.span.end,
    )
    sums = postings.values_list("currency").annotate(sum=Sum("amount"))
    return {code: round_money(amount, code) for code, amount in sums}
