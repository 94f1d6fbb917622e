"""The portal in the language of its customer: no text of a template stands without its German one, and pages are German throughout."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from billing_site.portal.forms import AT_LIMIT, PERCENTS, REFUSED_OTHERWISE, BudgetForm
from billing_site.portal.forms import REFUSED as REFUSED_OF_BUDGETS
from billing_site.portal.german import GERMAN
from billing_site.portal.queries.credit import WORDS
from billing_site.portal.templatetags.portal import MARKS
from billing_site.portal.words import ASK_THE_BANK, CHANNELS, LEAVE_ANOTHER, OTHER_CHANNEL, PAY_HERE, REFUSALS
from billing_site.portal.words import REFUSED_WITHOUT_REASON as REFUSED
from invoicing.customers.models import Customer
from invoicing.ledger.models import JournalEntry
from invoicing.reports.receivables import RECEIVABLE_SOURCES
from invoicing.reports.statement import ON_ACCOUNT_WORDS
from tests.billing_site.portal.reading import text_of

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = sorted((ROOT / "templates/portal").glob("*.html"))
# The same in every language.
NAMES = (
    "PDF",
    "XML (ZUGFeRD, Factur-X)",
    "XML (UBL)",
    "XML",
    "python3 check_invoice.py",
    "-proof.json",
    "-events.ndjson",
)
# What is said of what other places name: of lists, of stored words, of reports.
NAMED = {
    *(WORDS.values()),
    *(state for state in MARKS if state not in ("equal", "different")),
    *(REFUSALS.values()),
    *(CHANNELS.values()),
    *(words for _, words in AT_LIMIT),
    *(str(field.label) for field in BudgetForm.base_fields.values()),
    *(str(field.help_text) for field in BudgetForm.base_fields.values() if field.help_text),
    *(REFUSED_OF_BUDGETS.values()),
    REFUSED_OTHERWISE,
    *(PERCENTS, PAY_HERE, ASK_THE_BANK, LEAVE_ANOTHER, OTHER_CHANNEL, REFUSED, "When the whole amount is spent"),
    *("before tax", "with tax", "this link is not valid any more"),
    *("Only fixed fees are charged in this period.", "There is no invoice of one plan alone yet."),
    "No other plan that is sold can be compared with these invoices.",
    *("Opening balance", "Closing balance", *ON_ACCOUNT_WORDS.values()),
    *(str(JournalEntry.Kind(kind).label) for kind in RECEIVABLE_SOURCES),
}


def said_in_templates() -> set[str]:
    """Every phrase that a template says by its words."""
    return {text for file in TEMPLATES for text in re.findall(r'{% say "([^"]+)"', file.read_text(encoding="utf-8"))}


def said_in_code() -> Iterator[str]:
    """Every phrase that the portal's code says by its words; a sentence that is put together first is found by its name."""
    for file in (ROOT / "billing_site/portal").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "phrase" and node.args:
                if isinstance(node.args[0], ast.Constant):
                    yield node.args[0].value
            elif (
                isinstance(node, ast.Assign)
                and getattr(node.targets[0], "id", "") == "words"
                and isinstance(node.value, ast.Constant)
            ):
                yield node.value.value


def parts_of(text: str) -> list[str]:
    return sorted({name for _, name, _, _ in Formatter().parse(text) if name})


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_no_text_of_a_template_stands_outside_of_a_phrase(file: Path) -> None:
    page = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}", "", file.read_text(encoding="utf-8"), flags=re.S)
    attributes = " ".join(re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]*)"', page))
    text = re.sub(r"<[^>]*>", " ", page)
    for name in NAMES:
        text = text.replace(name, " ")

    assert not re.findall(r"[A-Za-z]{2,}[^<\n]*", f"{text} {attributes}")


def test_each_phrase_has_its_german_one_with_the_same_parts_and_none_is_left_over() -> None:
    said = {*said_in_templates(), *said_in_code(), *NAMED}

    assert said - set(GERMAN) == set(), "no German words"
    assert set(GERMAN) - said == set(), "never said"
    for english, german in GERMAN.items():
        assert parts_of(english) == parts_of(german), english


def test_a_german_customer_reads_every_page_in_german(july, visit) -> None:
    Customer.objects.update(language="de")
    client = visit("cust_acme")
    number, english = july.number, {text for text, told in GERMAN.items() if len(text) > 8 and text != told}
    sentences = [part for text in english for part in re.split(r"{\w+}", text) if len(part.strip()) > 8]
    pages = {
        path: text_of(client.get(f"/portal/{path}").content.decode())
        for path in (
            *("", "invoices/", "credit/", "alerts/", "card/", "notices/", "data/", "statement/", "saving/"),
            *(f"invoices/{number}/", f"invoices/{number}/event/?key=nothing", "invoices/nothing/"),
        )
    }

    for path, page in pages.items():
        assert [part for part in sentences if part in page] == [], path
    assert "Bisher 34,25 USD Im Zeitraum davor waren es an dieser Stelle 64,00 USD" in pages[""]
    assert "Actions: heute und noch 20 Tage 157.500 action erwartet, wie in den letzten 4 Wochen." in pages[""]
    assert "Jede Einheit kostet den Preis ihrer Staffel. Erste 210.000 action zu 25,00 USD je Million" in pages[""]
    of_july = pages[f"invoices/{number}/"]
    assert "64,00 USD sind am 15. August 2026 fällig. Bitte überweisen Sie" in of_july
    assert "Nächste 500.000,5 action zu 20,00 USD je Million" in of_july and "● offen" in of_july
    assert f"1. August 2026 Rechnung {number} geschuldet 64,00 USD" in pages["statement/"]
    assert "Sie haben keine Rechnung nothing." in pages["invoices/nothing/"]


@pytest.mark.parametrize(
    ("field", "wrong", "told"),
    [
        ("amount", "viel", "Schreiben Sie eine Zahl mit Punkt"),
        ("amount", "NaN", "Schreiben Sie eine Zahl mit Punkt"),
        ("amount", "-1", "Es muss mehr als nichts sein."),
        ("amount", "0", "Es muss mehr als nichts sein."),
        ("amount", "1.001", "Es hat mehr Nachkommastellen als Ihre Währung."),
        ("amount", "1" + "0" * 25, "Das ist zu viel."),
        ("amount", "1" + "0" * 30, "Das ist zu viel."),
        ("thresholds", "2000", "Jeder Prozentsatz muss von 1 bis 1000 sein."),
        ("projected_thresholds", "2000", "Jeder Prozentsatz muss von 1 bis 1000 sein."),
        ("thresholds", ", ".join(map(str, range(1, 22))), "Schreiben Sie höchstens 20 Prozentsätze."),
    ],
)
def test_what_an_operation_refuses_of_a_budget_is_told_in_german(acme, visit, field, wrong, told) -> None:
    Customer.objects.update(language="de")
    right = {"name": "Mein Budget", "amount": "5", "thresholds": "50", "at_limit": "notify"}

    page = visit("cust_acme").post("/portal/alerts/", right | {field: wrong})

    assert told in page.context["form"].errors[field][0]


def test_each_code_by_which_a_budget_may_be_refused_has_words_in_the_portal() -> None:
    told = {code for _, code in REFUSED_OF_BUDGETS}
    # Of the key and of what the form reads or offers itself nothing can be wrong.
    never = {"required", "wrong_type", "unknown", "currency_differs", "not_changeable"}
    source = (ROOT / "invoicing/spend/operations.py").read_text(encoding="utf-8")
    named = {*re.findall(r'FieldError\([^,()]+, "(\w+)"', source), *re.findall(r'code="(\w+)"', source)}
    numbers = re.findall(r'Mistake\("(\w+)"', (ROOT / "invoicing/core/numbers.py").read_text(encoding="utf-8"))

    assert {*named, *numbers} - never == told


def test_a_refused_budget_is_told_in_german(july, visit) -> None:
    Customer.objects.update(language="de")
    client = visit("cust_acme")

    page = client.post("/portal/alerts/", {"name": "", "amount": "5", "thresholds": "half", "at_limit": "notify"})

    told = text_of(page.content.decode())
    assert "Schreiben Sie ganze Prozente" in told
    assert "Dieses Feld ist zwingend erforderlich." in told and "This field" not in told
