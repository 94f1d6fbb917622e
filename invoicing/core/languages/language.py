"""What a language has to know to print a document: its phrases, and how it writes figures, money, days and spans of days."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final

from billing_site.kernel.words import counted

EN_DASH: Final = "\N{EN DASH}"
MINUS: Final = "\N{MINUS SIGN}"
MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def _stored(phrase: str, part: str) -> tuple[str, re.Pattern[str]]:
    return phrase, re.compile(re.escape(phrase).replace(rf"\{{{part}\}}", f"(?P<{part}>.+)"))


# Sentences that are stored with a part in them (tax_rules.py, told_tax.py, invoices/taxes.py).
STORED: Final = (
    _stored("No tax is charged: the seller is not registered for tax in {place}.", "place"),
    _stored("Not subject to tax in {place}.", "place"),
    _stored("Exempt from tax in {place}.", "place"),
    _stored("Corrects invoice {number}, which was issued without tax.", "number"),
)


@dataclass(frozen=True)
class Language:
    """A language of documents; `phrases` are by their English ones, `nouns` singular and plural of the units that we name ourselves.

    English has neither: its phrases are themselves, and its plurals follow a rule. Units of products are their seller's words, which only English puts into the plural.
    """

    code: str
    name: str
    phrases: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    nouns: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False, hash=False)
    months: tuple[str, ...] = MONTHS
    thousands: str = ","
    point: str = "."
    after_day: str = ""
    names_currency_last: bool = False

    def say(self, phrase: str, **parts: str) -> str:
        """Say a phrase of ours with its parts, which are final."""
        return (self.phrases[phrase] if self.phrases else phrase).format(**parts)

    def told(self, sentence: str) -> str:
        """Say a sentence that is stored in English: as it is, where it is none of ours."""
        if not self.phrases or sentence in self.phrases:
            return self.phrases.get(sentence, sentence)
        for phrase, pattern in STORED:
            if found := pattern.fullmatch(sentence):
                return self.say(phrase, **found.groupdict())
        return sentence

    def figure(self, text: str) -> str:
        """Write a plain number with its thousands apart: 1234567.5 → 1,234,567.5; a minus becomes a true one."""
        sign, digits = (MINUS, text[1:]) if text.startswith("-") else ("", text)
        whole, point, decimals = digits.partition(".")
        grouped = f"{int(whole):,}" if self.thousands == "," else f"{int(whole):,}".replace(",", self.thousands)
        return f"{sign}{grouped}{self.point if point else ''}{decimals}"

    def decimal(self, text: str) -> str:
        """Write a plain number as it is, with the point of the language: 2.9, 1500."""
        return text.replace(".", self.point)

    def money(self, figure: str, *, currency: str) -> str:
        """Write a figure with its currency, where a reader looks for it."""
        return f"{figure} {currency}" if self.names_currency_last else f"{currency} {figure}"

    def counted(self, unit: str, amount: Decimal | int) -> str:
        """Return a unit in the number of the amount."""
        if not self.phrases:
            return counted(unit, amount)
        return self.nouns[unit][amount != 1] if unit in self.nouns else unit

    def day_text(self, day: date) -> str:
        """Write a date so that no country misreads it: 1 November 2026."""
        return f"{self._day(day)} {self.months[day.month - 1]} {day.year}"

    def month_text(self, day: date) -> str:
        """Write a month: July 2026."""
        return f"{self.months[day.month - 1]} {day.year}"

    def span(self, first: date, last: date) -> str:
        """Write days from the first to the last, both included, without repeating month and year: 1 – 31 October 2026."""
        if first == last:
            return self.day_text(last)
        if (first.year, first.month) == (last.year, last.month):
            return f"{self._day(first)} {EN_DASH} {self.day_text(last)}"
        if first.year == last.year:
            return f"{self._day(first)} {self.months[first.month - 1]} {EN_DASH} {self.day_text(last)}"
        return f"{self.day_text(first)} {EN_DASH} {self.day_text(last)}"

    def span_told(self, text: str) -> str:
        """Write a span that is stored in English."""
        if not self.phrases:
            return text
        told = re.sub(r"\b(\d{1,2})\b", lambda found: f"{found[1]}{self.after_day}", text)
        return re.sub("|".join(MONTHS), lambda found: self.months[MONTHS.index(found[0])], told)

    def _day(self, day: date) -> str:
        return f"{day.day}{self.after_day}"


ENGLISH: Final = Language(code="en", name="English")
