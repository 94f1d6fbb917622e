"""What a notice says for one customer: subject, plain text and HTML, made of the same paragraphs of the same words."""

from dataclasses import dataclass
from datetime import date

from django.template.loader import render_to_string
from moneyed import Money

from dunning.core.mail_words import mail_words
from dunning.core.notice_kinds import NoticeKind, is_demanding
from dunning.core.wording import (
    ACTS_ON,
    CHARGES,
    CUSTOMER,
    DUE_DATE,
    INSTALMENT,
    SELLER,
    TOTAL,
    Block,
    BlockKind,
    Words,
    filled_blocks,
    filled_line,
    short_name,
)
from dunning.notices.facts import Facts, InvoiceFacts
from invoicing.core.languages import Language
from invoicing.entities.models import LegalEntity
from invoicing.invoices.printed_text import money_text


@dataclass(frozen=True)
class InvoiceRow:
    """An invoice in the words of the mail's language."""

    number: str
    due: str
    amount: str


@dataclass(frozen=True)
class Mail:
    """A notice as it is sent."""

    subject: str
    text: str
    html: str


def render_mail(
    *,
    kind: NoticeKind,
    words: Words,
    language: Language,
    facts: Facts,
    customer_name: str,
    seller: LegalEntity,
    acts_on: date | None,
    link: str,
) -> Mail:
    """Fill the words in for one customer. Everything that is filled in is text: in HTML it is escaped, in the subject it is on one line."""
    assert facts.total is not None and facts.invoices, "there is something to tell"
    values = {
        CUSTOMER: short_name(customer_name),
        SELLER: short_name(seller.name),
        TOTAL: _money(facts.total, language),
        DUE_DATE: language.day_text(facts.invoices[0].due_date),
        **({ACTS_ON: language.day_text(acts_on)} if acts_on else {}),
        **({INSTALMENT: _money(facts.instalment, language)} if facts.instalment else {}),
        **({CHARGES: _money(facts.charges, language)} if facts.charges else {}),
    }
    blocks = filled_blocks(words.body, values)
    rows = [_row(one, language) for one in facts.invoices]
    ours = mail_words(language.code)
    subject, button = filled_line(words.subject, values), filled_line(words.button, values)
    contact = ours["contact"].format(email=seller.email) if seller.email else ""
    context = {
        "language": language.code,
        "subject": subject,
        "blocks": blocks,
        "button": button,
        "link": link,
        "rows": rows,
        "total": values[TOTAL],
        "amount_title": ours["open" if is_demanding(kind) else "paid"],
        "ours": ours,
        "contact": contact,
        "seller": values[SELLER],
        "address": [line for line in seller.address.splitlines() if line.strip()],
    }
    return Mail(
        subject=subject,
        text=_text(blocks, rows, total=values[TOTAL], button=button, link=link, contact=contact, ours=ours),
        html=render_to_string("email/notice.html", context),
    )


def _text(
    blocks: tuple[Block, ...],
    rows: list[InvoiceRow],
    *,
    total: str,
    button: str,
    link: str,
    contact: str,
    ours: dict[str, str],
) -> str:
    """Write the plain text: it says all that the HTML says."""
    listed = [ours["invoice_line"].format(number=row.number, day=row.due, amount=row.amount) for row in rows]
    if len(rows) > 1:
        listed.append(f"{ours['all']}: {total}")
    parts = {BlockKind.BUTTON: f"{button}:\n{link}", BlockKind.INVOICES: "\n".join(listed)}
    paragraphs = [parts.get(block.kind, block.text) for block in blocks]
    foot = [contact] if contact else []
    return "\n\n".join([*paragraphs, *foot]) + "\n"


def _row(facts: InvoiceFacts, language: Language) -> InvoiceRow:
    return InvoiceRow(facts.number, language.day_text(facts.due_date), _money(facts.amount, language))


def _money(money: Money, language: Language) -> str:
    return money_text(money=money, language=language)
