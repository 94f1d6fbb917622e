"""Stripe's form encoding: `a[b][c]=1&list[0]=x&list[]=y` to nested dictionaries and lists, and back to typed values."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from billing_site.sandbox.stripe.errors import invalid, missing_parameter

NAME = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
DEPTH_MAX = 8
METADATA_KEYS_MAX, METADATA_KEY_LENGTH_MAX, METADATA_VALUE_LENGTH_MAX = 50, 40, 500
AMOUNT_MAX = 999_999_999_999


def decode_form(encoded: str) -> dict[str, Any]:
    """Return the nested parameters of a query string or a form body."""
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, strict_parsing=bool(encoded), errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise invalid("The request's parameters are not form-encoded.") from None
    tree: dict[str, Any] = {}
    for name, text in pairs:
        match = NAME.match(name)
        if match is None or "\x00" in name or "\x00" in text:
            raise invalid(f"Invalid parameter name or value: {name[:100]!r}", param=name[:100])
        steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(steps) > DEPTH_MAX:
            raise invalid(f"Parameter nested too deeply: {name[:100]}", param=name[:100])
        _plant(tree, steps, text, name)
    return {name: _with_lists(branch) for name, branch in tree.items()}


def _plant(tree: dict[str, Any], steps: list[str], text: str, name: str) -> None:
    for step in steps[:-1]:
        tree = tree.setdefault(step or str(len(tree)), {})
        if not isinstance(tree, dict):
            raise invalid(f"Parameter given both as a value and as a hash: {name}", param=name)
    last = steps[-1] or str(len(tree))
    if isinstance(tree.get(last), dict):
        raise invalid(f"Parameter given both as a value and as a hash: {name}", param=name)
    tree[last] = text


def _with_lists(branch: Any) -> Any:
    """Turn hashes whose keys are 0, 1, 2 ... into lists."""
    if not isinstance(branch, dict):
        return branch
    members = {name: _with_lists(member) for name, member in branch.items()}
    if members and list(members) == [str(index) for index in range(len(members))]:
        return list(members.values())
    return members


class Params:
    """The parameters of one request; each is taken by name, and what nobody took is refused."""

    def __init__(self, tree: Mapping[str, Any], *, prefix: str = "") -> None:
        self._tree = dict(tree)
        self._prefix = prefix

    def __contains__(self, name: str) -> bool:
        return name in self._tree

    def text(self, name: str) -> str | None:
        """Take a string; None where it is absent, "" where it is to be unset."""
        value = self._tree.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise invalid(f"Invalid string: {self._path(name)}", param=self._path(name))
        return value

    def required(self, name: str) -> str:
        """Take a string that must be there and not be empty."""
        value = self.text(name)
        if value is None:
            raise missing_parameter(self._path(name))
        if value == "":
            message = f"You passed an empty string for '{self._path(name)}'."
            raise invalid(message, param=self._path(name), code="parameter_invalid_empty")
        return value

    def integer(self, name: str, *, low: int = -AMOUNT_MAX, high: int = AMOUNT_MAX) -> int | None:
        """Take a whole number between two bounds; None where it is absent."""
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,18}", value) or not low <= int(value) <= high:
            path = self._path(name)
            raise invalid(f"Invalid integer: {value[:50]}", param=path, code="parameter_invalid_integer")
        return int(value)

    def boolean(self, name: str) -> bool | None:
        """Take true or false; None where it is absent."""
        value = self.choice(name, ("true", "false"))
        return None if value is None else value == "true"

    def choice(self, name: str, allowed: tuple[str, ...]) -> str | None:
        """Take one of a few words; None where it is absent."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise invalid(f"Invalid {self._path(name)}: must be one of {', '.join(allowed)}", param=self._path(name))
        return value

    def currency(self, name: str) -> str | None:
        """Take a three-letter currency code, in lower case; None where it is absent."""
        value = self.text(name)
        if value is not None and not re.fullmatch(r"[A-Za-z]{3}", value):
            raise invalid(f"Invalid currency: {value[:20]}.", param=self._path(name))
        return value.lower() if value else None

    def hash(self, name: str) -> "Params | None":
        """Take a nested hash; None where it is absent or unset."""
        value = self._tree.pop(name, None)
        if value is None or value == "":
            return None
        if not isinstance(value, dict):
            raise invalid("Invalid object", param=self._path(name))
        return Params(value, prefix=self._path(name))

    def hashes(self, name: str) -> "list[Params]":
        """Take a list of hashes."""
        value = self._tree.pop(name, [])
        if not isinstance(value, list) or not all(isinstance(member, dict) for member in value):
            raise invalid("Invalid array", param=self._path(name))
        return [Params(member, prefix=f"{self._path(name)}[{index}]") for index, member in enumerate(value)]

    def texts(self, name: str) -> list[str]:
        """Take a list of strings."""
        value = self._tree.pop(name, [])
        if not isinstance(value, list) or not all(isinstance(member, str) for member in value):
            raise invalid("Invalid array", param=self._path(name))
        return value

    def metadata(self, present: Mapping[str, str]) -> dict[str, str]:
        """Return the metadata as changed by the request: a key set to "" goes, `metadata=""` empties all."""
        if self._tree.get("metadata") == "":
            del self._tree["metadata"]
            return {}
        given = self.hash("metadata")
        merged = dict(present)
        for key in list(given._tree) if given else []:
            assert given is not None
            value = given.text(key) or ""
            if len(key) > METADATA_KEY_LENGTH_MAX or len(value) > METADATA_VALUE_LENGTH_MAX:
                raise invalid(f"Metadata too long: {key[:50]}", param=given._path(key))
            merged[key] = value
        merged = {key: value for key, value in merged.items() if value != ""}
        if len(merged) > METADATA_KEYS_MAX:
            raise invalid(f"Metadata has more than {METADATA_KEYS_MAX} keys", param="metadata")
        return merged

    def all_texts(self) -> dict[str, str]:
        """Take every parameter that is left, each a string."""
        return {name: self.required(name) for name in list(self._tree)}

    def refuse_the_rest(self) -> None:
        """Refuse parameters that nobody has taken."""
        for name in self._tree:
            path = self._path(name)
            raise invalid(f"Received unknown parameter: {path}", param=path, code="parameter_unknown")

    def _path(self, name: str) -> str:
        return f"{self._prefix}[{name}]" if self._prefix else name
