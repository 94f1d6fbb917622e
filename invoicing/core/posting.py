"""Postings: which accounts an event of the business touches; debits are positive, credits negative (S0-118)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moneyed import Money

from billing_site.kernel.money import is_rounded
from billing_site.kernel.money import total as sum_of

BANK = "1000"
STRIPE_CLEARING = "1100"
PAYOUTS_IN_TRANSIT = "1110"
DISPUTED = "1150"
RECEIVABLE = "1200"
INTERCOMPANY = "1300"
ELSEWHERE = "1900"
PREPAID = "2100"
PREPAID_CREDIT = "2110"
ON_ACCOUNT = "2120"
DEFERRED = "2200"
TAX_PAYABLE = "2300"
REFUNDS_PAYABLE = "2400"
UNIDENTIFIED = "2500"
REVENUE = "4000"
BREAKAGE = "4100"
CREDIT_BREAKAGE = "4110"
PROMOTIONAL_CREDIT = "4200"
BAD_DEBT = "6000"
DISPUTE_LOSSES = "6100"
DISPUTE_FEES = "6110"
BANK_FEES = "6200"
PAYMENT_FEES = "6210"

ACCOUNT_NAMES = {
    BANK: "Bank",
    STRIPE_CLEARING: "Stripe clearing",
    PAYOUTS_IN_TRANSIT: "Stripe payouts in transit",
    DISPUTED: "Disputed payments",
    RECEIVABLE: "Receivable",
    INTERCOMPANY: "Due from and to affiliated companies",
    ELSEWHERE: "Bank movements booked elsewhere",
    PREPAID: "Prepaid commitments",
    PREPAID_CREDIT: "Prepaid credit",
    ON_ACCOUNT: "Customers' money on account",
    DEFERRED: "Deferred revenue",
    TAX_PAYABLE: "Tax payable",
    REFUNDS_PAYABLE: "Refunds payable",
    UNIDENTIFIED: "Unidentified bank movements",
    REVENUE: "Revenue",
    PROMOTIONAL_CREDIT: "Promotional credit",
    CREDIT_BREAKAGE: "Breakage of credit",
    BREAKAGE: "Breakage",
    BAD_DEBT: "Bad debt",
    DISPUTE_LOSSES: "Dispute losses",
    DISPUTE_FEES: "Dispute fees",
    BANK_FEES: "Bank fees",
    PAYMENT_FEES: "Payment fees",
}
# Where the money of a settlement channel arrives: card payments at Stripe first, transfers at the bank.
CASH_ACCOUNTS = {"stripe": STRIPE_CLEARING, "manual": BANK}
# These stand in the books of who has the account at Stripe: its money, and the fees that Stripe invoices to it, whoever's customer caused them.
AT_STRIPE = (STRIPE_CLEARING, PAYOUTS_IN_TRANSIT, PAYMENT_FEES, DISPUTE_FEES)
# What an unidentified bank line becomes, beside a payment.
IDENTIFIED = (BANK, ON_ACCOUNT, STRIPE_CLEARING, PAYOUTS_IN_TRANSIT, ELSEWHERE, BANK_FEES)


@dataclass(frozen=True)
class PostingLine:
    """One side of a journal entry: a debit if positive, a credit if negative."""

    account: str
    amount: Money

    def __post_init__(self) -> None:
        assert self.account in ACCOUNT_NAMES, f"no such account: {self.account}"
        assert is_rounded(self.amount), f"the books hold whole minor units: {self.amount}"


@dataclass(frozen=True)
class EntityLine:
    """A line of an entry in the books of one legal entity, by its key."""

    entity: str
    line: PostingLine


def divided(*, postings: Sequence[PostingLine], entity: str, holders: Mapping[str, str]) -> tuple[EntityLine, ...]:
    """Return each line in the books of the legal entity that holds its account (`holders`, by account), else of the one whose fact it is.

    Where these are several each of them gets a line more, on the intercompany account: what the others owe it for this entry, or it owes
    them. So the lines of each sum to zero, and what stands between companies sums to zero over all of them.
    """
    assert all(line.account != INTERCOMPANY for line in postings), "what is between companies follows from the rest"
    lines = tuple(EntityLine(holders.get(one.account, entity), one) for one in postings)
    entities = {one.entity for one in lines}
    if len(entities) == 1:
        return lines
    currency = postings[0].amount.currency.code
    rest = {key: sum_of((one.line.amount for one in lines if one.entity == key), currency) for key in entities}
    between = tuple(
        EntityLine(key, PostingLine(INTERCOMPANY, rest[key] * -1)) for key in sorted(entities) if rest[key].amount
    )
    assert sum_of((one.line.amount for one in between), currency).amount == 0, "what one is owed another owes"
    return (*lines, *between)


def postings_for_issue(
    *, total: Money, currency: str, beside: Mapping[str, Money] | None = None
) -> tuple[PostingLine, ...]:
    """An invoice is issued: the customer owes its total; what is credited beside revenue, by account, is not earned by it.

    A negative amount takes from that account: what is drawn from a prepaid commitment is earned now.
    """
    others = {account: amount for account, amount in sorted((beside or {}).items()) if amount.amount}
    assert total.amount >= 0, f"a negative amount is a reversal or a credit note: {total}"
    assert total.currency.code == currency, f"{total.currency} in an entry of {currency}"
    earned = total - sum_of(others.values(), currency)
    credits = [PostingLine(account, amount * -1) for account, amount in others.items()]
    if earned.amount or not credits:
        credits.insert(0, PostingLine(REVENUE, earned * -1))
    return _balanced((PostingLine(RECEIVABLE, total), *credits), currency)


def postings_for_credit_sale(*, amount: Money) -> tuple[PostingLine, ...]:
    """A customer pays credit into the bank before using it: it is owed to him until it is drawn."""
    return _transfer(amount, amount.currency.code, debit=BANK, credit=PREPAID_CREDIT)


def postings_for_breakage(*, amount: Money) -> tuple[PostingLine, ...]:
    """Prepaid credit expires: nobody is owed it any more."""
    return _transfer(amount, amount.currency.code, debit=PREPAID_CREDIT, credit=CREDIT_BREAKAGE)


def postings_for_recognition(*, amount: Money) -> tuple[PostingLine, ...]:
    """Service that was paid in advance was served by the end of a month: it is revenue of that month; a negative amount was too much."""
    return _moved(amount, to=DEFERRED, out_of=REVENUE)


def postings_for_payment(*, amount: Money, channel: str) -> tuple[PostingLine, ...]:
    """A payment arrives over a channel of CASH_ACCOUNTS, and the customer owes that much less."""
    assert channel in CASH_ACCOUNTS, f"money arrives over {tuple(CASH_ACCOUNTS)}, not {channel}"
    return _transfer(amount, amount.currency.code, debit=CASH_ACCOUNTS[channel], credit=RECEIVABLE)


def postings_for_credit_note(
    *, offset: Money, balance: Money, refund: Money, beside: Mapping[str, Money] | None = None
) -> tuple[PostingLine, ...]:
    """An invoice is credited: less is owed for it (`offset`), credit is owed to the customer (`balance`), or money (`refund`).

    `beside` is what is taken from other accounts than revenue, by account: fees in advance that nobody will serve.
    """
    currency = offset.currency.code
    whole = sum_of((offset, balance, refund), currency)
    others = {account: amount for account, amount in sorted((beside or {}).items()) if amount.amount}
    earned = whole - sum_of(others.values(), currency)
    assert whole.amount > 0 and earned.amount >= 0, f"a credit note gives something back: {whole}"
    assert min(offset, balance, refund, *others.values()).amount >= 0, "each part of it gives back"
    given = ((RECEIVABLE, offset), (PREPAID_CREDIT, balance), (REFUNDS_PAYABLE, refund))
    debits = [PostingLine(account, amount) for account, amount in ((REVENUE, earned), *others.items()) if amount.amount]
    credits = [PostingLine(account, amount * -1) for account, amount in given if amount.amount]
    return _balanced((*debits, *credits), currency)


def postings_for_refund(*, amount: Money, channel: str) -> tuple[PostingLine, ...]:
    """Money that a credit note promised leaves over a channel of CASH_ACCOUNTS."""
    assert channel in CASH_ACCOUNTS, f"money leaves over {tuple(CASH_ACCOUNTS)}, not {channel}"
    return _transfer(amount, amount.currency.code, debit=REFUNDS_PAYABLE, credit=CASH_ACCOUNTS[channel])


def postings_for_write_off(*, amount: Money) -> tuple[PostingLine, ...]:
    """What a customer owes is given up, with the tax in it: whether that tax is owed nevertheless is for the tax return to say."""
    return _transfer(amount, amount.currency.code, debit=BAD_DEBT, credit=RECEIVABLE)


def postings_for_recovery(*, amount: Money) -> tuple[PostingLine, ...]:
    """What was given up is expected again, or has come: it is no loss any more, and owed until a payment says otherwise."""
    return _transfer(amount, amount.currency.code, debit=RECEIVABLE, credit=BAD_DEBT)


def postings_for_withdrawal(*, amount: Money) -> tuple[PostingLine, ...]:
    """A bank takes a disputed payment back: the money has left Stripe's balance, and is neither ours nor lost until the bank decides."""
    return _transfer(amount, amount.currency.code, debit=DISPUTED, credit=STRIPE_CLEARING)


def postings_for_reinstatement(*, amount: Money) -> tuple[PostingLine, ...]:
    """A disputed payment comes back into Stripe's balance."""
    return _transfer(amount, amount.currency.code, debit=STRIPE_CLEARING, credit=DISPUTED)


def postings_for_dispute_loss(*, amount: Money) -> tuple[PostingLine, ...]:
    """A dispute is lost: the money is gone. Nothing is owed again by that, and what was earned and taxed stays so."""
    return _transfer(amount, amount.currency.code, debit=DISPUTE_LOSSES, credit=DISPUTED)


def postings_for_dispute_fee(*, amount: Money) -> tuple[PostingLine, ...]:
    """Stripe charges for a dispute, whoever wins it."""
    return _transfer(amount, amount.currency.code, debit=DISPUTE_FEES, credit=STRIPE_CLEARING)


def postings_for_returned_fee(*, amount: Money) -> tuple[PostingLine, ...]:
    """Stripe gives the fee of a dispute back."""
    return _transfer(amount, amount.currency.code, debit=STRIPE_CLEARING, credit=DISPUTE_FEES)


def postings_for_payout(*, amount: Money) -> tuple[PostingLine, ...]:
    """A payout has left Stripe's balance for the bank, or, below zero, the other way round; until the bank says so it is in transit."""
    return _moved(amount, to=PAYOUTS_IN_TRANSIT, out_of=STRIPE_CLEARING)


def postings_for_stripe_fee(*, amount: Money) -> tuple[PostingLine, ...]:
    """Stripe kept its fee of a charge; a negative one is given back."""
    return _moved(amount, to=PAYMENT_FEES, out_of=STRIPE_CLEARING)


def postings_for_explanation(*, amount: Money, account: str) -> tuple[PostingLine, ...]:
    """Somebody said what moved Stripe's balance, signed as that, where nothing of ours did."""
    assert account in (PAYMENT_FEES, ELSEWHERE), f"what Stripe moved is booked to fees or elsewhere, not {account}"
    return _moved(amount, to=STRIPE_CLEARING, out_of=account)


def postings_for_bank_line(*, amount: Money) -> tuple[PostingLine, ...]:
    """A bank statement says that money came in (positive) or went out: what it is, is not known yet."""
    return _moved(amount, to=BANK, out_of=UNIDENTIFIED)


def postings_for_identified(*, amount: Money, account: str) -> tuple[PostingLine, ...]:
    """A bank line, signed as it is, is known: the bank itself where the same money is in the books already, else its account."""
    assert account in IDENTIFIED, f"a bank line becomes one of {IDENTIFIED}, not {account}"
    return _moved(amount, to=UNIDENTIFIED, out_of=account)


def postings_for_held_payment(*, amount: Money, held_on: str) -> tuple[PostingLine, ...]:
    """Money that came before settles what a customer owes: from an unidentified bank line, or from what he has on account."""
    assert held_on in (UNIDENTIFIED, ON_ACCOUNT), f"no customer's money is held on {held_on}"
    return _transfer(amount, amount.currency.code, debit=held_on, credit=RECEIVABLE)


def postings_for_payment_reversal(*, amount: Money, account: str) -> tuple[PostingLine, ...]:
    """A payment counts no more and is owed again: its money left the bank, is an unidentified bank line again, or on account of the customer.

    Of a direct debit that was returned through Stripe it is what was lost by its dispute, which is a loss no more.
    """
    assert account in (BANK, UNIDENTIFIED, ON_ACCOUNT, DISPUTE_LOSSES), f"no payment is taken back to {account}"
    return _transfer(amount, amount.currency.code, debit=RECEIVABLE, credit=account)


def postings_for_paying_back(*, amount: Money) -> tuple[PostingLine, ...]:
    """Money that a customer had on account leaves by bank transfer."""
    return _transfer(amount, amount.currency.code, debit=ON_ACCOUNT, credit=BANK)


def postings_for_reversal(*, postings: Sequence[PostingLine]) -> tuple[PostingLine, ...]:
    """An entry is taken back: the same accounts with every sign turned."""
    assert postings, "an entry without postings cannot be reversed"
    return _balanced(
        tuple(PostingLine(line.account, line.amount * -1) for line in postings), postings[0].amount.currency.code
    )


def _moved(amount: Money, *, to: str, out_of: str) -> tuple[PostingLine, ...]:
    """Debit one account and credit another, or the other way round where the amount is negative."""
    return _balanced((PostingLine(to, amount), PostingLine(out_of, amount * -1)), amount.currency.code)


def _transfer(amount: Money, currency: str, *, debit: str, credit: str) -> tuple[PostingLine, ...]:
    assert amount.amount >= 0, f"a negative amount is a reversal or a credit note: {amount}"
    return _balanced((PostingLine(debit, amount), PostingLine(credit, amount * -1)), currency)


def _balanced(postings: tuple[PostingLine, ...], currency: str) -> tuple[PostingLine, ...]:
    assert sum_of((line.amount for line in postings), currency).amount == 0, "debits must equal credits"
    return postings
