"""``summary``: layers in the order of their calls, with shapes, parameters and multiply-adds as by hand."""

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.utils.flop_counter import FlopCounterMode


def model():
    return nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def test_layers_are_those_that_were_called():
    made = fb.utils.summary(model(), fb.ones(2, 1, 8, 8))
    assert [(v.path, v.kind, v.depth, v.output_shapes) for v in made.layers] == [
        ("", "Sequential", 0, [(2, 10)]),
        ("0", "Conv2d", 1, [(2, 4, 6, 6)]),
        ("1", "ReLU", 1, [(2, 4, 6, 6)]),
        ("2", "Flatten", 1, [(2, 144)]),
        ("3", "Linear", 1, [(2, 10)]),
    ]
    assert [v.parameters for v in made.layers] == [36 + 1450, 36, 0, 0, 1450]
    assert [v.mult_adds for v in made.layers][1::3] == [2 * 4 * 36 * 9, 2 * 1440]
    assert made.total_mult_adds == made.layers[0].mult_adds == 2 * 4 * 36 * 9 + 2 * 1440
    assert (made.total_params, made.trainable_params) == (1486, 1486)
    assert made.total_input == 4 * 128 and made.total_param_bytes == 4 * 1486
    assert made.total_output_bytes == 4 * (3 * 288 + 20)


def test_the_counts_are_those_of_the_flop_counter():
    layer, x = nn.TransformerEncoderLayer(8, 2, 16).eval(), fb.randn(5, 2, 8)
    with fb.no_grad(), FlopCounterMode(display=False) as counter:
        layer(x)
    assert fb.utils.summary(layer, x).total_mult_adds * 2 == counter.get_total_flops()


def test_a_layer_that_is_called_again_counts_its_parameters_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.layer.bias.requires_grad_(False)

        def forward(self, x, *, y):
            return self.layer(self.layer(x)) + y

    made = fb.utils.summary(Twice(), {"x": fb.ones(1, 3), "y": fb.ones(1)})
    assert [v.again for v in made.layers] == [False, False, True]
    assert (made.total_params, made.trainable_params, made.total_mult_adds) == (12, 9, 18)
    assert "as above" in str(made)


def test_the_model_is_as_it_was():
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2))
    net[0].eval()
    fb.utils.summary(net, fb.ones(3, 2))
    assert (net.training, net[0].training, net[1].training) == (True, False, True)
    assert net[1].num_batches_tracked.item() == 0
    with pytest.raises(RuntimeError):
        fb.utils.summary(net, fb.ones(3, 7))
    assert net.training and not net[0].training
    assert fb.utils.summary(net, fb.ones(3, 2), mode="train").layers[0].output_shapes == [(3, 2)]


def test_depth_limits_the_table():
    text = str(fb.utils.summary(model(), fb.ones(2, 1, 8, 8), depth=0))
    assert "Sequential" in text and "Conv2d" not in text


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="must be a module, got int"):
        fb.utils.summary(3, fb.ones(1))
    with pytest.raises(ValueError, match="must be 'eval' or 'train', got 'x'"):
        fb.utils.summary(nn.ReLU(), fb.ones(1), mode="x")
