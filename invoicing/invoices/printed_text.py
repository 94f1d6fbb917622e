"""Words and figures as documents print them: figures in their language, and people's text made safe to set."""

import re
import unicodedata
from decimal import Decimal
from typing import Final

from moneyed import Money

from billing_site.kernel.money import exponent, plain
from invoicing.core.languages import ENGLISH, Language

# Stands for a character that no bundled font can draw: PDF/A refuses missing glyphs, a customer must not be refused.
UNDRAWABLE: Final = "\N{WHITE SQUARE}"
# A word longer than this may break anywhere, so that it never runs into the next column.
WORD_LENGTH_MAX: Final = 22
# A page header names the customer on one line.
SHORTENED_LENGTH_MAX: Final = 60


def money_text(*, money: Money, language: Language = ENGLISH) -> str:
    """Write money for people: "EUR 1,234.50", "JPY −900"; digits beyond the minor unit are kept, never rounded."""
    currency = money.currency.code
    figure = amount_text(amount=money.amount, decimals_min=exponent(currency), language=language)
    return language.money(figure, currency=currency)


def quantity_text(*, quantity: Decimal, language: Language = ENGLISH) -> str:
    """Write a quantity for people: "15,000,000", "10.5", "−3"."""
    return amount_text(amount=quantity, decimals_min=0, language=language)


def amount_text(*, amount: Decimal, decimals_min: int, language: Language = ENGLISH) -> str:
    """Write a decimal with its thousands apart and at least so many decimals; nothing is rounded."""
    whole, _, decimals = plain(amount).partition(".")
    decimals = decimals.ljust(decimals_min, "0")
    return language.figure(f"{whole}.{decimals}" if decimals else whole)


def line_of(text: str) -> str | list[str]:
    """Return text for one paragraph: white space collapsed, and in pieces if a word is too long to fit a column."""
    return _pieces(" ".join(_drawable(text).split()))


def lines_of(text: str) -> list[str | list[str]]:
    """Return the non-empty lines of a text, each as `line_of` does."""
    return [line_of(line) for line in text.splitlines() if line.strip()]


def shortened(text: str) -> str | list[str]:
    """Return a text short enough for one line of a page header, in the shape that `line_of` returns."""
    words = " ".join(_drawable(text).split())
    return _pieces(words if len(words) <= SHORTENED_LENGTH_MAX else words[: SHORTENED_LENGTH_MAX - 1].rstrip() + "…")


def _drawable(text: str) -> str:
    """Return composed text without control, formatting, private and unassigned characters.

    Direction overrides would let a customer's name reverse the figures beside it.
    """
    kept = []
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        if character.isspace():
            kept.append(" ")
        elif category in ("Co", "Cs", "Cn"):
            kept.append(UNDRAWABLE)
        elif category not in ("Cc", "Cf"):
            kept.append(character)
    return "".join(kept)


def _pieces(text: str) -> str | list[str]:
    """Cut a text between all characters of its overlong words; the template allows a line break at each cut."""
    if all(len(word) <= WORD_LENGTH_MAX for word in text.split(" ")):
        return text
    pieces: list[str] = []
    for word in re.split(r"(?<= )", text):
        pieces += [word] if len(word) <= WORD_LENGTH_MAX else _clusters(word)
    return pieces


def _clusters(word: str) -> list[str]:
    """Split a word into characters, each with the marks that combine with it."""
    return re.findall(r"[^\u0300-\u036f][\u0300-\u036f]*|[\u0300-\u036f]+", word)
