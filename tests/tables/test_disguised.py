"""Numbers and dates that one text, or the way they are written, would make categories of."""

import numpy as np
import pandas as pd
import pytest

from pyro_flows.tables import Kind

NUMBERS = [round(x, 3) for x in np.random.default_rng(0).normal(size=195).tolist()]
DAYS = pd.date_range("2024-01-01", periods=84)

# Cells, the start of what is told, and the cell that is shown.
SPOILED = {
    "an error of Excel's": ([str(x) for x in NUMBERS] + ["#DIV/0!"] * 5, "numbers, as 195 of 200", "#DIV/0!"),
    "the same as objects": ([*NUMBERS, *["#DIV/0!"] * 5], "numbers, as 195 of 200", "#DIV/0!"),
    "all of them different": ([*map(str, NUMBERS), "n.d."], "numbers, as 195 of 196", "n.d."),
    "whole numbers": ([str(i % 44) for i in range(390)] + ["?"] * 8, "numbers, as 390 of 398", "?"),
    "whole numbers as objects": ([i % 44 for i in range(390)] + ["?"] * 8, "numbers, as 390 of 398", "?"),
    "thousands": ([f"{i * 37:,}" for i in range(150)] * 2, "numbers, as 300 of 300", "1,036"),
    "other thousands": ([f"{i * 37}.000,5" for i in range(20)] * 2, "numbers, as 40 of 40", "0.000,5"),
    "per cent": ([f"{i}%" for i in range(90)] * 2, "numbers, as 180 of 180", "0%"),
    "euros": ([f"€{i}.50" for i in range(90)] * 2, "numbers, as 180 of 180", "€0.50"),
    "decimal commas": ([f"{i},5" for i in range(90)] * 2, "numbers, as 180 of 180", "0,5"),
    "plain, but texts": ([f"{i}.5" for i in range(90)] * 2, "numbers, as 180 of 180", "0.5"),
    "American days": (DAYS.strftime("%m/%d/%Y").tolist() * 2, "dates .*, as 168 of 168", "01/01/2024"),
    "German days": (DAYS.strftime("%d.%m.%y").tolist() * 2, "dates .*, as 168 of 168", "01.01.24"),
    "a day unknown": ([*DAYS.strftime("%Y-%m-%d"), "unknown"], "dates .*, as 84 of 85", "unknown"),
    "a day that is none": ([*DAYS.strftime("%Y-%m-%d"), "2024-13-45"], "dates .*, as 85 of 85", "2024-13-45"),
}


@pytest.mark.parametrize(("cells", "told", "shown"), SPOILED.values(), ids=SPOILED)
def test_one_text_makes_no_categories_of_numbers(cells, told, shown):
    series = pd.Series(cells, dtype=object, name="c")
    with pytest.raises(ValueError, match=f"^column c: expected {told} cells look like; got ") as error:
        Kind.of(series)
    assert f"got {shown!r}: mend such cells, " in str(error.value)
    assert Kind.of(series, "categorical").name == "categorical"


CATEGORIES = {
    "codes": [f"{i:03}" for i in range(150)] * 2,
    "few numbers": ["0", "1", "2", "3+"] * 50,
    "ages": [f"{i}-{i + 4}" for i in range(0, 90, 5)] * 4,
    "mostly words": [*[f"w{i}" for i in range(20)] * 3, *"123456789"],
    "versions": [f"1.{i}.{i % 3}" for i in range(20)] * 4,
    "clocks": [f"{i}:30" for i in range(24)] * 4,
    "streets": [f"{i} Main Street" for i in range(24)] * 4,
}


@pytest.mark.parametrize("cells", CATEGORIES.values(), ids=CATEGORIES)
@pytest.mark.parametrize("dtype", [object, "string"])
def test_categories_stay_categories(cells, dtype):
    kind = Kind.of(pd.Series(cells, dtype=dtype, name="c"))
    assert (kind.name, set(kind.listed)) == ("categorical", set(cells))
