"""What is wrong with the bank: files, lines, allocations and money on account that each other or the books do not say."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from django.db.models import QuerySet, Sum
from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import round_money, total
from invoicing.bank.models import (
    AccountUse,
    AllocationKind,
    AllocationReversal,
    BankAccount,
    BankAllocation,
    BankFile,
    BankLine,
    UseKind,
)
from invoicing.bank.queries import money_on_account, open_lines, uses_in_force
from invoicing.bank.reconciliation import reconciliations
from invoicing.core.bank.statement import identities
from invoicing.core.posting import (
    INTERCOMPANY,
    ON_ACCOUNT,
    UNIDENTIFIED,
    PostingLine,
    postings_for_held_payment,
    postings_for_paying_back,
    postings_for_payment_reversal,
)
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.ledger.queries import trial_balance
from invoicing.payments.models import Payment
from invoicing.payments.reversal import PaymentReversal
from invoicing.workflows.allocate_bank_line import postings_of, postings_of_reversal
from invoicing.workflows.import_bank_statement import entry_of, read_again

Kind = JournalEntry.Kind
OWN_KINDS = (
    Kind.BANK_LINE.value,
    Kind.BANK_ALLOCATION.value,
    Kind.BANK_REVERSAL.value,
    Kind.PAID_BACK.value,
    Kind.PAYMENT_REVERSAL.value,
)
# Of these the books have an entry of the payment.
OF_PAYMENTS = (AllocationKind.PAYMENT.value, AllocationKind.RETURN.value)


def bank_faults() -> Iterator[tuple[str, str]]:
    """Yield (file, line, allocation, entry or currency, what is wrong): lines are as their files say, and allocated no further than they go.

    What is left of all of them is what account 2500 says, what is on account is what 2120 says, and the bank account of the books differs
    from the statements by nothing that is not explained.
    """
    yield from _unlike_their_files()
    yield from _beyond_lines()
    yield from _out_of_books()
    left: dict[str, list[Money]] = {}
    for line in open_lines():
        left.setdefault(line.currency, []).append(round_money(line.left_amount, line.currency))
    yield from _unlike_account(UNIDENTIFIED, left, "left of bank lines")
    rest: dict[str, list[Money]] = {}
    for lot in money_on_account():
        rest.setdefault(lot.currency, []).append(round_money(lot.rest, lot.currency))
    yield from _unlike_account(ON_ACCOUNT, rest, "on account of customers")
    for one in reconciliations():
        if one.unexplained.amount:
            yield one.currency, f"{one.unexplained.amount} between the bank account and the statements are unexplained"


def bank_gaps() -> Iterator[tuple[str, str]]:
    """Yield (account, what its newest balance says beyond all lines): a statement was never imported, or a line was lost."""
    for one in reconciliations():
        for standing in one.accounts:
            if standing.missing.amount:
                told = f"{standing.missing.amount} {one.currency} of its balance of {standing.stated_on} are on no imported line"
                yield f"bank account {standing.account.identifier}", told


def _unlike_their_files() -> Iterator[tuple[str, str]]:
    """Read each kept file again and compare: its bytes, and that each of its lines is here with its amount."""
    accounts = {(one.identifier, one.currency): one for one in BankAccount.objects.all()}
    for file in BankFile.objects.order_by("id").iterator(chunk_size=20):
        if sha256(bytes(file.content)).hexdigest() != file.digest:
            yield f"bank file {file}", "its bytes are not those that were imported"
            continue
        try:
            statements = read_again(file=file)
        except BillingError as problem:
            yield f"bank file {file}", f"it cannot be read any more: {problem.message}"
            continue
        counted = dict(file.statements.values_list("position", "counted_from"))
        for position, statement in enumerate(statements, start=1):
            account = accounts.get((statement.account, statement.currency))
            named = identities(lines=statement.lines, counted_from=counted.get(position, {}))
            rows = BankLine.objects.filter(account=account, identity__in=named)
            here = {row.identity: row.amount for row in rows}
            for identity, line in zip(named, statement.lines, strict=True):
                if here.get(identity) != line.amount:
                    yield (
                        f"bank file {file}",
                        f"{line.place} is over {line.amount.amount}, here it is {here.get(identity)}",
                    )


def _beyond_lines() -> Iterator[tuple[str, str]]:
    """Yield lines that are allocated beyond their amount, and lots that are used beyond theirs."""
    in_force = BankAllocation.objects.filter(reversal__isnull=True)
    taken = {
        row["line"]: row["taken"]
        for row in in_force.order_by().values("line", "currency").annotate(taken=Sum("amount"))
    }
    for line in BankLine.objects.filter(pk__in=taken).order_by("id"):
        amount = line.amount.amount
        if abs(taken[line.pk]) > abs(amount) or (taken[line.pk] > 0) != (amount > 0):
            yield f"bank line {line}", f"{taken[line.pk]} of its {amount} are allocated"
    used = uses_in_force().order_by().values("allocation", "currency").annotate(used=Sum("amount"))
    spent = {row["allocation"]: row["used"] for row in used}
    for lot in BankAllocation.objects.filter(pk__in=spent).order_by("id"):
        if spent[lot.pk] > lot.amount.amount or lot.kind != AllocationKind.ON_ACCOUNT:
            yield f"money on account {lot}", f"{spent[lot.pk]} of {lot.amount.amount} are used"


def _out_of_books() -> Iterator[tuple[str, str]]:
    """Yield what stands in the books otherwise, entries that stand for nothing, and payments from lines that no allocation names."""
    booked: dict[tuple[str, str], dict[str, Money]] = {}
    postings = Posting.objects.filter(entry__kind__in=(*OWN_KINDS, Kind.PAYMENT.value))
    # What stands between companies follows from who holds the rest.
    postings = postings.exclude(account__code=INTERCOMPANY)
    rows = postings.values_list("entry__kind", "entry__reference", "account__code", "currency").annotate(Sum("amount"))
    for kind, reference, account, currency, amount in rows:
        booked.setdefault((kind, reference), {})[account] = round_money(amount, currency)
    for named, said, expected in _expected():
        if booked.pop(named, None) != {line.account: line.amount for line in expected}:
            yield said, "the books say something else of it"
    held = {UNIDENTIFIED, ON_ACCOUNT}
    for (kind, reference), accounts in booked.items():
        if kind in OWN_KINDS or held & set(accounts):
            yield f"journal entry {kind} {reference}", "there is nothing that it stands for"


def _expected() -> Iterator[tuple[tuple[str, str], str, tuple[PostingLine, ...]]]:
    """Yield what the books are to say: the entry's name, what it is of, and its postings."""
    for line in BankLine.objects.select_related("account").order_by("id").iterator(chunk_size=2_000):
        entry = entry_of(line=line)
        yield (entry.kind, entry.reference), f"bank line {line}", tuple(entry.postings)
    for allocation in BankAllocation.objects.exclude(kind__in=OF_PAYMENTS).order_by("id"):
        yield (
            (Kind.BANK_ALLOCATION.value, allocation.reference),
            f"allocation {allocation}",
            postings_of(allocation=allocation),
        )
    for reversal in AllocationReversal.objects.select_related("allocation").order_by("id"):
        allocation = reversal.allocation
        if allocation.kind not in OF_PAYMENTS:
            named = (Kind.BANK_REVERSAL.value, allocation.reference)
            yield named, f"reversal of {allocation}", postings_of_reversal(allocation=allocation)
        elif allocation.kind == AllocationKind.RETURN:
            again = postings_for_held_payment(amount=allocation.amount * -1, held_on=UNIDENTIFIED)
            yield (Kind.PAYMENT.value, f"manual:{allocation.reference}"), f"payment {allocation.reference}", again
    for undone in PaymentReversal.objects.select_related("payment").order_by("id"):
        named = (Kind.PAYMENT_REVERSAL.value, f"{undone.payment.channel}:{undone.payment.reference}")
        yield named, str(undone), postings_for_payment_reversal(amount=undone.amount, account=undone.account)
    for payment, amount in _held_payments(BankAllocation.objects.filter(kind=AllocationKind.PAYMENT)):
        yield payment, f"payment {payment[1]}", postings_for_held_payment(amount=amount, held_on=UNIDENTIFIED)
    for payment, amount in _held_payments(AccountUse.objects.filter(kind=UseKind.APPLIED)):
        yield payment, f"payment {payment[1]}", postings_for_held_payment(amount=amount, held_on=ON_ACCOUNT)
    for use in AccountUse.objects.filter(kind=UseKind.PAID_BACK).order_by("id"):
        yield (
            (Kind.PAID_BACK.value, use.reference),
            f"money paid back {use}",
            postings_for_paying_back(amount=use.amount),
        )


def _held_payments(rows: QuerySet[Any]) -> Iterator[tuple[tuple[str, str], Money]]:
    for row in rows.select_related("payment").order_by("id"):
        payment: Payment = row.payment
        yield (Kind.PAYMENT.value, f"{payment.channel}:{payment.reference}"), row.amount


def _unlike_account(account: str, held: dict[str, list[Money]], said: str) -> Iterator[tuple[str, str]]:
    booked = {one.amount.currency.code: one.amount * -1 for one in trial_balance() if one.account == account}
    for currency in sorted({*held, *booked}):
        expected, there = total(held.get(currency, ()), currency), booked.get(currency, total((), currency))
        if expected != there:
            yield currency, f"{expected.amount} are {said}, account {account} says {there.amount}"
