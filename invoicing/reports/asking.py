"""What a report may be asked: as of which day, for which span, currency, legal entity, customer and account; read strictly, refused by the name of the field.

The books are kept in UTC: a day lasts from midnight to midnight UTC, and "as of" a day means when it is over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from billing_site.kernel.errors import FieldError, InvalidFields
from billing_site.kernel.money import exponent
from billing_site.kernel.period import Period
from invoicing.customers.models import Customer
from invoicing.entities.models import LegalEntity
from invoicing.entities.operations import entity_errors
from invoicing.ledger.models import Account

YEAR_FIRST, YEAR_LAST = 2000, 2200
SPAN_DAYS_MAX = 3_660


@dataclass(frozen=True)
class Question:
    """A question that was read: `as_of` is the last day that counts, `start` and `end` the first and last day of a span."""

    as_of: date
    start: date
    end: date
    currency: str = ""
    customer: Customer | None = None
    account: Account | None = None
    entity: LegalEntity | None = None

    @property
    def books(self) -> str:
        """The key of the legal entity whose books are asked; empty for those of all."""
        return self.entity.key if self.entity else ""

    @property
    def of_whom(self) -> str:
        """What is said of whose books these are, after what was asked; nothing for those of all."""
        return f", books of {self.entity.key}" if self.entity else ""

    @property
    def before(self) -> datetime:
        """The first moment that does not count any more."""
        return midnight_after(day=self.as_of)

    @property
    def span(self) -> Period:
        """The span from the beginning of the first to the end of the last day."""
        return Period(midnight(day=self.start), midnight_after(day=self.end))


def read_question(*, asked: Mapping[str, str], today: date) -> Question:
    """Read what was asked as texts (`as_of`, `start`, `end`, `currency`, `customer_id`, `account`, `legal_entity`); what is left out or empty has its default.

    Defaults: as of today; from the first of the month of the last day, or of today, until today. Raises InvalidFields naming each
    field that cannot be accepted.
    """
    errors: list[FieldError] = []
    as_of = _day(asked, "as_of", errors) or today
    end = _day(asked, "end", errors) or max(today, _day(asked, "start", []) or today)
    start = _day(asked, "start", errors) or end.replace(day=1)
    if start > end and not errors:
        errors.append(FieldError("end", "before_start", "must not be before the first day"))
    elif (end - start).days > SPAN_DAYS_MAX:
        errors.append(FieldError("end", "out_of_range", "must be within ten years of the first day"))
    currency = asked.get("currency", "").strip()
    if currency and not _is_currency(currency):
        errors.append(FieldError("currency", "unknown", "must be an ISO 4217 currency such as EUR"))
    customer = account = None
    if key := asked.get("customer_id", "").strip():
        customer = None if "\x00" in key else Customer.objects.filter(key=key).first()
        if customer is None:
            errors.append(FieldError("customer_id", "unknown", f"there is no customer {key!r}"))
    if code := asked.get("account", "").strip():
        account = None if "\x00" in code else Account.objects.filter(code=code).first()
        if account is None:
            errors.append(FieldError("account", "unknown", f"there is no account {code!r}"))
    entity = None
    if seller := asked.get("legal_entity", "").strip():
        errors += entity_errors(key=seller)
        entity = LegalEntity.objects.filter(key=seller).first() if not errors else None
    if errors:
        raise InvalidFields(tuple(errors))
    return Question(
        as_of=as_of, start=start, end=end, currency=currency, customer=customer, account=account, entity=entity
    )


def midnight(*, day: date) -> datetime:
    """Return the first moment of a day of the books."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def midnight_after(*, day: date) -> datetime:
    """Return the first moment after a day of the books."""
    return midnight(day=day + timedelta(days=1))


def _day(asked: Mapping[str, str], field: str, errors: list[FieldError]) -> date | None:
    text = asked.get(field, "").strip()
    if not text:
        return None
    try:
        day = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        day = None
    if day is None or not YEAR_FIRST <= day.year <= YEAR_LAST:
        errors.append(FieldError(field, "invalid", "must be a day such as 2026-08-31"))
        return None
    return day


def _is_currency(code: str) -> bool:
    try:
        exponent(code)
    except KeyError:
        return False
    return True
