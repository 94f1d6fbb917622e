"""The OpenAPI document describes every route, and its page needs no other host."""

import json
import re

import pytest
from django.core.management import call_command
from django.test import Client

from billing_site.api.schema import BEARER
from tests.billing_site.api.test_isolation import ROUTES


@pytest.fixture(scope="module")
def schema() -> dict:
    response = Client().get("/api/schema/?format=json")
    assert response.status_code == 200
    return json.loads(response.content)


def test_the_schema_is_valid_and_generated_without_a_warning(tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))


def test_every_route_is_described_with_its_problems_and_its_key(schema):
    for path, view in ROUTES:
        operations = schema["paths"][re.sub(r"<\w+:(\w+)>", r"{\1}", path)]
        assert set(operations) == {method.lower() for method in view.scopes}, path
        for method, operation in operations.items():
            assert operation["summary"], path
            assert operation["security"] == [{BEARER: []}], path
            assert "application/problem+json" in operation["responses"]["401"]["content"], path
            named = {parameter["name"] for parameter in operation.get("parameters", [])}
            own_keys = getattr(view, "has_own_idempotency", False)
            assert ("Idempotency-Key" in named) == (method == "post" and not own_keys), path


def test_every_body_has_an_example(schema):
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if body := operation.get("requestBody"):
                assert '"example' in json.dumps(body["content"]), path


def test_the_bearer_scheme_tells_the_scopes(schema):
    scheme = schema["components"]["securitySchemes"][BEARER]

    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert "invoices:read|write" in scheme["description"]


def test_the_introduction_tells_how_to_begin(schema):
    introduction = schema["info"]["description"]

    for word in ("create_api_key", "Authorization: Bearer", "Scopes", "Idempotency-Key", "problem+json", "curl"):
        assert word in introduction


def test_the_page_of_the_schema_loads_nothing_from_elsewhere():
    page = Client().get("/api/docs/").content.decode()

    assert "swagger-ui" in page
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "validator.swagger.io" not in page
