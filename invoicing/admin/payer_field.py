"""Who is billed for a customer, as forms ask for it."""

from collections.abc import Mapping
from typing import Any

from invoicing.admin.seller_field import with_seller_key


def with_keys(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as operations take them: a legal entity and who is billed by their keys."""
    told = with_seller_key(fields)
    if "billed_to" in told:
        told["billed_to"] = "" if told["billed_to"] is None else told["billed_to"].key
    return told
