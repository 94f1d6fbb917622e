"""Words for tests in which several legal entities sell."""

from typing import Any

from invoicing.entities.models import LegalEntity
from invoicing.entities.operations import change_entity, create_entity

AMERICAN = {
    "key": "us",
    "name": "Example Inc.",
    "address": "1 Example Plaza\nNew York, NY 10001\nUnited States",
    "email": "billing@example.org",
    "registration": "Delaware corporation 1234567",
    "bank": "Example Bank, account 123456789",
    "invoice_prefix": "US",
    "credit_note_prefix": "US-CN",
}


def an_entity(**fields: Any) -> LegalEntity:
    """A company in New York beside the first one, unless said otherwise."""
    return create_entity(**(AMERICAN | fields), actor="test", reason="set up")


def changed(entity: LegalEntity, **changes: Any) -> LegalEntity:
    return change_entity(entity=entity, changes=changes, actor="test", reason="asked for it")
