"""The table of orders: what the samples say, and what it is written as."""

from __future__ import annotations

import tomllib
from pathlib import Path

import PIL.Image
import pytest
from skimage import data

from toolbox.tasks import Task
from training.fits.order import SAME_DB, main, table_of, written

DARK, HAZE, NOISE = Task.BRIGHTENING, Task.DEHAZING, Task.DENOISING


def test_of_each_pair_the_order_that_gains_stands_in_the_table() -> None:
    samples = [(NOISE, DARK, 3.0), (DARK, NOISE, -3.0), (NOISE, DARK, -1.0), (DARK, NOISE, 1.0)]
    [row] = table_of(samples)
    assert (row["first"], row["then"]) == (NOISE.value, DARK.value)
    assert row["gain_db"] == pytest.approx(1.0)
    assert row["right"] == pytest.approx(0.5)
    assert row["cases"] == 2


def test_orders_with_equal_results_do_not_count() -> None:
    [row] = table_of([(HAZE, DARK, SAME_DB / 2), (DARK, HAZE, -SAME_DB / 2)])
    assert row["right"] == 0.5


def test_written_rows_are_read_back_sorted() -> None:
    rows = table_of([(NOISE, HAZE, 2.0), (HAZE, NOISE, -2.0), (DARK, HAZE, 1.5), (HAZE, DARK, -1.5)])
    read = tomllib.loads(written(rows))["pair"]
    assert read == sorted(rows, key=lambda row: row["first"])


def test_priors_of_other_kinds_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo").mkdir()
    PIL.Image.fromarray(data.coffee()).save(tmp_path / "photo" / "bsds_100007.png")
    table = tmp_path / "order.toml"
    rows = table_of([(NOISE, HAZE, 2.0), (NOISE, Task.DERAINING, 1.0), (HAZE, DARK, 1.5)])
    table.write_text("# before\n" + written(rows))
    command = ["fit_order", "--data", str(tmp_path), "--pairs", "0", "--triples", "0", "--kinds", "haze"]
    monkeypatch.setattr("sys.argv", [*command, "--workers", "1", "--output", str(table)])
    main()
    assert table.read_text().startswith("# before\n# Written by:")
    assert [(row["first"], row["then"]) for row in tomllib.loads(table.read_text())["pair"]] == [
        (NOISE.value, Task.DERAINING.value)
    ]
