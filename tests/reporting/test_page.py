"""The page is made of its parts alone: one that is missing is an error, not a gap."""

import pytest
from jinja2 import UndefinedError

from tsirius.reporting import page


def test_a_missing_part_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="scores"):
        page.render(name="shop")
