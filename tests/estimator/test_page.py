"""The code in docs/from_sklearn.md runs, and its tables name what there is."""

import inspect
import re
from pathlib import Path

import pytest

from gemjax.sklearn import GaussianMixture

PAGE = (Path(__file__).parents[2] / "docs" / "from_sklearn.md").read_text(encoding="utf-8")
NAMES = set(inspect.signature(GaussianMixture).parameters)


@pytest.mark.slow
def test_the_code_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.split()[0] == "2"


def test_every_setting_is_told():
    told = set(re.findall(r"`(\w+)", PAGE)) | set(re.findall(r"(\w+)=", PAGE))
    assert NAMES - {"n_components", "random_state", "verbose", "verbose_interval"} <= told
