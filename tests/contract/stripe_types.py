"""Does a JSON object fit the classes of the installed Stripe SDK? Their annotations are the contract."""

import inspect
import re
from decimal import Decimal
from types import UnionType
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import stripe
from stripe import StripeObject
from stripe._object_classes import get_object_class
from stripe._stripe_object import UntypedStripeObject


def misfits(body: Any, resource: type[StripeObject], path: str = "") -> list[str]:
    """Return what is wrong with an object: missing, unknown and wrongly typed members, values outside of a Literal."""
    path = path or resource.__name__
    if not isinstance(body, dict):
        return [f"{path}: not an object but {body!r}"]
    annotations = inspect.get_annotations(resource)
    wrong = [f"{path}.{name}: the SDK knows no such member" for name in body if name not in annotations]
    for name, annotation in annotations.items():
        if name == "OBJECT_NAME":
            continue
        if name in body:
            wrong += _value_misfits(body[name], annotation, f"{path}.{name}")
        elif not _optional(annotation):
            wrong.append(f"{path}.{name}: missing")
    return wrong


def _optional(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation)


def _value_misfits(value: Any, annotation: Any, path: str) -> list[str]:
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    literals = [option for option in options if get_origin(option) is Literal]
    if literals:
        # The SDK writes `Literal[...] | str` to stay open for Stripe's next release; a twin of today has no such excuse.
        options = tuple(option for option in options if option is not str)
    failures = []
    for option in options:
        found = _option_misfits(value, option, path)
        if not found:
            return []
        failures.append(found)
    return min(failures, key=lambda found: (all("not a" in line for line in found), len(found)))


def _option_misfits(value: Any, option: Any, path: str) -> list[str]:
    origin = get_origin(option)
    if option is Any:
        return []
    if option is type(None):
        return [] if value is None else [f"{path}: not a null: {value!r}"]
    if origin is Literal:
        return [] if value in get_args(option) else [f"{path}: {value!r} is none of {get_args(option)}"]
    if origin is list or option is list:
        if not isinstance(value, list):
            return [f"{path}: not a list: {value!r}"]
        return [
            line
            for at, member in enumerate(value)
            for line in _value_misfits(member, get_args(option)[0], f"{path}[{at}]")
        ]
    if isinstance(option, ForwardRef | str):
        return _resource_misfits(value, path)
    if origin is stripe.ListObject:
        return _list_misfits(value, path)
    if origin is UntypedStripeObject or option is UntypedStripeObject:
        return [] if isinstance(value, dict) else [f"{path}: not a hash: {value!r}"]
    if option is Decimal:
        fits = isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value)
        return [] if fits else [f"{path}: not a decimal in a string: {value!r}"]
    if option in (int, str, bool, float):
        return [] if type(value) is option else [f"{path}: not a {option.__name__}: {value!r}"]
    if inspect.isclass(option) and issubclass(option, StripeObject):
        return misfits(value, option, path)
    raise AssertionError(f"{path}: an annotation that this test does not understand: {option!r}")


def _resource_misfits(value: Any, path: str) -> list[str]:
    """Check an expanded object by the class that its own `object` names."""
    if not isinstance(value, dict) or "object" not in value:
        return [f"{path}: not an expanded object: {value!r}"]
    return misfits(value, get_object_class("V1", value["object"]), path)


def _list_misfits(value: Any, path: str) -> list[str]:
    if not isinstance(value, dict) or set(value) != {"object", "data", "has_more", "url"} or value["object"] != "list":
        return [f"{path}: not a list object: {value!r}"]
    return [line for at, member in enumerate(value["data"]) for line in _resource_misfits(member, f"{path}.data[{at}]")]
