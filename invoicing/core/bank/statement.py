"""A bank statement as it was read: its lines, its balances, and what tells one line from every other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import sha256

from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import exponent, is_rounded, total

# A name or a reference, and the remittance text of a line: ISO 20022 allows 140 characters a line, banks send several.
NAME_LENGTH_MAX = 200
TEXT_LENGTH_MAX = 2_000
LINES_MAX = 50_000
NO_REFERENCE = ("NOTPROVIDED", "NOT PROVIDED", "NONREF")
# So many digits before the point a stored amount has at most.
DIGITS_MAX = 16


class StatementFault(BillingError):
    """A file that is no statement that can be taken in: it names the place, what is wrong there, and what to do (422)."""

    code = "bank_statement_wrong"

    def __init__(self, message: str, *, place: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message, field="file")


@dataclass(frozen=True)
class StatementLine:
    """One booked movement of an account: money that came in is positive. `place` says where it stands in the file."""

    place: str
    booked_on: date
    value_on: date | None
    amount: Money
    bank_reference: str = ""
    end_to_end_id: str = ""
    structured_reference: str = ""
    name: str = ""
    iban: str = ""
    text: str = ""
    is_reversal: bool = False


@dataclass(frozen=True)
class Statement:
    """The booked lines of one account; balances where the file states them. `remarks` say what of it was left out, and why."""

    account: str
    currency: str
    number: str
    from_date: date
    to_date: date
    opening: Money | None
    closing: Money | None
    lines: tuple[StatementLine, ...]
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(line.amount.currency.code == self.currency and line.amount.amount for line in self.lines)


def check_sums(*, statement: Statement, place: str) -> None:
    """Raise StatementFault where the opening balance and the lines do not come to the closing balance."""
    if statement.opening is None or statement.closing is None:
        return
    moved = total((line.amount for line in statement.lines), statement.currency)
    if statement.opening + moved != statement.closing:
        message = (
            f"the opening balance {statement.opening.amount} and the booked lines, {moved.amount}, come to"
            f" {(statement.opening + moved).amount}, the closing balance is {statement.closing.amount} {statement.currency}:"
            " a line is missing or wrong, ask the bank for the file again"
        )
        raise StatementFault(message, place=place)


def identities(*, lines: Sequence[StatementLine], counted_from: Mapping[str, int]) -> list[str]:
    """Return what names each line of a statement for ever, in whichever file of its account it comes again.

    That is all of its content; lines that are equal in it are counted in their order, from where `pages.counted_from` says. The bank's
    reference alone is not enough: banks repeat that of a movement in its reversal, and some give one to many.
    """
    seen = Counter(counted_from)
    found = []
    for content in contents(lines=lines):
        seen[content] += 1
        found.append(sha256(f"{content}\x1f{seen[content]}".encode()).hexdigest())
    return found


def contents(*, lines: Sequence[StatementLine]) -> list[str]:
    """Return a digest of what each line says, its place in the file left out."""
    return [sha256(_content(line).encode()).hexdigest() for line in lines]


def _content(line: StatementLine) -> str:
    parts = (
        line.bank_reference,
        line.end_to_end_id,
        line.structured_reference,
        line.iban,
        line.name,
        line.text,
        "reversal" if line.is_reversal else "",
        line.value_on.isoformat() if line.value_on else "",
        line.booked_on.isoformat(),
        format(line.amount.amount.normalize(), "f"),
        line.amount.currency.code,
    )
    return "\x1f".join(parts)


def reference(text: str) -> str:
    """Return a reference as it is stored, "" for the words by which banks say that there is none."""
    return "" if text.strip().upper() in NO_REFERENCE else clipped(text)


def checked_currency(code: str, *, place: str) -> str:
    """Return a currency that money can be in; raises StatementFault."""
    try:
        exponent(code)
    except KeyError:
        message = f"{code!r} is no currency of ISO 4217: state one, such as EUR"
        raise StatementFault(message, place=place) from None
    return code


def checked_amount(number: Decimal, *, currency: str, place: str) -> Money:
    """Return an amount of a currency; raises StatementFault where it has too many decimals or digits."""
    amount = Money(number, currency)
    if not number.is_finite() or abs(number) >= 10**DIGITS_MAX or not is_rounded(amount):
        message = f"{number} is no amount of {currency}, which has {exponent(currency)} decimals"
        raise StatementFault(message, place=place)
    return amount


def clipped(text: str, *, length: int = NAME_LENGTH_MAX) -> str:
    """Return a text as it is stored: blanks in one, without what a database cannot hold, and no longer than there is room."""
    return " ".join(text.replace("\x00", " ").split())[:length]
