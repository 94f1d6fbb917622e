"""What does not balance in the books: entries, over all or for a legal entity, what stands between companies, and whole currencies."""

from collections.abc import Iterator

from billing_site.kernel.money import total
from invoicing.core.posting import INTERCOMPANY
from invoicing.ledger.queries import trial_balance, unbalanced_entries, unbalanced_for_entities


def balance_faults() -> Iterator[tuple[str, str]]:
    """Yield (entry or currency, what does not balance), and for which legal entity (S0-118)."""
    of_entities: dict[int, list[str]] = {}
    for_entities = unbalanced_for_entities()
    for number, entity, currency, left in for_entities:
        of_entities.setdefault(number, []).append(f"by {currency} {left} for legal entity {entity}")
    for entry in unbalanced_entries(for_entities=for_entities):
        told = " and ".join(of_entities.get(entry.pk, ()))
        yield f"journal entry {entry}", f"its debits and credits differ {told}".rstrip()
    balances = trial_balance()
    for between in (one for one in balances if one.account == INTERCOMPANY and one.amount.amount):
        yield between.amount.currency.code, f"{between.amount.amount} are owed between legal entities by nobody"
    for currency in sorted({balance.amount.currency.code for balance in balances}):
        rest = total((b.amount for b in balances if b.amount.currency.code == currency), currency)
        if rest.amount:
            yield currency, f"the trial balance is off by {rest.amount}"
