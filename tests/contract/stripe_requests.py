"""Does a request fit the installed Stripe SDK? The TypedDicts of its services' parameters are the contract.

What is judged is what came over the wire: method, address, and a form whose leaves are text.
"""

import importlib
import json
import re
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, ForwardRef, Literal, NotRequired, Required, Union, get_args, get_origin

import stripe
from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject

from billing_site.sandbox.stripe.errors import Refusal
from billing_site.sandbox.stripe.forms import decode_form

PACKAGE = Path(stripe.__file__).parent
METHOD = re.compile(
    r"\n    def \w+\((?P<arguments>[^)]*)\)(?:(?!\n    (?:async )?def ).)*?"
    r"self\._request\(\s*\"(?P<method>\w+)\",\s*\"(?P<path>[^\"]+)\"",
    re.DOTALL,
)
PARAMS = re.compile(r"params: (?:Optional\[)?\"(\w+)\"")
# What a leaf of a form may look like, by what the SDK takes for it.
LEAVES = {int: r"-?[0-9]+", bool: r"true|false", float: r"-?[0-9]+(\.[0-9]+)?", Decimal: r"-?[0-9]+(\.[0-9]+)?"}


def misfits_since(*, log: Path, begin: int) -> list[str]:
    """Return what is wrong with the requests of the SDK that a sandbox has logged since a place in its file."""
    with log.open("rb") as file:
        file.seek(begin)
        asked = [json.loads(line) for line in file]
    return [
        line
        for one in asked
        if one["sdk"]
        for line in request_misfits(method=one["method"], path=one["path"], form=one["form"])
    ]


def request_misfits(*, method: str, path: str, form: str) -> list[str]:
    """Return what is wrong with a request: an address or a parameter that the SDK does not know, one that is missing or of another type."""
    about = f"{method} {path}"
    params = params_of(method, path)
    if params is None:
        return [f"{about}: the SDK knows no such request"]
    try:
        tree = decode_form(form)
    except Refusal as refusal:
        return [f"{about}: {refusal.body}"]
    if params == "":
        return [f"{about}: takes no parameters, not {sorted(tree)}"] if tree else []
    module, name = params.rsplit(".", 1)
    source = importlib.import_module(module)
    return _hash_misfits(tree, getattr(source, name), source, about)


@cache
def params_of(method: str, path: str) -> str | None:
    """Return where the type of a request's parameters is, "" where it takes none; None for an unknown request.

    An address without variables goes before one with: /v1/invoices/upcoming is no invoice's id.
    """
    found = [(pattern, params) for (known, pattern), params in _requests().items() if known == method.lower()]
    for pattern, params in sorted(found, key=lambda one: one[0].count("{")):
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(pattern)), path):
            return params
    return None


@cache
def _requests() -> dict[tuple[str, str], str]:
    """Read all services of the SDK: method and address to the dotted name of the parameters' type."""
    known: dict[tuple[str, str], str] = {}
    for file in sorted(PACKAGE.rglob("_*_service.py")):
        text = file.read_text()
        modules = {name: module for module, name in re.findall(r"from (stripe\.params\S*) import (\w+)", text)}
        modules |= {name: module for module, name in re.findall(r"from (stripe\.params\S*) import \(\s*(\w+)", text)}
        for match in METHOD.finditer(text):
            params = PARAMS.search(match["arguments"])
            dotted = f"{modules[params[1]]}.{params[1]}" if params else ""
            known[match["method"], match["path"]] = dotted
    return known


def _hash_misfits(tree: Any, kind: Any, source: ModuleType, path: str) -> list[str]:
    if not isinstance(tree, dict):
        return [f"{path}: not a hash: {tree!r}"]
    members = {name: hint for name, hint in _members(kind).items() if name not in RequestOptions.__annotations__}
    wrong = [f"{path}[{name}]: the SDK knows no such parameter" for name in tree if name not in members]
    for name, hint in members.items():
        hint = _resolved(hint, source)
        is_optional = get_origin(hint) is NotRequired
        hint = _resolved(get_args(hint)[0], source) if get_origin(hint) in (NotRequired, Required) else hint
        if name in tree:
            wrong += _misfits(tree[name], hint, source, f"{path}[{name}]")
        elif not is_optional:
            wrong.append(f"{path}[{name}]: missing")
    return wrong


def _members(kind: Any) -> dict[str, Any]:
    return dict(kind.__annotations__)


def _resolved(hint: Any, source: ModuleType) -> Any:
    text = hint.__forward_arg__ if isinstance(hint, ForwardRef) else hint
    return eval(text, vars(source)) if isinstance(text, str) else text  # what the SDK itself has written


def _misfits(value: Any, hint: Any, source: ModuleType, path: str) -> list[str]:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if any(get_origin(option) is Literal and get_args(option) != ("",) for option in options):
        # The SDK writes `Literal[...] | str` to stay open for Stripe's next release; what we send is of today.
        options = tuple(option for option in options if option is not str)
    found = [_option_misfits(value, _resolved(option, source), source, path) for option in options]
    return min(found, key=len)


def _option_misfits(value: Any, option: Any, source: ModuleType, path: str) -> list[str]:
    origin = get_origin(option)
    if get_origin(option) in (Union, UnionType):
        return _misfits(value, option, source, path)
    if option is Any or option is type(None):
        return [] if option is Any else [f"{path}: never null on the wire"]
    if origin is Literal:
        return [] if value in get_args(option) else [f"{path}: {value!r} is none of {get_args(option)}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: not a list: {value!r}"]
        kind = _resolved(get_args(option)[0], source)
        return [line for at, member in enumerate(value) for line in _misfits(member, kind, source, f"{path}[{at}]")]
    if origin in (dict, UntypedStripeObject):
        if not isinstance(value, dict):
            return [f"{path}: not a hash: {value!r}"]
        kind = _resolved(get_args(option)[-1], source)
        return [line for name, member in value.items() for line in _misfits(member, kind, source, f"{path}[{name}]")]
    if option is str or option in LEAVES:
        fits = isinstance(value, str) and (option is str or re.fullmatch(LEAVES[option], value))
        return [] if fits else [f"{path}: not a {option.__name__}: {value!r}"]
    if hasattr(option, "__required_keys__"):
        return _hash_misfits(value, option, source, path)
    raise AssertionError(f"{path}: a type that this test does not understand: {option!r}")
