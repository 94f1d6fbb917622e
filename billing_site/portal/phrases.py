"""What the portal says, in the language of its customer: English phrases, and the words for each of them in others.

While a page is made its language is the one that Django has active (`views.py`), so that whatever is said on the way needs not to be told it.
"""

import re
from datetime import date
from decimal import Decimal
from typing import Any, Final

from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from moneyed import Money

from billing_site.portal.german import GERMAN
from invoicing.core.languages import ENGLISH, LANGUAGES, Language
from invoicing.core.spans import date_text
from invoicing.invoices.printed_text import money_text, quantity_text

CATALOGUES: Final = {"de": GERMAN}
# What we count ourselves; units of products are their seller's words.
NOUNS: Final = {
    "de": {
        "usage event": ("Nutzungsereignis", "Nutzungsereignisse"),
        "time": ("Mal", "Mal"),
    }
}
# How the report of that name says what a document of a statement is.
DOCUMENT: Final = re.compile(
    r"(?:Invoice (?P<invoice>\S+)|(?P<what>.+?)(?:, invoice (?P<of>\S+))?)(?: \(of (?P<day>\S+), whose month was closed\))?"
)


def spoken() -> Language:
    """Return the language of the page that is being made."""
    return LANGUAGES.get(get_language() or "", ENGLISH)


def phrase(text: str, **values: Any) -> SafeString:
    """Return a phrase in the language of the page, its money and days written as there; what it is filled with is escaped.

    What is none of ours, a name or a sentence of the engine, stays as it is.
    """
    language = spoken()
    words = CATALOGUES.get(language.code, {}).get(text, text)
    if not values:
        return conditional_escape(words)
    return format_html(words, **{key: written(value, language) for key, value in values.items()})


def counted_words(unit: str, amount: Decimal | int) -> str:
    """Return a unit in the number of the amount."""
    language = spoken()
    nouns = NOUNS.get(language.code, {})
    return nouns[unit][amount != 1] if unit in nouns else language.counted(unit, amount)


def money_words(money: Money) -> str:
    """Write money as text, as the language of the page has it."""
    return money_text(money=money, language=spoken())


def day_words(day: date) -> str:
    """Write a day as the language of the page has it."""
    return date_text(day=day, language=spoken())


def quantity_words(quantity: Decimal) -> str:
    """Write a quantity as the language of the page has it."""
    return quantity_text(quantity=quantity, language=spoken())


def written(value: Any, language: Language) -> Any:
    """Write money, numbers and days as a language has them; anything else is as it is."""
    match value:
        case Money():
            return format_html('<span class="money">{}</span>', money_text(money=value, language=language))
        case Decimal():
            return quantity_text(quantity=value, language=language)
        case date():
            return date_text(day=value, language=language)
    return value
