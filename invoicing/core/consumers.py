"""Whose usage a contract charges: that of who is billed, or of an account that is billed to it."""

from invoicing.core.contract import ContractSnapshot


def consumer_of(*, snapshot: ContractSnapshot, subscription: str) -> str:
    """Return the key of the customer whose subscription it is; a snapshot names those of accounts."""
    return snapshot.consumers.get(subscription, snapshot.customer)
