"""VAT ids: their syntax and check digits, by the rules of each country (python-stdnum)."""

from stdnum import get_cc_module
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import ValidationError

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.text import is_storable
from invoicing.core.tax_rules import EUROPEAN_UNION

VAT_ID_LENGTH_MAX = 50
# Greece writes another code on its VAT ids than everywhere else.
PREFIXES = {"GR": "EL"}
EXAMPLES = {"DE": "DE136695976", "FR": "FR40303265045", "AT": "ATU13585627", "NL": "NL4495445B01"}


def read_vat_id(*, country: str, text: str) -> str:
    """Return a VAT id as it is printed: compact, in the European Union with its prefix; "" stays "".

    Raises InvalidInput at `vat_id` where it cannot be one of that country; of a country whose ids nobody knows any text is taken.
    """
    if not is_storable(text) or len(text) > VAT_ID_LENGTH_MAX:
        raise InvalidInput(f"must be text of at most {VAT_ID_LENGTH_MAX} characters", field="vat_id")
    compact = "".join(text.split()).upper()
    if not compact:
        return ""
    if country in EUROPEAN_UNION:
        return _of_union(country, compact)
    known = get_cc_module(country.lower(), "vat")
    if known is None:
        return text.strip()
    try:
        return str(known.validate(compact))
    except ValidationError as problem:
        raise InvalidInput(f"is no VAT id of {country}: {problem}", field="vat_id") from None


def _of_union(country: str, compact: str) -> str:
    prefix = PREFIXES.get(country, country)
    given = compact if compact.startswith(prefix) else f"{prefix}{compact}"
    try:
        return str(eu_vat.validate(given))
    except ValidationError as problem:
        example = f", such as {EXAMPLES[country]}" if country in EXAMPLES else ""
        message = f"is no VAT id of {country}: {str(problem).rstrip('.').lower()}; write it with {prefix}{example}"
        raise InvalidInput(message, field="vat_id") from None
