"""The words of a notice: what staff write, with a few placeholders, and what becomes of it for one customer.

Staff's words are filled in, never run: there are no conditions, loops or filters, a placeholder that is not known is refused, and what is filled in is
not read again. A paragraph stands between blank lines; `{payment_link}` and `{invoices}` are paragraphs of their own: the one button, and the table. A paragraph that
speaks of `{acts_on}`, `{instalment}` or `{charges}` is left out where there is no such day or amount.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from billing_site.kernel.errors import FieldError
from billing_site.kernel.text import is_storable

SUBJECT_MAX = 150
BUTTON_MAX = 40
BODY_MAX = 5000
# A mail program cuts the subject long before; the column holds as much.
SUBJECT_FILLED_MAX = 300
NAME_MAX = 120

CUSTOMER, SELLER, TOTAL, DUE_DATE, ACTS_ON = "customer", "seller", "total", "due_date", "acts_on"
INSTALMENT, CHARGES = "instalment", "charges"
INVOICES, PAYMENT_LINK = "invoices", "payment_link"
PLACEHOLDERS = {
    CUSTOMER: "the customer's name",
    SELLER: "the name of the legal entity that sells",
    TOTAL: "what is open of all invoices of the notice, with its currency; where all is paid, what was paid",
    DUE_DATE: "the day on which the first of them is, or was, due",
    ACTS_ON: "the day of the next step, or of the instalment: a paragraph with it is left out where there is none",
    INSTALMENT: "what is to be paid of the instalment that is due next: a paragraph with it is left out where there is none",
    CHARGES: "interest and fees for paying late that are not invoiced yet: a paragraph with it is left out where there are none",
    INVOICES: "the invoices as a table: number, due date, what is open; a paragraph of its own",
    PAYMENT_LINK: "the button with the link to pay; a paragraph of its own",
}
# A notice that does not say how much, or where to pay, does not help anybody.
NEEDED = (TOTAL, PAYMENT_LINK)
ALONE = (INVOICES, PAYMENT_LINK)
# Where there is no such thing, nothing is said of it.
OPTIONAL = (ACTS_ON, INSTALMENT, CHARGES)
IN_SUBJECT = (CUSTOMER, SELLER, TOTAL, DUE_DATE)

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class BlockKind(StrEnum):
    """What a paragraph of a notice is."""

    TEXT = "text"
    INVOICES = "invoices"
    BUTTON = "button"


@dataclass(frozen=True)
class Block:
    """A paragraph of a notice, filled in; the table and the button have no text of their own."""

    kind: BlockKind
    text: str = ""


@dataclass(frozen=True)
class Words:
    """What staff write of a notice: subject, paragraphs and what stands on the button."""

    subject: str
    body: str
    button: str


def word_mistakes(words: Words) -> list[FieldError]:
    """Return everything by which the words of a notice cannot be used, field by field; nothing where they can."""
    mistakes = [
        *_length_mistakes("subject", words.subject, SUBJECT_MAX),
        *_length_mistakes("body", words.body, BODY_MAX),
        *_length_mistakes("button", words.button, BUTTON_MAX),
        *_placeholder_mistakes("subject", words.subject, known=IN_SUBJECT),
        *_placeholder_mistakes("body", words.body, known=tuple(PLACEHOLDERS)),
        *_placeholder_mistakes("button", words.button, known=(TOTAL,)),
    ]
    mistakes += [
        FieldError(field, "invalid", "must be one line")
        for field, text in (("subject", words.subject), ("button", words.button))
        if len(text.splitlines()) > 1
    ]
    used = _PLACEHOLDER.findall(words.body)
    mistakes += [
        FieldError("body", "required", f"must say {{{name}}}: {PLACEHOLDERS[name]}")
        for name in NEEDED
        if name not in used
    ]
    for name in ALONE:
        stands = f"{{{name}}}"
        if used.count(name) > 1:
            mistakes.append(FieldError("body", "invalid", f"says {stands} more than once"))
        elif name in used and stands not in _paragraphs(words.body):
            mistakes.append(
                FieldError("body", "invalid", f"{stands} must be a paragraph of its own, between blank lines")
            )
    return mistakes


def filled_line(text: str, values: Mapping[str, str]) -> str:
    """Fill the subject or the button in: one line, whatever stands in a name."""
    return one_line(_filled(text, values))[:SUBJECT_FILLED_MAX]


def filled_blocks(body: str, values: Mapping[str, str]) -> tuple[Block, ...]:
    """Fill the paragraphs in; `values` lacks those of OPTIONAL that there are not, and their paragraphs are left out."""
    blocks = []
    for paragraph in _paragraphs(body):
        if paragraph == f"{{{PAYMENT_LINK}}}":
            blocks.append(Block(BlockKind.BUTTON))
        elif paragraph == f"{{{INVOICES}}}":
            blocks.append(Block(BlockKind.INVOICES))
        elif not any(name not in values and f"{{{name}}}" in paragraph for name in OPTIONAL):
            blocks.append(Block(BlockKind.TEXT, _filled(paragraph, values)))
    return tuple(blocks)


def one_line(text: str) -> str:
    """Return a text on one line without control characters: a name ends no header and turns no figures around (Unicode's overrides)."""
    kept = "".join(
        " "
        if character.isspace()
        else ""
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn")
        else character
        for character in text
    )
    return " ".join(kept.split())


def short_name(name: str) -> str:
    """Return a name on one line, as long as a mail bears."""
    line = one_line(name)
    return line if len(line) <= NAME_MAX else line[: NAME_MAX - 1].rstrip() + "…"


def _filled(text: str, values: Mapping[str, str]) -> str:
    # In one pass: braces in a customer's name are a customer's name.
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)


def _paragraphs(body: str) -> list[str]:
    """Return the paragraphs of a body, their lines without blanks at the end."""
    lines = [line.rstrip() for line in body.strip().splitlines()]
    return [paragraph.strip("\n") for paragraph in re.split(r"\n{2,}", "\n".join(lines)) if paragraph.strip()]


def _length_mistakes(field: str, text: str, length_max: int) -> list[FieldError]:
    if not text.strip():
        return [FieldError(field, "required", "must not be empty")]
    if len(text) > length_max:
        return [FieldError(field, "invalid", f"has at most {length_max} characters")]
    return [] if is_storable(text) else [FieldError(field, "invalid", "holds a character that cannot be stored")]


def _placeholder_mistakes(field: str, text: str, *, known: tuple[str, ...]) -> list[FieldError]:
    mistakes = []
    for name in dict.fromkeys(_PLACEHOLDER.findall(text)):
        if name in known:
            continue
        offered = ", ".join(f"{{{one}}}" for one in known)
        elsewhere = " does not stand here" if name in PLACEHOLDERS else " is not known"
        mistakes.append(FieldError(field, "unknown", f"{{{name}}}{elsewhere}: there are {offered}"))
    if set("{}") & set(_PLACEHOLDER.sub("", text)):
        mistakes.append(FieldError(field, "invalid", "has a brace that belongs to no placeholder"))
    return mistakes
