"""How a stored object is shown: with what belongs to it, without what is ours, expanded on request."""

from typing import Any

from billing_site.sandbox.stripe import invoice_lines, invoice_payments, store, tax_calculations
from billing_site.sandbox.stripe.account import ACCOUNT_ID, account
from billing_site.sandbox.stripe.errors import invalid
from billing_site.sandbox.stripe.store import Body

DEPTH_MAX = 4
KIND_OF_PREFIX = {prefix: kind for kind, prefix in store.PREFIXES.items()}
EMPTY_LISTS = {"customer": ("sources", "subscriptions", "tax_ids"), "charge": ("refunds",)}


def presented(body: Body, *, base_url: str = "") -> Body:
    """Return an object or a list as Stripe would show it; the pages of an invoice are where the sandbox is asked now."""
    if body["object"] == "list":
        return {**body, "data": [presented(member, base_url=base_url) for member in body["data"]]}
    shown = {name: member for name, member in body.items() if not name.startswith("_")}
    if body["object"] == "invoice":
        shown["lines"] = invoice_lines.first_lines(body["id"])
        if base_url and body["hosted_invoice_url"]:
            page = f"{base_url}/i/{body['id']}"
            shown |= {"hosted_invoice_url": page, "invoice_pdf": f"{page}/pdf"}
    return shown


def expanded(body: Body, paths: list[str]) -> Body:
    """Return an object in which the ids along the given paths are replaced by what they name."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > DEPTH_MAX:
            message = f"You cannot expand more than {DEPTH_MAX} levels of a property. Property: {path}"
            raise invalid(message, param="expand", code="property_expansion_max_depth")
        body = _expand(body, steps, path)
    return body


def _expand(node: Any, steps: list[str], path: str) -> Any:
    if isinstance(node, list):
        return [_expand(member, steps, path) for member in node]
    if isinstance(node, str):
        node = _named(node, path)
    if not steps or node is None:
        return node
    if not isinstance(node, dict):
        raise _cannot(path)
    name, rest = steps[0], steps[1:]
    if name not in node:
        node = {**node, name: _included(node, name, path)}
    return {**node, name: _expand(node[name], rest, path)}


def _named(reference: str, path: str) -> Body:
    if reference == ACCOUNT_ID:
        return account()
    kind = KIND_OF_PREFIX.get(reference.split("_")[0], "")
    found = store.find(kind, reference)
    if found is None:
        raise _cannot(path)
    return presented(found)


def _included(node: Body, name: str, path: str) -> Any:
    """Return what an object has only on request."""
    kind = node.get("object", "")
    if kind == "invoice" and name == "payments":
        return invoice_payments.list_of_invoice(node["id"])
    if kind == "tax.calculation" and name == "line_items":
        return presented(tax_calculations.lines_of(node["id"]))
    if kind == "tax.calculation_line_item" and name == "tax_breakdown":
        return tax_calculations.breakdown_of(node["id"])
    if kind == "invoice" and name == "confirmation_secret":
        return _confirmation_secret(node["id"])
    if name in EMPTY_LISTS.get(kind, ()):
        return {"object": "list", "data": [], "has_more": False, "url": f"/v1/{kind}s/{node['id']}/{name}"}
    raise _cannot(path)


def _confirmation_secret(invoice_id: str) -> Body | None:
    for payment in invoice_payments.of_invoice(invoice_id):
        intent = store.retrieve("payment_intent", payment["payment"]["payment_intent"])
        return {"client_secret": intent["client_secret"], "type": "payment_intent"}
    return None


def _cannot(path: str) -> Exception:
    return invalid(f"This property cannot be expanded ({path}).", param="expand")
