"""A machine that calls the API with a key."""

import json
from typing import Any

from django.http import HttpResponse
from django.test import Client

from billing_site.api.operations import create_api_key
from billing_site.api.scopes import SCOPES


class Caller:
    """Sends JSON with a bearer key; an answer's problem is told in full where a status is not the expected one."""

    def __init__(self, *scopes: str, customer: str = "") -> None:
        self.key = create_api_key(name="a test", scopes=scopes or SCOPES, customer_key=customer)
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=self._headers(headers))

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.send("POST", path, json.dumps(body), **headers)

    def patch(self, path: str, body: Any) -> Any:
        return self.send("PATCH", path, json.dumps(body))

    def put(self, path: str, body: Any) -> Any:
        return self.send("PUT", path, json.dumps(body))

    def send(
        self, method: str, path: str, body: str | bytes, content_type: str = "application/json", **headers: str
    ) -> Any:
        return self.client.generic(method, path, body, content_type, headers=self._headers(headers))

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }


def fields_of(response: HttpResponse) -> dict[str, str]:
    """Return the code told for each field of a problem."""
    assert response.headers["Content-Type"] == "application/problem+json", response.content[:500]
    problem = json.loads(response.content)
    assert problem["status"] == response.status_code
    assert set(problem) >= {"type", "title", "status", "detail", "errors"}
    assert "Traceback" not in response.content.decode()
    return {error["field"]: error["code"] for error in problem["errors"]}
