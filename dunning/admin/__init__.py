"""The admin of dunning, one file a slice; Django finds it by this module."""

from dunning.admin import blocked_addresses, cases, notices, overdue, policies, templates

__all__ = ["blocked_addresses", "cases", "notices", "overdue", "policies", "templates"]
