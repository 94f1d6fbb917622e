"""Mapping accounts: what each of ours is called in DATEV, Xero, QuickBooks and beancount."""

import re

from django.db import transaction

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.text import is_storable
from invoicing.ledger.models import Account
from invoicing.reports.models import AccountMapping, BookkeepingSystem

CODE_PATTERNS = {
    BookkeepingSystem.DATEV.value: (re.compile(r"[0-9]{4,8}"), "must be a number of 4 to 8 digits, such as 1200"),
    BookkeepingSystem.XERO.value: (
        re.compile(r"[A-Za-z0-9.\-]{1,10}"),
        "must be a code of at most 10 letters and digits",
    ),
    BookkeepingSystem.QUICKBOOKS.value: (
        re.compile(r"[^\x00-\x1f\"]{1,100}"),
        "must be a name of at most 100 characters",
    ),
    # beancount's lexer: a root and components that begin with a capital letter or a digit.
    BookkeepingSystem.BEANCOUNT.value: (
        re.compile(r"(Assets|Liabilities|Equity|Income|Expenses)(:[A-Z0-9][A-Za-z0-9\-]*)+"),
        "must be a name such as Assets:Receivable, its root one of Assets, Liabilities, Equity, Income, Expenses",
    ),
}
ROOTS = {
    Account.Kind.ASSET.value: "Assets",
    Account.Kind.LIABILITY.value: "Liabilities",
    Account.Kind.REVENUE.value: "Income",
    Account.Kind.EXPENSE.value: "Expenses",
}


@transaction.atomic
def map_account(*, system: str, account: Account, code: str, actor: str, reason: str) -> AccountMapping:
    """Say what an account is called in another system; the same again changes nothing. Raises InvalidInput naming the field."""
    if system not in BookkeepingSystem.values:
        raise InvalidInput(f"must be one of {', '.join(BookkeepingSystem.values)}", field="system")
    check_code(system=system, code=code)
    row = AccountMapping.objects.select_for_update().filter(system=system, account=account).first()
    if row is not None and row.code == code:
        return row
    row = row or AccountMapping(system=system, account=account)
    row.code = code
    save_with_reason(row, actor=actor, reason=reason)
    return row


def check_code(*, system: str, code: str) -> None:
    """Refuse what cannot be an account of a system; raises InvalidInput."""
    pattern, message = CODE_PATTERNS[system]
    if not pattern.fullmatch(code) or code != code.strip() or not is_storable(code):
        raise InvalidInput(message, field="code")


def default_code(*, system: str, account: Account) -> str:
    """Return what an account is called without a mapping; empty for DATEV, whose charts give our numbers other meanings."""
    match system:
        case BookkeepingSystem.XERO:
            return account.code
        case BookkeepingSystem.QUICKBOOKS:
            return account.name
        case BookkeepingSystem.BEANCOUNT:
            return f"{ROOTS[account.kind]}:{''.join(word.capitalize() for word in re.findall('[A-Za-z0-9]+', account.name))}"
        case _:
            return ""


def codes_in(*, system: str) -> dict[str, str]:
    """Return what each of our accounts is called in a system, by our code; empty where it has no name there."""
    mapped = dict(AccountMapping.objects.filter(system=system).values_list("account__code", "code"))
    accounts = Account.objects.order_by("code")
    return {one.code: mapped.get(one.code) or default_code(system=system, account=one) for one in accounts}
