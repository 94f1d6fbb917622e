"""What the views of this face share."""

from collections.abc import Mapping
from typing import Any, cast

from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from billing_site.kernel.errors import InvalidInput, Malformed, NotFound

PAGING_PARAMETERS = ("cursor", "limit")


def actor_of(request: Request) -> str:
    """Return how the history names the caller."""
    return f"API key {_key_of(request).name}"


def bound_customer(request: Request) -> str:
    """Return the key of the only customer that the caller may see, or "" for all."""
    return str(_key_of(request).customer_key)


def has_scope(request: Request, scope: str) -> bool:
    """Say whether the caller's key has a scope."""
    return scope in _key_of(request).scopes


def check_customer_visible(request: Request, *, key: str, field: str) -> None:
    """Raise NotFound, in the words of a customer that does not exist, where the caller may not see this one."""
    if bound_customer(request) not in ("", key):
        raise NotFound(f"there is no customer {key!r}", field=field)


def read(serializer: BaseSerializer[Any]) -> dict[str, Any]:
    """Return the validated content of a request body; raises Malformed where it is no object, ValidationError."""
    if not isinstance(serializer.initial_data, Mapping):
        raise Malformed("the body must be a JSON object")
    serializer.is_valid(raise_exception=True)
    content: dict[str, Any] = serializer.validated_data
    return content


def filters_of(request: Request, *, known: tuple[str, ...]) -> dict[str, str]:
    """Return the filters of a list; raises InvalidInput for a parameter that is unknown or stands twice."""
    for name, values in request.query_params.lists():
        if name not in known + PAGING_PARAMETERS:
            raise InvalidInput(
                f"is not known here; known are {', '.join(known + PAGING_PARAMETERS)}", field=name, code="unknown"
            )
        if len(values) > 1:
            raise InvalidInput("stands twice in the address", field=name, code="duplicate")
    return {name: request.query_params[name] for name in known if name in request.query_params}


def _key_of(request: Request) -> Any:
    """Return the caller's API key; its type stands above this package, in billing_site.api."""
    return cast(Any, request.auth)
