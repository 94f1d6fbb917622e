"""Billing, told again by somebody who never saw the product's arithmetic.

Written from the requirements, the public docstrings and what providers publish about their models: fractions instead of
decimals, event by event instead of totals, dates counted on fingers. It is slow and it is meant to be. What it shares
with the product is the catalog's alphabet (names of models and members), not one line of code.
"""
