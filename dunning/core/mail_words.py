"""The house's own words around those of a template, by language: the table of invoices and the foot."""

from invoicing.core.languages import ENGLISH, GERMAN

MAIL_WORDS = {
    ENGLISH.code: {
        "invoice": "Invoice",
        "due": "Due",
        "open": "Open",
        "paid": "Amount",
        "invoice_line": "Invoice {number}, due {day}: {amount}",
        "contact": "Questions? Just reply to this e-mail, or write to {email}.",
        "link_words": "If the button does not work, copy this address into your browser:",
        "all": "Total",
    },
    GERMAN.code: {
        "invoice": "Rechnung",
        "due": "Fällig",
        "open": "Offen",
        "paid": "Betrag",
        "invoice_line": "Rechnung {number}, fällig am {day}: {amount}",
        "contact": "Fragen? Antworten Sie einfach auf diese E-Mail oder schreiben Sie an {email}.",
        "link_words": "Falls die Schaltfläche nicht funktioniert, kopieren Sie diese Adresse in Ihren Browser:",
        "all": "Gesamt",
    },
}


def mail_words(language: str) -> dict[str, str]:
    """Return the house's words in a language; English where it has none."""
    return MAIL_WORDS.get(language, MAIL_WORDS[ENGLISH.code])
