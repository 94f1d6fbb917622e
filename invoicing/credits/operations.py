"""What may happen to credit: granted once, drawn by an issued invoice, expired, taken back; each an entry of the grant's chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, connection, transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, NotFound
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import from_minor_units, is_rounded, round_money
from billing_site.kernel.text import is_storable
from invoicing.catalog.effective import moment_mistake
from invoicing.catalog.models import Plan
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.posting import postings_for_breakage, postings_for_credit_sale
from invoicing.credits.models import PRIORITY_DEFAULT, PRIORITY_MAX, CreditEntry, CreditGrant, EntryKind
from invoicing.credits.queries import last_entry
from invoicing.customers.models import Customer
from invoicing.customers.operations import KEY_PATTERN, lock_who_pays
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from metering.models import Meter

# A column of money holds less.
AMOUNT_LIMIT = 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES)


@dataclass(frozen=True)
class GrantTerms:
    """What a grant is: none of it changes."""

    key: str
    kind: str
    name: str
    amount: Money
    effective_at: datetime
    expires_at: datetime | None = None
    priority: int = PRIORITY_DEFAULT
    plans: Sequence[str] = ()
    meters: Sequence[str] = ()


@transaction.atomic
def grant_credit(*, customer: Customer, terms: GrantTerms, at: datetime, actor: str, reason: str) -> CreditGrant:
    """Give credit to a customer, or write down what was paid into the bank for it: prepaid credit is a liability until it is drawn.

    The same key with the same terms a second time is the grant that exists; with others it is a Conflict. Raises InvalidFields naming each
    field that cannot be accepted.
    """
    customer = lock_who_pays(customer_id=customer.pk)
    if errors := _mistakes(customer, terms):
        raise InvalidFields(tuple(errors))
    grant = _unsaved(customer, terms, at=at, actor=actor, reason=reason)
    if (existing := CreditGrant.objects.filter(key=terms.key).first()) is not None:
        return _same_or_conflict(existing, grant)
    try:
        with transaction.atomic():
            grant.save()
    except IntegrityError:
        # The key was taken at the same moment, for another customer.
        return _same_or_conflict(CreditGrant.objects.get(key=terms.key), grant)
    _write(grant, EntryKind.GRANT, terms.amount, at=at, actor=actor, reason=reason)
    if grant.kind == CreditKind.PREPAID:
        post_entry(
            kind=JournalEntry.Kind.CREDIT_SALE,
            reference=grant.key,
            postings=postings_for_credit_sale(amount=terms.amount),
            description=f"Prepaid credit {grant.key}, {customer.name}"[:300],
            occurred_at=at,
            entity=customer.seller_key,
        )
    return grant


def grant_sold_credit(*, customer: Customer, terms: GrantTerms, at: datetime, actor: str, reason: str) -> CreditGrant:
    """Grant prepaid credit that an invoice has sold: its issue has booked what is owed for it, its payment the money.

    The caller makes sure that it is granted once, and does not lock the customer: another lot changes nothing that is being computed.
    """
    assert connection.in_atomic_block, "credit is granted together with the payment for it"
    assert terms.kind == CreditKind.PREPAID, "what is sold is prepaid"
    grant = _unsaved(customer, terms, at=at, actor=actor, reason=reason)
    grant.save(force_insert=True)
    _write(grant, EntryKind.GRANT, terms.amount, at=at, actor=actor, reason=reason)
    return grant


@transaction.atomic
def draw_credits(*, drawn: Mapping[int, Money], invoice_number: str, at: datetime, actor: str) -> None:
    """Take from grants, by number, what the lines of an issued invoice say, not negative; the same a second time changes nothing.

    The database refuses what no line of the invoice says, and more than is left.
    """
    known = CreditEntry.objects.filter(kind=EntryKind.DRAW, reference=invoice_number)
    done = set(known.values_list("grant_id", flat=True))
    for number in sorted(drawn.keys() - done):
        grant = CreditGrant.objects.select_for_update(no_key=True).get(pk=number)
        reason = f"pays for invoice {invoice_number}"
        _write(grant, EntryKind.DRAW, -drawn[number], at=at, actor=actor, reason=reason, reference=invoice_number)


@transaction.atomic
def expire_credit(*, grant_id: int, at: datetime) -> CreditEntry | None:
    """Let what is left of a grant expire, and book what was paid for it as breakage; nothing where nothing is left or it still runs."""
    grant = CreditGrant.objects.select_for_update(no_key=True).select_related("customer").get(pk=grant_id)
    left = last_entry(grant=grant).balance
    if grant.expires_at is None or at < grant.expires_at or not left.amount:
        return None
    entry = _write(
        grant, EntryKind.EXPIRE, -left, at=at, actor="expiry", reason=f"expired {grant.expires_at:%Y-%m-%d %H:%M} UTC"
    )
    if grant.kind == CreditKind.PREPAID:
        post_entry(
            kind=JournalEntry.Kind.BREAKAGE,
            reference=f"{grant.key}/{entry.sequence}",
            postings=postings_for_breakage(amount=left),
            description=f"Prepaid credit {grant.key} expired, {grant.customer.name}"[:300],
            occurred_at=at,
            entity=grant.customer.seller_key,
        )
    return entry


@transaction.atomic
def void_credit(*, key: str, at: datetime, actor: str, reason: str) -> CreditEntry | None:
    """Take back what is left of a promotional grant; a second time changes nothing. Raises NotFound, Conflict for prepaid credit."""
    grant = grant_by_key(key=key)
    grant = CreditGrant.objects.select_for_update(no_key=True).get(pk=grant.pk)
    if grant.kind == CreditKind.PREPAID:
        raise Conflict(f"{grant} was paid for: it can be drawn or expire, not be taken back", field="key")
    left = last_entry(grant=grant).balance
    if not left.amount:
        return None
    return _write(grant, EntryKind.VOID, -left, at=at, actor=actor, reason=reason)


def grant_by_key(*, key: str, of_customer: str = "") -> CreditGrant:
    """Return a grant with its customer, of one customer only where its key is given; raises NotFound."""
    found = CreditGrant.objects.select_related("customer").filter(key=key).first()
    if found is None or of_customer not in ("", found.customer.key):
        raise NotFound(f"there is no credit grant {key!r}", field="key")
    return found


def _write(
    grant: CreditGrant, kind: EntryKind, amount: Money, *, at: datetime, actor: str, reason: str, reference: str = ""
) -> CreditEntry:
    """Write the next entry of a grant whose row is locked, or new."""
    last = grant.entries.order_by("-sequence").first()
    nothing = from_minor_units(0, grant.currency)
    return CreditEntry.objects.create(
        grant=grant,
        sequence=1 if last is None else last.sequence + 1,
        kind=kind,
        currency=grant.currency,
        amount=amount,
        balance=(nothing if last is None else last.balance) + amount,
        reference=reference,
        occurred_at=at,
        actor=actor,
        reason=reason[:300],
    )


def _unsaved(customer: Customer, terms: GrantTerms, *, at: datetime, actor: str, reason: str) -> CreditGrant:
    return CreditGrant(
        key=terms.key,
        customer=customer,
        kind=terms.kind,
        name=terms.name,
        currency=customer.currency,
        amount=terms.amount,
        priority=terms.priority,
        effective_at=terms.effective_at,
        expires_at=terms.expires_at,
        plans=list(terms.plans),
        meters=list(terms.meters),
        granted_at=at,
        actor=actor,
        reason=reason,
    )


def _same_or_conflict(existing: CreditGrant, wanted: CreditGrant) -> CreditGrant:
    names = ("customer_id", "kind", "name", "amount", "priority", "effective_at", "expires_at", "plans", "meters")
    different = [name.removesuffix("_id") for name in names if getattr(existing, name) != getattr(wanted, name)]
    if different:
        raise Conflict(f"credit grant {wanted.key} exists with another {', '.join(different)}", field="key")
    return existing


def _mistakes(customer: Customer, terms: GrantTerms) -> list[FieldError]:
    errors = []
    if not KEY_PATTERN.fullmatch(terms.key):
        errors.append(
            FieldError("key", "invalid", "use 1 to 100 letters, digits and _ . : -, beginning with a letter or digit")
        )
    if terms.kind not in list(CreditKind):
        errors.append(FieldError("kind", "unknown", f"must be one of {', '.join(CreditKind)}"))
    if not terms.name.strip() or len(terms.name) > 200 or not is_storable(terms.name):
        errors.append(FieldError("name", "wrong_type", "must be a text of 1 to 200 characters"))
    if terms.amount.currency.code != customer.currency:
        message = f"must be in {customer.currency}, in which {customer} is billed"
        errors.append(FieldError("amount", "currency_differs", message))
    elif terms.amount <= round_money(terms.amount.amount * 0, customer.currency) or not is_rounded(terms.amount):
        errors.append(FieldError("amount", "out_of_range", "must be more than nothing, in whole minor units"))
    elif terms.amount.amount >= AMOUNT_LIMIT:
        message = f"must have at most {AMOUNT_DIGITS - AMOUNT_PLACES} digits before the point"
        errors.append(FieldError("amount", "too_large", message))
    if not 0 <= terms.priority <= PRIORITY_MAX:
        errors.append(FieldError("priority", "out_of_range", f"must be a whole number from 0 to {PRIORITY_MAX}"))
    moments = {"effective_at": terms.effective_at, "expires_at": terms.expires_at}
    told = (moment_mistake(moment=moment, field=name) for name, moment in moments.items() if moment is not None)
    wrong = [mistake for mistake in told if mistake is not None]
    errors += wrong
    if not wrong and terms.expires_at is not None and terms.expires_at <= terms.effective_at:
        errors.append(FieldError("expires_at", "before_start", "must be after it takes effect"))
    for field, asked, known in (
        ("plans", terms.plans, Plan.objects.filter(key__in=terms.plans)),
        ("meters", terms.meters, Meter.objects.filter(key__in=terms.meters)),
    ):
        there = set(known.values_list("key", flat=True))
        errors += [
            FieldError(field, "unknown", f"there is no {field[:-1]} {key!r}") for key in asked if key not in there
        ]
    return errors
