"""Networks: any size in, the same size out, and the depth that the report describes."""

import numpy as np
import pytest
import torch
from torch import nn

from segmenter.config import TrainConfig, UNetConfig
from segmenter.networks.baseline import Baseline
from segmenter.networks.build import NETWORKS, build_network
from segmenter.networks.encoder import EncoderUNet
from segmenter.networks.marsseg import MarsSeg, PolarizedAttention, StripPooling
from segmenter.networks.unet import ResidualBlock, UNet
from segmenter.training.distributed import SyncDropout, convert_dropout


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize(("channels", "num_classes", "size"), [(1, 4, (64, 128)), (3, 2, (33, 57)), (1, 40, (32, 47))])
def test_logits_have_the_size_of_the_images_whatever_it_is(stem, channels, num_classes, size):
    network = UNet(channels, num_classes, width=4, stem=stem)
    assert network(torch.zeros(2, channels, *size)).shape == (2, num_classes, *size)


def test_every_name_in_the_table_builds_what_it_says():
    assert {name: type(build_network(TrainConfig(network=name), 3, 5)) for name in NETWORKS} == {
        "unet": UNet,
        "encoder": EncoderUNet,
        "marsseg": MarsSeg,
        "baseline": Baseline,
    }
    built = build_network(TrainConfig(unet=UNetConfig(width=8, stem=1, blocks="plain")), 1, 4)
    assert (built.stem, built.down[0][0].out_channels) == (1, 8)


def test_the_unet_is_the_reports():
    network = UNet(1, 4, width=32, stem=1, depth=2, blocks="plain")
    sizes = []
    for block in (*network.down, network.bottleneck, *network.up):
        assert [type(layer) for layer in block] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2
        block.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[1:])))
    network(torch.zeros(1, 1, 64, 128))
    assert sizes == [(32, 64, 128), (64, 32, 64), (128, 16, 32), (64, 32, 64), (32, 64, 128)]


@pytest.mark.parametrize("blocks", ["plain", "residual"])
@pytest.mark.parametrize(("depth", "norm"), [(1, "batch"), (4, "group")])
def test_depth_counts_the_halvings_and_each_doubles_the_channels(blocks, depth, norm):
    network = UNet(3, 5, width=4, stem=2, depth=depth, blocks=blocks, norm=norm)
    sizes = [tuple(x.shape) for x in network.encode(torch.zeros(1, 3, 64, 128))]
    assert sizes == [(1, 4 * 2**i, 32 // 2**i, 64 // 2**i) for i in range(depth + 1)]
    assert network(torch.zeros(1, 3, 33, 50)).shape == (1, 5, 33, 50)
    assert network.features(torch.zeros(2, 3, 64, 64)).shape == (2, 4 * 2**depth)
    norms = {type(layer) for layer in network.modules() if "Norm" in type(layer).__name__}
    assert norms == {nn.BatchNorm2d if norm == "batch" else nn.GroupNorm}


def test_a_residual_block_without_branch_is_its_input():
    block = ResidualBlock(6, 6).eval()
    nn.init.zeros_(block.branch[-1].weight)
    x = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), x.clamp_min(0))


def test_dark_pixels_reach_the_second_block():
    network = UNet(1, 3, width=4, stem=2, blocks="residual").eval()
    dark = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) / 2 - 1
    nn.init.ones_(network.down[0].shortcut.weight)
    nn.init.constant_(network.down[0].shortcut.bias, 4.0)
    assert network.encode(dark)[0].std() > 0.1


def test_group_norm_knows_no_other_picture_of_the_batch():
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for norm, alone in (("group", True), ("batch", False)):
        network = UNet(1, 3, width=4, norm=norm)
        assert torch.allclose(network(images)[:2], network(images[:2]), atol=1e-5) == alone


def test_dropout_drops_whole_channels_in_training_alone():
    dropout = SyncDropout(0.25)
    x = torch.full((16, 50, 3, 2), 3.0)
    torch.manual_seed(0)
    dropped = dropout(x)
    assert set(dropped.unique().tolist()) == {0.0, 4.0}
    assert (dropped == dropped[..., :1, :1]).all()
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert dropout.eval()(x) is x
    network = convert_dropout(UNet(1, 3, width=4, dropout=0.5))
    assert not any(isinstance(layer, nn.Dropout2d) for layer in network.modules())
    layers = [layer for layer in network.modules() if isinstance(layer, SyncDropout)]
    assert {layer.p for layer in layers} == {0.5}
    assert len(layers) == 7  # one per block: three down, the bottleneck, three up


@pytest.mark.parametrize(("channels", "size"), [(1, (64, 128)), (3, (33, 57))])
def test_marsseg_trains_its_deeper_maps_and_answers_once(channels, size):
    network = MarsSeg(channels, 4, width=8)
    images = torch.zeros(2, channels, *size)
    assert [tuple(logits.shape) for logits in network(images)] == [(2, 4, *size)] * 3
    assert network.eval()(images).shape == (2, 4, *size)
    assert network.features(images).shape == (2, 32)
    plain = MarsSeg(channels, 4, width=8, deep_supervision=0)
    assert plain(images).shape == (2, 4, *size)
    assert not list(plain.deeper_heads.parameters())


def test_attention_weighs_channels_and_places_as_the_paper_says():
    """Equations 1 and 2 of arXiv:2107.00782 place by place in numpy."""
    torch.manual_seed(0)
    layer, x = PolarizedAttention(4), torch.randn(1, 4, 3, 2)

    def conv(which, picture):  # 1 x 1
        weight, bias = which.weight.detach().numpy()[:, :, 0, 0], which.bias.detach().numpy()
        return np.einsum("oc,chw->ohw", weight, picture) + bias[:, None, None]

    def softmax(v):
        return np.exp(v) / np.exp(v).sum()

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    picture = x[0].numpy()
    where = softmax(conv(layer.channel_query, picture)[0])
    seen = (conv(layer.channel_value, picture) * where).sum((1, 2))
    linear = layer.channel_weight[0]
    raised = linear.weight.detach().numpy() @ seen + linear.bias.detach().numpy()
    normed = (raised - raised.mean()) / np.sqrt(raised.var() + 1e-5)
    picture = picture * sigmoid(normed)[:, None, None]
    what = softmax(conv(layer.place_query, picture).mean((1, 2)))
    picture = picture * sigmoid(np.einsum("c,chw->hw", what, conv(layer.place_value, picture)))
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), picture, rtol=1e-4, atol=1e-5)


def test_strip_pooling_sees_the_whole_row_and_column_at_once():
    pooling = StripPooling(8).eval()
    x = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    pooling(x)[0, :, 0, 0].sum().backward()
    seen = x.grad[0].abs().sum(0) > 0
    assert seen[0].all()
    assert seen[:, 0].all()


@pytest.mark.parametrize("stem", [1, 2])
def test_padding_changes_no_pixel_far_from_it(stem):
    network = UNet(1, 3, width=4, stem=stem).eval()
    images = torch.randn(1, 1, 64, 128, generator=torch.Generator().manual_seed(0))
    whole, cut = network(images), network(images[..., :61])
    torch.testing.assert_close(whole[..., :16], cut[..., :16])
    assert not torch.allclose(whole[..., 60], cut[..., 60])


def test_a_stem_keeps_single_pixels_apart():
    """Pixel shuffling, unlike averaging, lets each of 2 x 2 pixels have its own answer."""
    network = UNet(1, 2, width=4, stem=2)
    logits = network(torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(1)))
    corners = logits[0, 0, ::2, ::2], logits[0, 0, 1::2, ::2], logits[0, 0, ::2, 1::2]
    assert not torch.allclose(corners[0], corners[1])
    assert not torch.allclose(corners[0], corners[2])


def test_the_baseline_sees_three_by_three_pixels():
    network = Baseline(1, 4)
    images = torch.zeros(1, 1, 9, 9, requires_grad=True)
    network(images)[0, :, 4, 4].sum().backward()
    seen = images.grad[0, 0] != 0
    assert seen.sum() == 9
    assert seen[3:6, 3:6].all()
    assert sum(p.numel() for p in network.parameters()) == 4 * 9 + 4
