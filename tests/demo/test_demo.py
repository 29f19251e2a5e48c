"""The demo learns, and comes to the same end again."""

import builtins

import pytest

import flambeau as fb
from flambeau import demo


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return demo.main(seed=0, folder=tmp_path_factory.mktemp("demo"))


def test_it_learns(run):
    assert run.accuracy >= 0.97
    assert run.losses[-1] < run.losses[0] / 10


def test_what_it_saves(run):
    model = demo.DigitsNet()
    model.load_state_dict(fb.load(run.model))
    images, labels = demo.digits()[:200]
    model.eval()
    assert (model(images).argmax(1) == labels).float().mean().item() > 0.97


def test_the_curve(run):
    pytest.importorskip("matplotlib")
    assert run.curve.read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_bits(tmp_path, capsys):
    first, second, other = (demo.main(epochs=2, seed=s, folder=tmp_path / "new") for s in (1, 1, 2))
    assert first.losses == second.losses
    assert first.losses != other.losses
    out, err = capsys.readouterr()
    assert "device   cpu (cpu backend, " in out
    assert f"epoch  2 loss {first.losses[1]:.4f} accuracy {first.accuracy:.4f}" in out
    assert f"accuracy {first.accuracy:.4f}" in out
    assert "loaded again, it predicts the same" in out
    assert "training" not in err, "a progress bar is for those who look on"


def test_without_matplotlib(tmp_path, monkeypatch, capsys):
    whole = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert demo.main(epochs=1, folder=tmp_path).curve is None
    assert "(pip install matplotlib)" in capsys.readouterr().out


def test_a_model_that_loads_as_another_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(fb, "load", lambda path: demo.DigitsNet().state_dict())
    with pytest.raises(RuntimeError, match="predicts other digits than the one that was saved"):
        demo.main(epochs=1, folder=tmp_path)


@pytest.mark.parametrize(("arguments", "error"), [({"epochs": 0}, ValueError), ({"device": "nowhere"}, ValueError)])
def test_refused(arguments, error, tmp_path):
    with pytest.raises(error, match=r"epochs must be at least 1|unknown device type 'nowhere'"):
        demo.main(**arguments, folder=tmp_path)
