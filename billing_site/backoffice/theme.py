"""The admin theme: title, colours and navigation. The system's typeface, one accent, dark drawn by hand."""

from django.http import HttpRequest
from django.templatetags.static import static


def _stylesheet(request: HttpRequest) -> str:
    return static("billing/backoffice.css")


def _script(request: HttpRequest) -> str:
    return static("billing/backoffice.js")


def _icon(request: HttpRequest) -> str:
    return static("billing/backoffice-icon.svg")


ACCENT = {
    "50": "oklch(97% .014 254.6)",
    "100": "oklch(93.2% .032 255.6)",
    "200": "oklch(88.2% .059 254.1)",
    "300": "oklch(80.9% .105 251.8)",
    "400": "oklch(72% .15 254.6)",
    "500": "oklch(63% .18 258)",
    "600": "oklch(52% .19 261)",
    "700": "oklch(46% .18 263)",
    "800": "oklch(40% .15 264)",
    "900": "oklch(36% .12 265)",
    "950": "oklch(27% .08 267)",
}
NEUTRAL = {
    "50": "oklch(98.4% .002 247.8)",
    "100": "oklch(96.6% .003 250)",
    "200": "oklch(92.4% .006 252)",
    "300": "oklch(86.6% .010 254)",
    "400": "oklch(70% .018 256)",
    "500": "oklch(54% .022 257)",
    "600": "oklch(44% .024 258)",
    "700": "oklch(36% .026 259)",
    "800": "oklch(27% .024 260)",
    "900": "oklch(20.5% .020 261)",
    "950": "oklch(15% .016 262)",
}

UNFOLD = {
    "SITE_TITLE": "Billing",
    "SITE_HEADER": "Billing back office",
    "SITE_URL": None,
    "SITE_SYMBOL": "receipt_long",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _icon}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "COLORS": {"base": NEUTRAL, "primary": ACCENT},
    "STYLES": [_stylesheet],
    "SCRIPTS": [_script],
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": "billing_site.backoffice.navigation.sidebar",
    },
}
