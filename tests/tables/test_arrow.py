"""Columns of Arrow's types, as `pandas.read_parquet(…, dtype_backend="pyarrow")` gives them."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from pyro_flows.tables import Schema

pa = pytest.importorskip("pyarrow")

DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(days=7 * i) for i in range(40)]
TENTHS = [Decimal(i * i) / 10 for i in range(40)]
WORDS = ["yes" if i % 3 else "no" for i in range(40)]

# An Arrow type, its values, and the same values as pandas itself holds them.
COLUMNS = {
    "integers": (pa.int16(), range(40), np.arange(40)),
    "doubles": (pa.float64(), np.sqrt(range(40)), np.sqrt(range(40))),
    "half precision": (pa.float16(), np.arange(40) / 8, np.arange(40) / 8),
    "Booleans": (pa.bool_(), [i % 3 > 0 for i in range(40)], [i % 3 > 0 for i in range(40)]),
    "texts": (pa.string(), WORDS, WORDS),
    "dictionaries": (pa.dictionary(pa.int8(), pa.string()), WORDS, WORDS),
    "decimals": (pa.decimal128(8, 1), TENTHS, np.array(TENTHS, dtype=float)),
    "days": (pa.date32(), DAYS, pd.to_datetime(DAYS)),
    "days in milliseconds": (pa.date64(), DAYS, pd.to_datetime(DAYS)),
    "times": (pa.timestamp("us"), pd.to_datetime(DAYS), pd.to_datetime(DAYS)),
    "times of a zone": (
        pa.timestamp("us", tz="UTC"),
        pd.to_datetime(DAYS, utc=True),
        pd.to_datetime(DAYS, utc=True),
    ),
}


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_arrows_is_that_of_pandas(name, gaps):
    kind, given, plain = COLUMNS[name]
    arrow = pd.DataFrame({"y": pd.arrays.ArrowExtensionArray(pa.array(given, type=kind))})
    usual = pd.DataFrame({"y": plain})
    if gaps:
        arrow.loc[::9, "y"] = pd.NA
        usual["y"] = usual["y"].mask(arrow["y"].isna())
    schema, same = Schema.of(arrow), Schema.of(usual)
    rows = schema.encode(arrow)
    torch.testing.assert_close(rows, same.encode(usual))
    middle = rows[:, :2].mean(1)
    drawn = schema.decode(middle)["y"]
    assert drawn.isna().tolist() == arrow["y"].isna().tolist()
    torch.testing.assert_close(schema.encode(drawn.to_frame()), rows, atol=1e-6, rtol=1e-6)


ENDS = {
    "bytes": (pa.uint8(), [200 + i % 50 for i in range(400)]),
    "integers without a sign": (pa.uint64(), [2**63 + 2**52 * i for i in range(400)]),
    "half precision": (pa.float16(), np.linspace(-6e4, 6e4, 400)),
    "days": (pa.date32(), [datetime.date(9000 + i, 1, 1) for i in range(400)]),
    "times of a zone": (
        pa.timestamp("s", tz="Asia/Tokyo"),
        pd.date_range("9000", periods=400, freq="YS", unit="s"),
    ),
}


@pytest.mark.parametrize(("kind", "given"), ENDS.values(), ids=ENDS)
def test_draws_stay_within_what_a_type_holds(kind, given):
    frame = pd.DataFrame({"y": pd.arrays.ArrowExtensionArray(pa.array(given, type=kind))})
    schema = Schema.of(frame)
    drawn = schema.decode(torch.linspace(-37, 37, 99, dtype=torch.float64)[:, None])
    assert bool(schema.encode(drawn)[:, 2].isfinite().all())
    assert schema.columns[0].encode(frame["y"])[2].isfinite().all()


def test_a_column_of_nothing_is_constant():
    frame = pd.DataFrame({"x": range(40), "y": pd.arrays.ArrowExtensionArray(pa.nulls(40))})
    assert Schema.of(frame).dim == 1
