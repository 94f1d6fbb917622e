"""The taxes that the sandbox knows: made up where they change, of a few places, as Stripe Tax would tell them of services.

The account is established in Germany, registered there, in the One-Stop Shop of the Union, and in three states of America.
"""

from dataclasses import dataclass

from billing_site.sandbox.stripe.account import COUNTRY

SALES, VAT = "sales_tax", "vat"
WORDS = {SALES: "Sales Tax", VAT: "VAT"}
UNION = {
    "AT": "20",
    "BE": "21",
    "DE": "19",
    "DK": "25",
    "ES": "21",
    "FI": "25.5",
    "FR": "20",
    "IE": "23",
    "IT": "22",
    "LU": "17",
    "NL": "21",
    "PL": "23",
    "PT": "23",
    "SE": "25",
}


@dataclass(frozen=True)
class Levy:
    """A tax of one place: `percent` of the `part` of an amount that is taxed, in per cent."""

    country: str
    state: str | None
    level: str
    place: str
    percent: str
    tax_type: str
    reason: str = "standard_rated"
    part: int = 100


def _state(state: str, name: str, percent: str, **more: object) -> Levy:
    return Levy("US", state, "state", name, percent, SALES, **more)  # type: ignore[arg-type]


def _local(state: str, level: str, name: str, percent: str, **more: object) -> Levy:
    return Levy("US", state, level, name, percent, SALES, **more)  # type: ignore[arg-type]


REDUCED = {"reason": "taxable_basis_reduced", "part": 80}
# By the beginning of the ZIP code, the longest that fits; the state's own comes first.
STATES: dict[str, tuple[str, tuple[tuple[tuple[str, ...], tuple[Levy, ...]], ...]]] = {
    "NY": (
        "New York",
        (
            (
                ("100", "101", "102", "103", "104", "111", "112", "113", "114", "116"),
                (
                    _state("NY", "New York", "4"),
                    _local("NY", "city", "New York City", "4.5"),
                    _local("NY", "district", "Metropolitan Commuter Transportation District", "0.375"),
                ),
            ),
            (
                ("10", "11", "12", "13", "14"),
                (_state("NY", "New York", "4"), _local("NY", "county", "Albany", "4")),
            ),
        ),
    ),
    # Data processing is taxed on four fifths of its price there.
    "TX": (
        "Texas",
        (
            (
                ("75", "76", "77", "78", "79", "885"),
                (
                    _state("TX", "Texas", "6.25", **REDUCED),
                    _local("TX", "city", "Austin", "1", **REDUCED),
                    _local("TX", "district", "Austin MTA", "1", **REDUCED),
                ),
            ),
        ),
    ),
    "CA": (
        "California",
        (
            (
                ("90", "91", "92", "93", "94", "95", "96"),
                (
                    _state("CA", "California", "6"),
                    _local("CA", "county", "Los Angeles", "0.25"),
                    _local("CA", "district", "Los Angeles County Local Tax", "1"),
                    _local("CA", "district", "Los Angeles County District Tax", "2.25"),
                ),
            ),
        ),
    ),
    "OR": (
        "Oregon",
        ((("97",), (_state("OR", "Oregon", "0", reason="not_subject_to_tax"),)),),
    ),
    "WA": (
        "Washington",
        ((("98", "990", "991", "992", "993", "994"), (_state("WA", "Washington", "0", reason="not_collecting"),)),),
    ),
}


def levies_at(*, country: str, state: str | None, postal_code: str | None, is_company: bool) -> list[Levy] | None:
    """Return what is charged at an address, at least one; None where the address is no place that can be told."""
    if country == "US":
        return _in_america(state, postal_code or "")
    if country not in UNION:
        return [Levy(country, None, "country", country, "0", VAT, "not_collecting")]
    if is_company and country != COUNTRY:
        return [Levy(country, None, "country", country, "0", VAT, "reverse_charge")]
    return [Levy(country, None, "country", country, UNION[country], VAT)]


def _in_america(state: str | None, postal_code: str) -> list[Levy] | None:
    found: list[tuple[int, str, tuple[Levy, ...]]] = []
    for code, (_, places) in STATES.items():
        for beginnings, levies in places:
            found += [(len(one), code, levies) for one in beginnings if postal_code.startswith(one)]
    if not found:
        return None
    _, code, levies = max(found, key=lambda one: one[0])
    # A ZIP code of another state contradicts the state that is named.
    return list(levies) if state in (None, "", code, STATES[code][0]) else None
