"""Every notice says how much and where to pay, in plain text as in HTML, in each language and currency; nothing in a name is markup."""

import re
from datetime import date
from decimal import Decimal

import pytest
from moneyed import Money

from dunning.core.built_in import BUILT_IN
from dunning.core.notice_kinds import NoticeKind
from dunning.notices.facts import Facts, InvoiceFacts
from dunning.notices.rendering import Mail, render_mail
from invoicing.core.languages import LANGUAGES
from invoicing.entities.models import LegalEntity

LINK = "https://billing.example.com/portal/enter/abc:def_-/?a=1&b=2"
SELLER = LegalEntity(key="main", name="Example Inference GmbH", email="billing@example.com", address="Street 1\nBerlin")
AMOUNTS = {
    "EUR": ("1234.50", "EUR 1,234.50", "1.234,50 EUR"),
    "JPY": ("98000", "JPY 98,000", "98.000 JPY"),
    "KWD": ("12.345", "KWD 12.345", "12,345 KWD"),
    "CLF": ("7.1234", "CLF 7.1234", "7,1234 CLF"),
}


def mail(
    kind: NoticeKind = NoticeKind.REMINDER,
    *,
    language: str = "en",
    amount: str = "1234.50",
    currency: str = "EUR",
    count: int = 1,
    customer: str = "Acme GmbH",
    seller: LegalEntity = SELLER,
    acts_on: date | None = date(2026, 9, 8),
    link: str = LINK,
) -> Mail:
    each = Money(Decimal(amount), currency)
    invoices = tuple(
        InvoiceFacts(f"INV-2026-0000{number}", date(2026, 8, number), each) for number in range(1, count + 1)
    )
    return render_mail(
        kind=kind,
        words=BUILT_IN[language][kind],
        language=LANGUAGES[language],
        facts=Facts(invoices=invoices, total=each * count),
        customer_name=customer,
        seller=seller,
        acts_on=acts_on,
        link=link,
    )


@pytest.mark.requirement("S2-021")
@pytest.mark.parametrize("currency", AMOUNTS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", NoticeKind)
def test_every_built_in_notice_says_how_much_and_where_to_pay(kind: NoticeKind, language: str, currency: str) -> None:
    amount, *written = AMOUNTS[currency]
    told = written[list(LANGUAGES).index(language)]

    made = mail(kind, language=language, amount=amount, currency=currency)

    assert told in made.subject
    assert made.text.count(told) >= 2
    assert made.html.count(told) >= 2
    assert LINK in made.text
    assert made.html.count(f'class="button" href="{LINK.replace("&", "&amp;")}"') == 1
    for text in (made.subject, made.text, made.html):
        assert "{" not in re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    assert "INV-2026-00001" in made.text
    assert "INV-2026-00001" in made.html


def test_text_and_html_say_the_same() -> None:
    made = mail(NoticeKind.SUSPENDED, count=3)

    words = re.sub(r"<style>.*?</style>|<title>.*?</title>", "", made.html, flags=re.S)
    read = " ".join(re.sub(r"<[^>]+>", " ", words).replace("&#x27;", "'").split())
    for paragraph in made.text.split("\n\n"):
        sentence = " ".join(paragraph.split("\n")[0].split())
        if not sentence.startswith(("Invoice ", "Pay ")):
            assert sentence in read, sentence
    assert "Total: EUR 3,703.50" in made.text
    assert read.count("EUR 1,234.50") == 3


def test_without_a_day_nothing_is_said_about_the_next_step() -> None:
    made = mail(NoticeKind.FINAL_NOTICE, acts_on=None)

    assert "close your account on" not in made.text
    assert "{acts_on}" not in made.text
    assert "8 September 2026" in mail(NoticeKind.FINAL_NOTICE).text


@pytest.mark.parametrize(
    "name",
    [
        '<script>alert("x")</script>',
        '"><img src=x onerror=alert(1)>',
        "{payment_link}{total}",
        "{{ settings.SECRET_KEY }}{% debug %}",
        "Evil\r\nBcc: everybody@example.com\r\n\r\n<h1>Paid</h1>",
        "Robert'); DROP TABLE dunning_notice;--",
    ],
)
def test_nothing_in_a_name_is_markup_or_a_header(name: str) -> None:
    plain = mail(NoticeKind.REMINDER, customer="NAME")

    made = mail(NoticeKind.REMINDER, customer=name, seller=LegalEntity(name=name, email="b@example.com", address=name))

    assert not {"\r", "\n"} & set(made.subject)
    assert "<script" not in made.html
    assert "<img" not in made.html
    assert "<h1" not in made.html
    assert made.html.count("<a ") == plain.html.count("<a ")
    assert "{{ settings" not in name or "{{ settings.SECRET_KEY }}" in made.text


def test_a_very_long_name_is_cut_and_one_without_spaces_breaks() -> None:
    made = mail(customer="W" * 300)

    assert "W" * 120 not in made.text
    assert "W" * 119 + "…" in made.text
    assert "overflow-wrap: anywhere" in made.html


def test_mails_are_drawn_for_light_and_dark_and_load_nothing_from_elsewhere() -> None:
    made = mail()

    assert "prefers-color-scheme: dark" in made.html
    assert 'content="light dark"' in made.html
    assert not re.search(r"<(img|script|link|iframe)\b|url\(|@import", made.html)
