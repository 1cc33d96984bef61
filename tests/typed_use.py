"""How a program uses the package: not run, but checked by mypy, which has to see through the lazy imports."""

from pathlib import Path
from typing import assert_type

import numpy as np
import polars as pl
from numpy.typing import NDArray

import tsirius

config = tsirius.load("shop.toml", ["seed=3"])
assert_type(config, tsirius.Config)
assert_type(tsirius.run(config), Path)
assert_type(tsirius.run("shop.toml"), Path)
model = tsirius.Classifier.load("runs/shop")
assert_type(model.predict(("a", None)), list[str])
assert_type(model.predict_proba(pl.Series(["a"])), NDArray[np.float32])
categories = tsirius.Categories([tsirius.Category("a"), tsirius.Category("b", none=True)])
assert_type(tsirius.label(["a"], categories, use=["nli"]), pl.DataFrame)
assert_type(tsirius.label(["a"], {"a": "", "b": ""}, none="b"), pl.DataFrame)
assert_type(tsirius.export("runs/shop", to="onnx"), Path)
tsirius.predict_file("runs/shop", Path("a.csv"), "b.csv")
assert_type(tsirius.__version__, str)
