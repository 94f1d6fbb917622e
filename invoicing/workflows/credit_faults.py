"""What is wrong between credit and the books: what is left of prepaid credit is what they owe to customers for it."""

from collections.abc import Iterator

from moneyed import Money

from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.posting import PREPAID_CREDIT
from invoicing.credits.models import CreditGrant
from invoicing.credits.queries import left_of, with_balance
from invoicing.ledger.queries import trial_balance


def credit_faults() -> Iterator[tuple[str, str]]:
    """Yield each currency in which the books owe something else than what is left, and how it differs."""
    left: dict[str, Money] = {}
    for grant in with_balance(CreditGrant.objects.filter(kind=CreditKind.PREPAID)):
        left[grant.currency] = left.get(grant.currency, Money(0, grant.currency)) + left_of(grant=grant)
    owed = {one.amount.currency.code: one.amount * -1 for one in trial_balance() if one.account == PREPAID_CREDIT}
    for currency in sorted(set(left) | set(owed)):
        there, booked = left.get(currency, Money(0, currency)), owed.get(currency, Money(0, currency))
        if there != booked:
            yield currency, f"{there.amount} are left, the books owe {booked.amount}"
