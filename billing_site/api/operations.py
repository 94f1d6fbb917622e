"""What may happen to API keys: made, shown once, revoked."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from django.db import transaction

from billing_site.api.models import ApiKey
from billing_site.api.scopes import SCOPES
from billing_site.kernel.errors import FieldError, InvalidFields, NotFound
from invoicing.customers.queries import customer_by_key

KEY_MARK = "bbk_"
PREFIX_LENGTH = 12


@transaction.atomic
def create_api_key(*, name: str, scopes: Sequence[str], customer_key: str = "") -> str:
    """Make a key of 256 random bits and return it, this once: only its SHA-256 is kept.

    A key with a `customer_key` sees that customer's resources only. Raises InvalidFields naming an
    empty name or an unknown scope, NotFound for an unknown customer.
    """
    errors = []
    if not name.strip() or len(name) > 200 or "\x00" in name:
        errors.append(FieldError("name", "invalid", "must have 1 to 200 characters"))
    if not scopes:
        errors.append(FieldError("scopes", "required", f"needs at least one of {', '.join(SCOPES)}"))
    errors += [
        FieldError("scopes", "unknown", f"{scope!r} is not a scope; known are {', '.join(SCOPES)}")
        for scope in scopes
        if scope not in SCOPES
    ]
    if errors:
        raise InvalidFields(tuple(errors))
    if customer_key:
        customer_by_key(key=customer_key, field="customer")

    key = KEY_MARK + secrets.token_urlsafe(32)
    ApiKey.objects.create(
        name=name,
        prefix=key[:PREFIX_LENGTH],
        digest=digest_of_key(key=key),
        scopes=[scope for scope in SCOPES if scope in scopes],
        customer_key=customer_key,
    )
    return key


@transaction.atomic
def revoke_api_key(*, prefix: str, at: datetime) -> ApiKey:
    """End the key that begins with `prefix`; a second time changes nothing. Raises NotFound."""
    found = ApiKey.objects.select_for_update().filter(prefix=prefix).first()
    if found is None:
        raise NotFound(f"there is no API key that begins with {prefix!r}", field="prefix")
    if found.revoked_at is None:
        found.revoked_at = at
        found.save(update_fields=["revoked_at"])
    return found


def digest_of_key(*, key: str) -> str:
    """Return what is stored of a key: its SHA-256; 256 random bits need no salt and no slow hash."""
    return sha256(key.encode()).hexdigest()
