"""`multipaxos simulate`: which seeds it runs."""

import click
import pytest

from multipaxos.cli.simulate import Seeds


@pytest.mark.parametrize(
    ("text", "seeds"), [("0:100", range(100)), ("7:8", range(7, 8)), ("5:1000:8", range(5, 1000, 8))]
)
def test_a_range_of_seeds(text: str, seeds: range) -> None:
    assert Seeds().convert(text, None, None) == seeds


@pytest.mark.parametrize("text", ["", "7", "3:3", "5:1", "0:5:0", "a:b", "0:", "1:2:3:4", "-1:3"])
def test_what_is_no_range_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a range of seeds"):
        Seeds().convert(text, None, None)
