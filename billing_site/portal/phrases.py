"""What the portal says of what is owed, in the language of its customer: English phrases, and the words for each of them in others.

The bar above every page, what is said about paying late and of a closed account, and the pages of notices and data speak it, as the mails do
that lead to them; the other pages are in English.
"""

from datetime import date
from decimal import Decimal
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from moneyed import Money

from invoicing.core.languages import ENGLISH, Language
from invoicing.core.spans import date_text
from invoicing.invoices.printed_text import money_text, quantity_text

GERMAN = {
    "Overdue": "Überfällig",
    "One invoice is overdue: {amount}": "Eine Rechnung ist überfällig: {amount}",
    "{count} invoices are overdue: {amount}": "{count} Rechnungen sind überfällig: {amount}",
    "due {day}": "fällig am {day}",
    "and more": "und weitere",
    "{amount} that you object to are not in it.": "{amount}, denen Sie widersprochen haben, sind nicht dabei.",
    "Please pay before {day}.": "Bitte zahlen Sie vor dem {day}.",
    "Open it to see what to do.": "Öffnen Sie sie: dort steht, was zu tun ist.",
    "Open an invoice to see what to do.": "Öffnen Sie eine Rechnung: dort steht, was zu tun ist.",
    "Pay {amount}": "{amount} zahlen",
    "See how to pay": "Wie Sie zahlen können",
    "See what is open": "Was offen ist",
    "Your account was closed on {day}": "Ihr Konto wurde am {day} geschlossen",
    "Access has ended.": "Der Zugang ist beendet.",
    "The final invoice is": "Die Schlussrechnung ist",
    "The final invoice comes after {day}, when its period is over.": "Die Schlussrechnung kommt nach dem {day}, wenn ihr Zeitraum vorbei ist.",
    "Take your statement and your data along": "Kontoauszug und Daten mitnehmen",
    "Your data": "Ihre Daten",
    "What we keep of you, to be read by people and programs.": "Was wir von Ihnen aufbewahren, lesbar für Menschen und Programme.",
    "Statement": "Kontoauszug",
    "every invoice, payment and credit note, and what is owed after it; CSV": "alle Rechnungen, Zahlungen und Gutschriften, und was danach offen ist; CSV",
    "All data": "Alle Daten",
    "subscriptions, invoices with their lines, payments, credit notes; CSV files in a ZIP": "Verträge, Rechnungen mit ihren Posten, Zahlungen, Gutschriften; CSV-Dateien in einem ZIP",
    "Each invoice, and the usage events behind it, are on its own page.": "Jede Rechnung und die Nutzungsereignisse dahinter stehen auf ihrer eigenen Seite.",
    "Late payment": "Zahlungsverzug",
    "Interest is {rate} % a year: a base rate of {base} % and {points} points, by the day, from the day after the due date on.": "Die Zinsen betragen {rate} % im Jahr: ein Basiszinssatz von {base} % und {points} Prozentpunkte, taggenau, ab dem Tag nach der Fälligkeit.",
    "Once for an overdue invoice {amount} are added.": "Einmal je überfälliger Rechnung kommen {amount} hinzu.",
    "Each reminder costs {amount}.": "Jede Erinnerung kostet {amount}.",
    "The first reminder is free, each after that costs {amount}.": "Die erste Erinnerung ist kostenlos, jede weitere kostet {amount}.",
    "The first {count} reminders are free, each after that costs {amount}.": "Die ersten {count} Erinnerungen sind kostenlos, jede weitere kostet {amount}.",
    "So far, until yesterday: {amount}": "Bisher, bis gestern: {amount}",
    "not charged": "nicht berechnet",
    "It is charged by an invoice of its own, or waived. Nothing of it is part of this invoice.": "Es wird mit einer eigenen Rechnung berechnet oder erlassen. Nichts davon steht auf dieser Rechnung.",
    "Decided": "Entschieden",
    "waived": "erlassen",
    "charged by": "berechnet mit",
    "Interest, {first} to {last}": "Zinsen, {first} bis {last}",
    "{principal} for {days} days at {percent} %": "{principal} für {days} Tage zu {percent} %",
    "Lump sum": "Pauschale",
    "Fee for the reminder of {day}": "Gebühr für die Erinnerung vom {day}",
    "Notices": "Mitteilungen",
    "All notices": "Alle Mitteilungen",
    "Nothing yet. What we write to you about your invoices stands here, too.": "Noch nichts. Was wir Ihnen zu Ihren Rechnungen schreiben, steht auch hier.",
    "Pages of notices": "Seiten der Mitteilungen",
    "Newer": "Neuere",
    "Older": "Ältere",
    "{first} to {last} of {count}": "{first} bis {last} von {count}",
    "Sent to {address} on {when}.": "Gesendet an {address} am {when}.",
}
CATALOGUES = {"de": GERMAN}


def phrase(text: str, *, language: Language, **values: Any) -> SafeString:
    """Return a phrase in a language, its money and days written as there; what it is filled with is escaped."""
    words = text if language == ENGLISH else CATALOGUES[language.code][text]
    return format_html(words, **{key: written(value, language) for key, value in values.items()})


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
