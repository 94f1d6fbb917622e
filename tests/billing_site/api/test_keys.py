"""API keys: shown once, kept as a digest, limited to their scopes."""

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from billing_site.api.models import ApiKey
from billing_site.api.operations import create_api_key, digest_of_key, revoke_api_key
from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidFields, NotFound
from tests.billing_site.api.caller import Caller, fields_of

pytestmark = pytest.mark.django_db


def test_a_key_is_never_stored():
    key = create_api_key(name="ingest", scopes=["events:write"])

    stored = ApiKey.objects.get()
    assert key.startswith("bbk_")
    assert len(key) >= 4 + 43
    assert stored.digest == digest_of_key(key=key)
    assert stored.prefix == key[:12]
    assert key not in str(vars(stored))


def test_an_unknown_scope_is_told_with_the_list_of_known_ones():
    with pytest.raises(InvalidFields, match=r"'usage:delete' is not a scope; known are .*usage:read"):
        create_api_key(name="x", scopes=["usage:delete"])
    with pytest.raises(InvalidFields, match="needs at least one"):
        create_api_key(name="x", scopes=[])
    with pytest.raises(InvalidFields, match="1 to 200 characters"):
        create_api_key(name=" ", scopes=["usage:read"])


def test_a_key_can_only_be_bound_to_a_customer_that_exists():
    with pytest.raises(NotFound):
        create_api_key(name="x", scopes=["usage:read"], customer_key="cust_nobody")


def test_the_command_prints_the_key_alone_on_standard_output():
    output = StringIO()

    call_command("create_api_key", "loader", "--scope", "events:write", "--scope", "usage:read", stdout=output)

    key = output.getvalue().strip()
    assert output.getvalue() == f"{key}\n"
    assert ApiKey.objects.get(digest=digest_of_key(key=key)).scopes == ["events:write", "usage:read"]
    with pytest.raises(CommandError, match="is not a scope"):
        call_command("create_api_key", "loader", "--scope", "everything")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer bbk_wrong", "Basic YTpi", "bbk_wrong", "Bearer ä", "Bearer a b"]
)
def test_without_a_known_key_the_answer_is_401_with_a_challenge(header):
    response = Client().get("/api/v1/customers", headers={"Authorization": header})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert re.search(r"send `Authorization: Bearer bbk_...`|not known or was revoked", response.json()["detail"])
    assert fields_of(response) == {}


def test_a_revoked_key_opens_nothing():
    caller = Caller("customers:read")
    assert caller.get("/api/v1/customers").status_code == 200

    first = revoke_api_key(prefix=caller.key[:12], at=now())
    again = revoke_api_key(prefix=caller.key[:12], at=now() + timedelta(hours=1))

    assert caller.get("/api/v1/customers").status_code == 401
    assert again.revoked_at == first.revoked_at
    with pytest.raises(NotFound):
        revoke_api_key(prefix="bbk_nothing", at=now())


def test_a_missing_scope_is_named():
    response = Caller("usage:read", "customers:write").get("/api/v1/customers")

    assert response.status_code == 403
    assert "customers:read" in response.json()["detail"]


def test_the_last_use_is_noted_once_a_minute(django_assert_num_queries):
    caller = Caller("customers:read")
    caller.get("/api/v1/customers")
    used = ApiKey.objects.get().last_used_at
    assert used is not None

    with django_assert_num_queries(2):
        caller.get("/api/v1/customers")
    assert ApiKey.objects.get().last_used_at == used

    ApiKey.objects.update(last_used_at=used - timedelta(seconds=61))
    caller.get("/api/v1/customers")
    assert ApiKey.objects.get().last_used_at > used


def test_methods_that_an_address_does_not_know_are_405():
    caller = Caller()

    assert caller.send("DELETE", "/api/v1/customers", "").status_code == 405
    assert caller.send("OPTIONS", "/api/v1/customers", "").status_code == 405
    assert caller.send("TRACE", "/api/v1/customers", "").status_code == 405
    assert caller.get("/api/v1/prices/preview").status_code == 405
