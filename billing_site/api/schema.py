"""The OpenAPI document: how to sign in, and what every operation has in common."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from billing_site.api.errors import MEDIA_TYPE
from billing_site.api.idempotency import HEADER
from billing_site.api.scopes import RESOURCES

BEARER = "apiKey"
PROBLEM = {"$ref": "#/components/schemas/Problem"}
PROBLEM_SCHEMA = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {
                    "field": {"type": "string", "description": "Its path: `prices[0].tiers[1].up_to`."},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
        "instance": {"type": "string", "description": "Of a 500: the number under which it is logged."},
    },
    "example": {
        "type": "urn:billing:problem:invalid",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "started_at: must carry an offset: write 2026-08-01T00:00:00Z",
        "errors": [
            {
                "field": "started_at",
                "code": "naive",
                "message": "must carry an offset: write 2026-08-01T00:00:00Z",
            }
        ],
    },
}
ANSWERS_OF_ALL = {
    "401": "The API key is missing, unknown or revoked.",
    "403": "The API key lacks the scope, or is bound to a customer.",
    "429": "Too many requests: wait `Retry-After` seconds.",
}
ANSWERS_OF_WRITES = {
    "400": "The body cannot be parsed.",
    "409": "It contradicts the present state.",
    "413": "The body is too large.",
    "422": "A field cannot be accepted.",
}
ANSWERS_OF_ONE = {"404": "There is none, or not for this key."}


class ApiKeyScheme(OpenApiAuthenticationExtension):
    """Describes `Authorization: Bearer <api key>`."""

    target_class = "billing_site.api.authentication.ApiKeyAuthentication"
    name = BEARER

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the security scheme."""
        scopes = "; ".join(f"`{resource}:read|write` – {meaning}" for resource, meaning in RESOURCES.items())
        return {
            "type": "http",
            "scheme": "bearer",
            "description": f"`manage.py create_api_key NAME --scope S` prints a key once. Scopes: {scopes}.",
        }


def add_common_answers(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add to every operation the problems that it may answer, and Idempotency-Key to every POST."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            meanings = dict(ANSWERS_OF_ALL)
            if method in ("post", "put", "patch"):
                meanings |= ANSWERS_OF_WRITES
            if "{" in path:
                meanings |= ANSWERS_OF_ONE
            for status, meaning in meanings.items():
                operation["responses"].setdefault(status, _problem(meaning))
            if method == "post" and not path.endswith("/events"):
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    return result


IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "schema": {"type": "string", "maxLength": 255},
    "description": "The same key with the same body has one effect; its answer is given again for seven days.",
}


def _problem(meaning: str) -> dict[str, Any]:
    return {"description": meaning, "content": {MEDIA_TYPE: {"schema": PROBLEM}}}
