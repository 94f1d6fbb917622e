"""Matching: which invoices a line of a bank statement pays, each candidate with its reasons in words and a score that they add up to.

Only a line that names one open invoice, as it is written, and is exactly what is open of it settles by itself. Everything else is proposed.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from moneyed import Money

from billing_site.kernel.money import plain, total

# Points of each reason; a candidate's score is their sum, capped at 100.
NAMED, MISREAD, EXACT, PART, BEYOND, SUM, PAID_BEFORE, SAME_NAME, LIKE_NAME, ONLY_ONE = (
    50,
    30,
    30,
    10,
    15,
    30,
    20,
    15,
    8,
    10,
)
POINTS_MAX = 100
# A line that names another invoice too says that it is not only about these.
ALSO_NAMED = 25
CANDIDATES_MAX = 8
# Invoice numbers are a prefix with its year and five digits or more.
DIGITS = 5
SEPARATOR = r"[\W_]{0,3}"
# What scanners and people confuse.
CONFUSED = {"0": "0OQD", "1": "1IL", "2": "2Z", "5": "5S", "6": "6G", "8": "8B"}
LEGAL_FORMS = frozenset(
    [
        "ag",
        "bv",
        "co",
        "corp",
        "gmbh",
        "inc",
        "kg",
        "limited",
        "llc",
        "ltd",
        "mbh",
        "nv",
        "oy",
        "plc",
        "sa",
        "sarl",
        "sas",
        "se",
        "srl",
        "the",
        "und",
        "and",
    ]
)
CREDITOR_REFERENCE = re.compile(r"RF([0-9]{2})([0-9A-Z]{1,21})")


@dataclass(frozen=True)
class OpenInvoice:
    """An issued invoice and what is open of it."""

    id: int
    number: str
    customer_id: int
    customer_name: str
    due_date: date | None
    open: Money


@dataclass(frozen=True)
class LineFacts:
    """What a line says: money that came in, its texts, the payer's name, and the customers for whom this account has paid before."""

    amount: Money
    texts: tuple[str, ...]
    name: str
    paid_before: frozenset[int]


@dataclass(frozen=True)
class Candidate:
    """A way to understand a line: what of it goes to which invoice, why, and whether that is beyond doubt."""

    customer_id: int
    parts: tuple[tuple[OpenInvoice, Money], ...]
    beyond: Money
    points: int
    reasons: tuple[str, ...]
    is_certain: bool


def numbers_named(*, texts: Sequence[str], prefixes: Collection[str]) -> dict[str, bool]:
    """Return the invoice numbers that texts name under these prefixes (INV-2026), and whether each is written as it is.

    Blanks, hyphens and case do not matter. Letters taken for digits, or a number that runs on into other text, make it misread:
    found, but not beyond doubt.
    """
    found: dict[str, bool] = {}
    for text in texts:
        for part in (text.upper(), _reference_of(text)):
            for prefix in prefixes:
                for number, is_literal in _named_in(part, prefix):
                    found[number] = found.get(number, False) or is_literal
    return found


def _named_in(text: str, prefix: str) -> list[tuple[str, bool]]:
    head = SEPARATOR.join(_one_of(character) for character in prefix.upper() if character.isalnum())
    digit = f"[0-9{''.join(CONFUSED.values())}]"
    pattern = rf"{head}{SEPARATOR}({digit}(?:{SEPARATOR}{digit}){{{DIGITS - 1}}}[0-9]*)"
    named = []
    for match in re.finditer(pattern, text):
        written = [character for character in match[1] if character.isalnum()]
        digits = "".join(_as_digit(character) for character in written)
        alone_before = match.start() == 0 or not text[match.start() - 1].isalnum()
        alone_after = match.end() == len(text) or not text[match.end()].isalnum()
        # Where the bank breaks its line, 100042 is read as 10004 2. What begins with a nought has no sixth digit.
        goes_on = digits[0] != "0" and re.match(rf"{SEPARATOR}[0-9]", text[match.end() :]) is not None
        exact = "".join(filter(str.isalnum, match[0])) == "".join(filter(str.isalnum, prefix.upper())) + digits
        more = len(digits) > DIGITS and digits.startswith("0")
        named.append((f"{prefix}-{digits}", exact and alone_before and alone_after and not more and not goes_on))
        if more:
            named.append((f"{prefix}-{digits[:DIGITS]}", False))
    return named


def _one_of(character: str) -> str:
    for digit, confused in CONFUSED.items():
        if character == digit or character in confused:
            return f"[{confused}]"
    return re.escape(character)


def _as_digit(character: str) -> str:
    return next((digit for digit, confused in CONFUSED.items() if character in confused), character)


def _reference_of(text: str) -> str:
    """Return what a creditor reference (ISO 11649: RF, two check digits that are right) carries, "" where there is none."""
    match = CREDITOR_REFERENCE.fullmatch("".join(text.split()).upper())
    if match is None:
        return ""
    turned = f"{match[2]}RF{match[1]}"
    number = int("".join(str(int(character, 36)) for character in turned))
    return match[2] if number % 97 == 1 else ""


def candidates(
    *, line: LineFacts, invoices: Sequence[OpenInvoice], named: Mapping[str, bool], settled: Collection[str]
) -> tuple[Candidate, ...]:
    """Return the ways to understand a credit line, the best first: at most eight.

    `invoices` are open and of the line's currency; `named` as `numbers_named` has it, `settled` those of them of which nothing is open.
    """
    assert line.amount.amount > 0, "only money that came in pays invoices"
    currency = line.amount.currency.code
    assert all(one.open.currency.code == currency and one.open.amount > 0 for one in invoices)
    of_customer: dict[int, list[OpenInvoice]] = {}
    for invoice in sorted(invoices, key=lambda one: (one.due_date or date.max, one.number)):
        of_customer.setdefault(invoice.customer_id, []).append(invoice)
    found = [candidate for owed in of_customer.values() for candidate in _of_customer(line, owed, named, settled)]
    found = [*found, *_by_amount_alone(line, invoices, {one.customer_id for one in found})]
    found.sort(key=lambda one: (-one.points, len(one.parts), one.parts[0][0].number))
    return tuple(found[:CANDIDATES_MAX])


def _of_customer(
    line: LineFacts, owed: Sequence[OpenInvoice], named: Mapping[str, bool], settled: Collection[str]
) -> list[Candidate]:
    """Return the candidates of one customer: the invoices named, one of them, one of the amount, or all that is open."""
    known, points = _known_by(line, owed[0])
    currency = line.amount.currency.code
    names = [one for one in owed if one.number in named]
    if not names and not known:
        return []
    groups = [names] if names else []
    if len(names) > 1:
        groups += [[one] for one in names if one.open == line.amount]
    if not names:
        groups += [[one] for one in owed if one.open == line.amount][:3] or [list(owed), list(owed[:1])]
    made: dict[tuple[int, ...], Candidate] = {}
    for group in groups:
        others = set(named) - {one.number for one in group}
        reasons = [*(_naming(one, is_literal=named[one.number]) for one in group if one.number in named)]
        score = points + min(
            (NAMED if named[one.number] else MISREAD for one in group if one.number in named), default=0
        )
        fit, said = _fitting(line.amount, group)
        spread = _spread(line.amount, group)
        for number in sorted(others):
            reasons.append(
                f"it names {number} too{f', of which nothing is open in {currency}' if number in settled else ''}"
            )
        made[tuple(one.id for one in group)] = Candidate(
            customer_id=owed[0].customer_id,
            parts=spread,
            beyond=line.amount - total((part for _, part in spread), line.amount.currency.code),
            points=max(min(score + fit, POINTS_MAX) - (ALSO_NAMED if others else 0), 0),
            reasons=(*reasons, said, *known),
            is_certain=len(group) == 1
            and not others
            and named.get(group[0].number, False)
            and group[0].open == line.amount,
        )
    return list(made.values())


def _by_amount_alone(line: LineFacts, invoices: Sequence[OpenInvoice], known: Collection[int]) -> list[Candidate]:
    """Return the invoices of customers of whom the line says nothing that are open over exactly its amount."""
    exact = [one for one in invoices if one.open == line.amount and one.customer_id not in known]
    said = (
        "no other open invoice has this amount" if len(exact) == 1 else f"{len(exact)} open invoices have this amount"
    )
    nothing = line.amount - line.amount
    points = EXACT // 2 + (ONLY_ONE if len(exact) == 1 else 0)
    return [
        Candidate(one.customer_id, ((one, line.amount),), nothing, points, ("exactly what is open", said), False)
        for one in exact[:CANDIDATES_MAX]
    ]


def _known_by(line: LineFacts, invoice: OpenInvoice) -> tuple[list[str], int]:
    reasons, points = [], 0
    if invoice.customer_id in line.paid_before:
        reasons.append(f"this account has paid for {invoice.customer_name} before")
        points += PAID_BEFORE
    ours, theirs = _words(invoice.customer_name), _words(line.name)
    if ours and ours == theirs:
        reasons.append(f"the payer is called {line.name}")
        points += SAME_NAME
    elif max((len(word) for word in ours & theirs), default=0) >= 4 and (ours <= theirs or theirs <= ours):
        reasons.append(f"the payer's name, {line.name}, is like {invoice.customer_name}")
        points += LIKE_NAME
    return reasons, points


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", name.casefold())) - LEGAL_FORMS


def _naming(invoice: OpenInvoice, *, is_literal: bool) -> str:
    return f"it names {invoice.number}" if is_literal else f"it names {invoice.number}, read with doubt"


def _fitting(amount: Money, group: Sequence[OpenInvoice]) -> tuple[int, str]:
    owed = total((one.open for one in group), amount.currency.code)
    whole = f"{plain(owed.amount)} {owed.currency}"
    if amount == owed:
        return (
            (EXACT, "exactly what is open") if len(group) == 1 else (SUM, f"exactly the sum of {len(group)} invoices")
        )
    if amount < owed:
        return PART, f"a part of the {whole} that are open"
    return BEYOND, f"{plain((amount - owed).amount)} {owed.currency} more than the {whole} that are open"


def _spread(amount: Money, group: Sequence[OpenInvoice]) -> tuple[tuple[OpenInvoice, Money], ...]:
    """Fill invoices in their order until the money is spent."""
    left, parts = amount, []
    for invoice in group:
        part = min(left, invoice.open)
        if part.amount:
            parts.append((invoice, part))
            left -= part
    return tuple(parts)
