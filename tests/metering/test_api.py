"""Events in and usage out over HTTP: every event is answered, every mistake is told, nothing is a 500."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.models import UsageEvent
from metering.operations import create_meter
from metering.rollup import roll_up
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import JULY, a_customer, use

pytestmark = pytest.mark.django_db

NDJSON = "application/x-ndjson"


@pytest.fixture
def caller() -> Caller:
    return Caller("events:write", "usage:read", "meters:read", "meters:write")


def event(key: str = "k", **fields: Any) -> dict[str, Any]:
    complete = {
        "event_id": f"evt_{key}",
        "idempotency_key": key,
        "event_type": "action.consumed",
        "timestamp": "2026-07-01T12:00:00.000Z",
        "customer_id": "cust_acme",
        "quantity": "1",
    }
    return complete | fields


def answer(response: Any) -> tuple[int, dict[str, Any]]:
    return response.status_code, json.loads(response.content)


def test_one_event_is_accepted_and_again_it_is_a_duplicate(caller: Caller) -> None:
    first = answer(caller.post("/api/v1/events", event()))
    second = answer(caller.post("/api/v1/events", event()))

    assert first == (202, {"accepted": 1, "duplicates": 0, "rejected": []})
    assert second == (202, {"accepted": 0, "duplicates": 1, "rejected": []})


def test_a_batch_answers_for_each_event(caller: Caller) -> None:
    batch = [event("a"), event("b", quantity="-1"), event("a"), event("c", timestamp="2026-07-01T12:00:00")]

    status, receipt = answer(caller.post("/api/v1/events", {"events": batch}))

    assert (status, receipt["accepted"], receipt["duplicates"]) == (202, 1, 1)
    assert [(one["index"], one["field"], one["code"]) for one in receipt["rejected"]] == [
        (1, "quantity", "negative"),
        (3, "timestamp", "naive"),
    ]


def test_ndjson_answers_for_each_line(caller: Caller) -> None:
    lines = [json.dumps(event("a")), "", "not json", json.dumps(event("b")) + "\r", '{"a":1,"a":2}', "[]"]

    status, receipt = answer(caller.send("POST", "/api/v1/events", "\n".join(lines), NDJSON))

    assert (status, receipt["accepted"], receipt["duplicates"]) == (202, 2, 0)
    assert [(one["index"], one["code"]) for one in receipt["rejected"]] == [
        (1, "malformed"),
        (3, "malformed"),
        (4, "wrong_type"),
    ]


def test_where_every_event_is_refused_the_problem_names_the_fields(caller: Caller) -> None:
    alone = caller.post("/api/v1/events", event(quantity="NaN"))
    together = caller.post("/api/v1/events", {"events": [event(quantity="x"), event(customer_id="")]})

    assert (alone.status_code, fields_of(alone)) == (422, {"quantity": "not_a_number"})
    assert together.status_code == 422
    assert fields_of(together) == {"events[0].quantity": "not_a_number", "events[1].customer_id": "blank"}
    assert [one["field"] for one in answer(together)[1]["rejected"]] == ["quantity", "customer_id"]
    assert UsageEvent.objects.count() == 0


def test_numbers_never_become_floats_on_the_way(caller: Caller) -> None:
    body = json.dumps(event(properties={})).replace('"1"', "12345678901234567890.123456789012")

    caller.send("POST", "/api/v1/events", body)

    assert str(UsageEvent.objects.get().quantity) == "12345678901234567890.123456789012"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b" ", 400),
        (b"nonsense", 400),
        (b"{", 400),
        (b'{"events":', 400),
        (b'"\xff\xfe"', 400),
        (b'{"events":[{"event_id":"\\ud800"}]}', 400),
        (b"[" * 50_000, 400),
        (b'{"a":' * 50_000, 400),
        (b'{"events":[],"events":[]}', 400),
        (b'{"quantity":1e99999999999999999999}', 400),
        (b'{"quantity":' + b"9" * 10_000 + b"}", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"1e400", 422),
        (b'"text"', 422),
        (b"{}", 422),
        (b'{"events":{}}', 422),
        (b'{"events":null}', 422),
        (b'{"events":[],"x":1}', 422),
        (b'{"events":[null]}', 422),
        (b'{"events":[]}', 202),
    ],
)
def test_bytes_that_are_no_events_are_told_so(caller: Caller, body: bytes, status: int) -> None:
    response = caller.send("POST", "/api/v1/events", body)

    assert response.status_code == status, response.content[:300]
    if status != 202:
        fields_of(response)


def test_an_array_of_events_is_told_how_to_be_sent(caller: Caller) -> None:
    response = caller.post("/api/v1/events", [event("a")])

    assert response.status_code == 422
    assert fields_of(response) == {"events": "wrong_type"}
    assert 'wrap it: {"events": [...]}' in response.json()["detail"]


def test_nul_and_surrogates_are_refused_wherever_they_stand(caller: Caller) -> None:
    for fields in ({"customer_id": "a\x00"}, {"properties": {"\x00": 1}}, {"properties": {"a": ["\x00"]}}):
        assert caller.post("/api/v1/events", event(**fields)).status_code == 422
    assert caller.send("POST", "/api/v1/events", json.dumps(event(customer_id="\ud800"))).status_code == 400


def test_ten_thousand_events_are_taken_and_one_more_is_too_many(caller: Caller) -> None:
    batch = [event(str(number)) for number in range(10_001)]

    too_many = caller.post("/api/v1/events", {"events": batch})
    too_many_lines = caller.send("POST", "/api/v1/events", "\n".join(map(json.dumps, batch)), NDJSON)
    status, receipt = answer(caller.post("/api/v1/events", {"events": batch[:10_000]}))

    assert (too_many.status_code, fields_of(too_many)) == (413, {"events": "too_many"})
    assert too_many_lines.status_code == 413
    assert (status, receipt["accepted"]) == (202, 10_000)


@pytest.mark.parametrize("content_type", ["application/json", NDJSON])
def test_twenty_megabytes_of_nonsense_are_too_large(caller: Caller, content_type: str) -> None:
    response = caller.send("POST", "/api/v1/events", b"x" * 20_000_000, content_type)

    assert response.status_code == 413
    fields_of(response)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_another_content_type_is_refused(caller: Caller, content_type: str) -> None:
    response = caller.send("POST", "/api/v1/events", json.dumps(event()), content_type)

    assert response.status_code == 415
    fields_of(response)


def test_a_compressed_body_is_refused_and_charset_utf_8_is_not(caller: Caller) -> None:
    body = json.dumps(event())

    assert caller.send("POST", "/api/v1/events", body, Content_Encoding="gzip").status_code == 415
    assert caller.send("POST", "/api/v1/events", body, "Application/JSON; charset=UTF-8").status_code == 202


def test_a_key_bound_to_a_customer_sends_and_sees_only_that_customer() -> None:
    a_customer("cust_acme")
    create_meter(key="actions", name="A", event_type="action.consumed", actor="t", reason="t")
    bound = Caller("events:write", "usage:read", customer="cust_acme")

    status, receipt = answer(
        bound.post("/api/v1/events", {"events": [event("a"), event("b", customer_id="cust_other")]})
    )
    other = bound.get(
        "/api/v1/usage?customer_id=cust_other&meter=actions&start=2026-07-01T00:00:00Z&end=2026-08-01T00:00:00Z"
    )

    assert (status, receipt["accepted"]) == (202, 1)
    assert [(one["index"], one["field"], one["code"]) for one in receipt["rejected"]] == [
        (1, "customer_id", "forbidden")
    ]
    assert (other.status_code, fields_of(other)) == (404, {"customer_id": "not_found"})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(min_size=1, max_size=300),
        st.text(min_size=1, max_size=300).map(lambda text: text.encode("utf-8", "replace")),
    )
)
@pytest.mark.parametrize("content_type", ["application/json", NDJSON])
def test_no_bytes_make_a_500(caller: Caller, content_type: str, body: bytes) -> None:
    assert caller.send("POST", "/api/v1/events", body, content_type).status_code in (202, 400, 422)


QUERY = "customer_id=cust_acme&meter=actions&start=2026-07-01T00:00:00Z&end=2026-08-01T00:00:00Z"
USAGE = f"/api/v1/usage?{QUERY}"


@pytest.fixture
def actions() -> None:
    create_meter(key="actions", name="Actions", event_type="action.consumed", actor="t", reason="t")


def test_usage_shows_what_was_accepted_before_the_request(caller: Caller, actions: None) -> None:
    caller.post("/api/v1/events", event("a", quantity="0.1"))
    roll_up()
    caller.post("/api/v1/events", event("b", quantity="0.2"))

    status, usage = answer(caller.get(f"{USAGE}&granularity=hour"))

    assert status == 200
    assert usage == {
        "total": "0.3",
        "windows": [{"start": "2026-07-01T12:00:00Z", "end": "2026-07-01T13:00:00Z", "value": "0.3", "group": None}],
    }


def test_usage_of_a_customer_without_events_is_zero(caller: Caller, actions: None) -> None:
    assert answer(caller.get(USAGE)) == (200, {"total": "0", "windows": []})


def test_usage_is_grouped(caller: Caller, actions: None) -> None:
    caller.post("/api/v1/events", event("a", properties={"region": "eu"}))
    caller.post("/api/v1/events", event("b", namespace_id="ns"))

    _, by_region = answer(caller.get(f"{USAGE}&granularity=month&group_by=region"))
    _, by_namespace = answer(caller.get(f"{USAGE}&granularity=month&group_by=namespace_id"))

    assert [(one["group"], one["value"]) for one in by_region["windows"]] == [("eu", "1"), (None, "1")]
    assert [(one["group"], one["value"]) for one in by_namespace["windows"]] == [("ns", "1"), (None, "1")]


@pytest.mark.parametrize(
    ("query", "status", "fields"),
    [
        (
            "",
            422,
            {"customer_id": "required", "meter": "required", "start": "required", "end": "required"},
        ),
        (f"{QUERY}&granularity=minute", 422, {"granularity": "unknown"}),
        (f"{QUERY}&meter=nope", 404, {"meter": "not_found"}),
        (f"{QUERY}&start=2026-07-01T00:00:00", 422, {"start": "naive"}),
        (f"{QUERY}&start=2026-07-01T00:00:00+02:00", 422, {"start": "not_a_time"}),
        (f"{QUERY}&start=yesterday", 422, {"start": "not_a_time"}),
        (f"{QUERY}&end=2026-07-01T00:00:00Z", 422, {"end": "out_of_range"}),
        (f"{QUERY}&end=2027-07-03T00:00:00Z&granularity=hour", 422, {"end": "out_of_range"}),
        (f"{QUERY}&end=0001-01-01T00:00:00%2B23:59", 422, {"end": "out_of_range"}),
        (f"{QUERY}&group_by=", 422, {"group_by": "required"}),
        (f"{QUERY}&group-by=x", 422, {"group-by": "unknown_field"}),
        (f"{QUERY}&customer_id={'c' * 101}", 422, {"customer_id": "too_long"}),
    ],
)
def test_a_wrong_question_is_told_by_parameter(
    caller: Caller, actions: None, query: str, status: int, fields: dict[str, str]
) -> None:
    response = caller.get(f"/api/v1/usage?{query}")

    assert (response.status_code, fields_of(response)) == (status, fields)


def test_no_query_bytes_make_a_500(caller: Caller, actions: None) -> None:
    for text in ("%00", "%ff", "%ed%a0%80", "%f0%9f%98%80", "'", "%25s", "a" * 5000):
        for name in ("customer_id", "meter", "start", "end", "granularity", "group_by", "x"):
            assert caller.get(f"{USAGE}&{name}={text}").status_code < 500


def test_meters_are_created_listed_and_read(caller: Caller) -> None:
    created = answer(caller.post("/api/v1/meters", {"key": "tokens", "event_type": "llm.request", "unit": "token"}))
    again = caller.post("/api/v1/meters", {"key": "tokens", "event_type": "llm.request", "unit": "token"})
    other = caller.post("/api/v1/meters", {"key": "tokens", "event_type": "other"})
    wrong = caller.post("/api/v1/meters", {"key": "a b", "event_type": 5, "aggregation": "median", "x": 1})

    assert created[0] == again.status_code == 201
    assert answer(caller.get("/api/v1/meters"))[1]["data"] == [created[1]]
    assert answer(caller.get("/api/v1/meters/tokens")) == (200, created[1])
    assert (other.status_code, fields_of(other)) == (409, {"event_type": "conflict"})
    assert (wrong.status_code, fields_of(wrong)) == (422, {"x": "unknown_field"})
    assert caller.get("/api/v1/meters/nope").status_code == 404


def test_late_events_of_a_rolled_up_hour_are_in_the_usage_at_once(caller: Caller, actions: None) -> None:
    use("cust_acme", "1", at=JULY + timedelta(hours=12))
    roll_up()
    caller.post("/api/v1/events", event(timestamp="2026-07-01T12:30:00+00:30"))

    assert answer(caller.get(USAGE))[1]["total"] == "2"


def test_limits_come_from_the_settings(caller: Caller, settings: LazySettings) -> None:
    settings.EVENTS_PER_REQUEST_MAX = 2

    assert caller.post("/api/v1/events", {"events": [event(str(n)) for n in range(3)]}).status_code == 413
