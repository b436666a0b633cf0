"""Catching notices, for the tests of what is said."""

import warnings

from nst_lightning.errors import Notice


def said(call, *arguments):
    """The result of a call, and its notices."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*arguments)
    assert {warning.category for warning in caught} <= {Notice}
    return result, [str(warning.message) for warning in caught]
