"""What words would say to a customer: made as a mail is made, with the invoices as they are now, and never sent."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from moneyed import Money

from billing_site.kernel.errors import FieldError
from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import ACTS_ON, Words, word_mistakes
from dunning.notices.facts import Facts, InvoiceFacts, facts_of
from dunning.notices.rendering import Mail, render_mail
from invoicing.core.invoice_life import STANDING
from invoicing.core.languages import language_of
from invoicing.customers.models import Customer
from invoicing.entities.operations import first_entity
from invoicing.invoices.models import Invoice, InvoiceStatus

# A mail about more invoices looks no other.
INVOICES_MAX = 5
NEXT_STEP_AFTER = timedelta(days=7)
SCHEME = re.compile(r"@media \(prefers-color-scheme: dark\)")
EXAMPLE_NAME = "Example Customer Ltd"


@dataclass(frozen=True)
class Preview:
    """A mail as it would be, drawn for both themes; or what is wrong with the words. `of` says whose figures it shows, `example_day` which day in it
    is none of theirs: that of the next step.
    """

    of: str
    mail: Mail | None = None
    light: str = ""
    dark: str = ""
    example_day: date | None = None
    mistakes: tuple[FieldError, ...] = ()


def preview_mail(*, kind: NoticeKind, language: str, words: Words, customer: Customer | None, at: datetime) -> Preview:
    """Fill words in with the figures of a customer, or, where there is none yet, with an example's."""
    facts, of = _facts(kind, customer, at=at)
    if mistakes := word_mistakes(words):
        return Preview(of=of, mistakes=tuple(mistakes))
    next_step = (at + NEXT_STEP_AFTER).date()
    mail = render_mail(
        kind=kind,
        words=words,
        language=language_of(code=language),
        facts=facts,
        customer_name=customer.name if customer else EXAMPLE_NAME,
        seller=customer.legal_entity if customer else first_entity(),
        acts_on=next_step,
        link=f"{settings.PUBLIC_URL}/portal/",
    )
    is_told = f"{{{ACTS_ON}}}" in "".join((words.subject, words.body, words.button))
    return Preview(
        of=of,
        mail=mail,
        light=in_theme(mail.html, "light"),
        dark=in_theme(mail.html, "dark"),
        example_day=next_step if is_told else None,
    )


def in_theme(html: str, theme: str) -> str:
    """Return a mail as a reader with this theme sees it, whatever the theme of whoever looks at it here."""
    fixed = SCHEME.sub("@media all" if theme == "dark" else "@media not all", html)
    return fixed.replace("light dark", theme)


def customers_to_show() -> list[Customer]:
    """Return customers whose figures a preview can show: those with open invoices, the longest overdue first."""
    found: dict[int, Customer] = {}
    open_ones = Invoice.objects.filter(status=InvoiceStatus.ISSUED).select_related("customer__legal_entity")
    for invoice in open_ones.order_by("due_date", "id")[:200]:
        found.setdefault(invoice.customer_id, invoice.customer)
    return list(found.values())[:30]


def _facts(kind: NoticeKind, customer: Customer | None, *, at: datetime) -> tuple[Facts, str]:
    if customer is not None:
        issued = customer.invoices.filter(status__in=STANDING).order_by("due_date", "id")
        owed = facts_of(kind=kind, invoices=list(issued.filter(status=InvoiceStatus.ISSUED)[:INVOICES_MAX]))
        if not owed.why_not:
            return owed, f"what is open of {customer}"
        settled = list(issued.reverse()[:1])
        if settled:
            return facts_of(
                kind=NoticeKind.RESTORED, invoices=settled
            ), f"the newest invoice of {customer}, as if it were open"
    return _example(at.date()), "an example"


def _example(today: date) -> Facts:
    amount = Money("1234.50", settings.DEFAULT_CURRENCY)
    rows = tuple(
        InvoiceFacts(f"INV-{today.year}-0000{number}", today - timedelta(days=14), amount) for number in (1, 2)
    )
    return Facts(invoices=rows, total=amount * 2, instalment=amount, charges=Money("12.34", settings.DEFAULT_CURRENCY))
