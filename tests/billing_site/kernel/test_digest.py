"""The same document always has the same bytes, and nothing else has them."""

import hashlib
from typing import Any

import pytest

from billing_site.kernel.digest import canonical, digest_of


def test_the_order_of_members_does_not_matter_and_the_order_of_a_list_does() -> None:
    assert canonical({"b": 1, "a": [1, 2]}) == canonical({"a": [1, 2], "b": 1}) == b'{"a":[1,2],"b":1}'
    assert canonical([1, 2]) != canonical([2, 1])


def test_text_is_utf_8_as_it_is() -> None:
    assert canonical({"name": "Zürich 東京"}) == '{"name":"Zürich 東京"}'.encode()


def test_the_digest_is_the_sha_256_of_the_bytes() -> None:
    assert digest_of({"a": None}) == hashlib.sha256(b'{"a":null}').hexdigest()


@pytest.mark.parametrize("document", [1.5, {"a": [{"b": 0.0}]}, (1.0,), float("nan"), {1: "a"}, [{None: "a"}]])
def test_floats_and_keys_that_are_not_text_are_refused(document: Any) -> None:
    with pytest.raises(AssertionError):
        canonical(document)
