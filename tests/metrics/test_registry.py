"""What a decorator registers about a metric, and which quantities the function is given."""

from types import SimpleNamespace

import pytest
import torch

from interpretability.metrics import registry
from interpretability.metrics.registry import QUANTITIES, measure, metric, metrics_of
from interpretability.metrics.suite import LOCALISATION, METRICS

HERE = SimpleNamespace(__name__=__name__)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """A registry for this test alone."""
    monkeypatch.setattr(registry, "_REGISTERED", [])


def test_one_decorated_function_is_a_metric():
    @metric("louder", "louder", better="high", range="[-1, 1]", unit="%")
    def louder(o, p, scale=2.0):
        return scale * (o - p)

    @metric("share", "share of truth", better="none", range="[0, 1]")
    def share(truth, valid=None):
        return (truth & valid).double()

    infos = metrics_of(HERE)
    assert list(infos) == ["louder", "share"]
    assert infos["louder"].needs == ("o", "p")  # what has a default and is no quantity is a setting
    assert infos["share"].needs == ("truth", "valid")  # and a quantity is given whether it has a default or not
    assert [info.depends_on_place for info in infos.values()] == [True, False]
    assert (infos["louder"].label, infos["louder"].unit, infos["louder"].better) == ("louder", "%", "high")
    assert infos["louder"].function is louder
    assert louder(3.0, 1.0, scale=0.5) == 1.0
    given = {"p": torch.tensor([0.25]), "o": torch.tensor([0.5]), "q": None}
    given |= {"truth": torch.tensor([True]), "valid": torch.tensor([False])}
    values = measure(infos.values(), given)
    assert {name: value.tolist() for name, value in values.items()} == {"louder": [0.5], "share": [0.0]}


def test_metrics_come_module_by_module():
    def define(name, module):
        def function(mask):
            return mask

        function.__module__ = module
        metric(name, name, better="low", range="")(function)

    for name, module in (("c", "late"), ("b", "early"), ("a", "late")):
        define(name, module)
    early, late = (SimpleNamespace(__name__=name) for name in ("early", "late"))
    assert list(metrics_of(early, late)) == ["b", "c", "a"]
    define("b", "late")
    with pytest.raises(ValueError, match="two metrics have one name among b, c, a, b"):
        metrics_of(early, late)


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match="metric x: better is 'up', expected one of high, low, none"):
        metric("x", "X", better="up", range="")
    with pytest.raises(ValueError, match="metric x needs loudness, expected some of p, "):

        @metric("x", "X", better="high", range="")
        def x(mask, loudness):
            return mask


def test_every_quantity_is_needed_by_some_metric():
    needed = {name for info in (METRICS | LOCALISATION).values() for name in info.needs}
    assert needed == QUANTITIES.keys()
