"""Who is calling, and whether the key's scopes allow it.

A view declares `scopes = {"GET": "usage:read", "POST": "events:write"}`, and in `customer_bound` the
methods that limit themselves to `request.auth.customer_key`: a key that is bound to one customer is
refused by every other method, so that a view that forgot the rule leaks nothing.
"""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Q
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from billing_site.api.models import ApiKey
from billing_site.api.operations import digest_of_key
from billing_site.kernel import clock
from billing_site.kernel.written_query import WrittenQuery

TOUCHED_EVERY = timedelta(minutes=1)
_COLUMNS = [column.attname for column in ApiKey._meta.concrete_fields]
# Asked with every request: to write it took longer than to answer it.
_BY_DIGEST = WrittenQuery(lambda digest: ApiKey.objects.filter(digest=digest).values_list(*_COLUMNS), digest=str)


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <api key>`; the key itself becomes `request.auth`."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        """Return the key of the request, or None where it carries none; raises AuthenticationFailed."""
        key = api_key_of(request=request._request)
        # No user: simple-history would take one for the author, and the author is the key.
        return (AnonymousUser(), key) if key else None

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return 'Bearer realm="billing"'


class HasScope(BasePermission):
    """Let a key do what its scopes name, and nothing that a view has not declared."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Say whether there is a key; raises PermissionDenied naming the scope that it lacks."""
        method = "GET" if request.method == "HEAD" else str(request.method)
        if method == "OPTIONS" or not hasattr(view, method.lower()):
            return True  # 405 follows
        declared: dict[str, str] = getattr(view, "scopes", {})
        assert method in declared, f"{type(view).__name__} does not declare the scope of {method}"
        key = request.auth
        if not isinstance(key, ApiKey):
            return False
        if declared[method] not in key.scopes:
            raise PermissionDenied(f"this key lacks the scope {declared[method]}", code="missing_scope")
        if key.customer_key and method not in getattr(view, "customer_bound", ()):
            raise PermissionDenied(f"this key is bound to the customer {key.customer_key}", code="customer_bound")
        return True


def api_key_of(*, request: HttpRequest) -> ApiKey | None:
    """Return the valid key that a request carries, or None where it carries none.

    Raises AuthenticationFailed for a key that is unknown or revoked. The digest is looked up, so
    no comparison runs over the secret. The result is kept on the request.
    """
    known: Any = getattr(request, "_api_key", None)
    if known is not None:
        return known
    scheme, _, secret = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    found = _BY_DIGEST.rows(digest=digest_of_key(key=secret.strip()))
    key = ApiKey.from_db(DEFAULT_DB_ALIAS, _COLUMNS, found[0]) if found else None
    if key is None or key.revoked_at is not None:
        raise AuthenticationFailed("this API key is not known or was revoked")
    _touch(key)
    request._api_key = key  # type: ignore[attr-defined]
    return key


def _touch(key: ApiKey) -> None:
    at = clock.now()
    if key.last_used_at is None or key.last_used_at <= at - TOUCHED_EVERY:
        stale = Q(last_used_at=None) | Q(last_used_at__lte=at - TOUCHED_EVERY)
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=at)
