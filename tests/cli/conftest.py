"""What the tests of the commands start from: a short study, and data."""

import numpy as np
import pytest

STUDY = """
[truth]
kind = "ring"
separation = 6.0
[target]
num_samples = 300
[model]
num_components = [3, 5]
[solver]
num_iterations = 12
[sweep]
num_seeds = 9
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def data(tmp_path):
    """Two clusters of noise 5 around 1000 and 1100, and a column of weights."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(1000, 5, 60), rng.normal(1100, 5, 30)])
    table = np.column_stack([x, rng.normal(3, 5, 90), np.where(x < 1050, 1.0, 4.0)])
    path = tmp_path / "data.csv"
    np.savetxt(path, table, delimiter=",", header="x,y,w", comments="")
    return path
