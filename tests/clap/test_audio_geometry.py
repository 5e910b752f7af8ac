"""Geometries that transformers cannot run, and the window arithmetic behind all of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.audio_towers import SMALL, pair_of_models, spectrograms, transformers
from support.random_weights import randomise
from transformers.models.clap.modeling_clap import ClapAudioSelfAttention

from clapstream.clap.audio import ClapAudioModel
from clapstream.clap.audio_encoder import bands_of
from clapstream.clap.config import ClapAudioConfig
from clapstream.clap.prepared.reorder import Reorder
from clapstream.clap.windows import WindowPlan, relative_position_index

grids = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(0, 5)).filter(
    lambda grid: grid[3] < grid[2]
)


@given(grids)
def test_merging_undoes_partitioning(grid):
    plan = WindowPlan(*grid)
    tokens = torch.randn(2, plan.height * plan.width, 3)
    windows = plan.partition(tokens)
    assert windows.shape == (2 * plan.padded_height * plan.padded_width // plan.side**2, plan.side**2, 3)
    assert torch.equal(plan.merge(windows), tokens)
    if plan.is_padded:
        with pytest.raises(ValueError, match="do not divide"):
            plan.order()
    else:
        assert torch.equal(tokens[:, plan.order()], windows.reshape(tokens.shape))


@given(grids.filter(lambda grid: grid[3] > 0))
def test_the_shift_mask_lets_only_true_neighbours_meet(grid):
    """Tokens of one window may meet if their rows and columns are less than a window apart."""
    plan = WindowPlan(*grid)
    whole = WindowPlan(plan.padded_height, plan.padded_width, plan.side, plan.shift)
    place = whole.order().view(-1, plan.side * plan.side)
    row, column = place // plan.padded_width, place % plan.padded_width

    def near(axis):
        return (axis[:, :, None] - axis[:, None, :]).abs() < plan.side

    # A grid of one window along an axis wraps onto itself: there the two parts are told apart by the shift.
    def same_part(axis, length):
        wrapped = axis < plan.shift
        both = wrapped[:, :, None] == wrapped[:, None, :]
        return near(axis) & (both if length == plan.side else True)

    allowed = same_part(row, plan.padded_height) & same_part(column, plan.padded_width)
    assert torch.equal(plan.shift_mask() == 0, allowed)


def test_relative_positions_are_those_of_transformers():
    for side in (1, 3, 8):
        config = transformers.ClapAudioConfig(**SMALL)
        theirs = ClapAudioSelfAttention(config, 16, 2, side).relative_position_index
        assert torch.equal(relative_position_index(side), theirs)


def test_reordering_there_and_back():
    plan = WindowPlan(8, 8, 4, 2)
    own, order = torch.arange(64), plan.order()
    tokens = torch.randn(2, 64, 3)
    there, back = Reorder(own, order), Reorder(order, own)
    assert torch.equal(there(tokens), tokens[:, order])
    assert torch.equal(back(there(tokens)), tokens)
    assert not Reorder(order, order).is_needed


@pytest.mark.parametrize("window", [6, 8, 16])
def test_a_stage_smaller_than_the_window(window):
    """Swin's rule: there the window shrinks. Transformers can do it if given such attention modules."""
    config = {**SMALL, "spec_size": 32, "window_size": window, "num_mel_bins": 8}  # grids of 8x8 and 4x4
    theirs, model = pair_of_models(config)
    for stage, side in zip(theirs.audio_encoder.layers, (8, 4), strict=True):
        if side < window:
            for layer in stage.blocks:
                layer.attention.self = shrunk(layer.attention.self, theirs.config, window, side)
    inputs = spectrograms(config, 128)
    arguments = {"output_hidden_states": True, "output_attentions": True}
    expected, found = theirs(**inputs, **arguments), model(**inputs, **arguments)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(model(**inputs).pooler_output, expected.pooler_output, rtol=1e-5, atol=1e-5)


def shrunk(attention, config, window, side):
    """A reference attention module for a smaller window, with the middle of the larger one's bias table."""
    smaller = ClapAudioSelfAttention(config, attention.all_head_size, attention.num_attention_heads, side)
    state = attention.state_dict()
    table = state["relative_position_bias_table"].view(2 * window - 1, 2 * window - 1, -1)
    middle = slice(window - side, window + side - 1)
    state["relative_position_bias_table"] = table[middle, middle].flatten(0, 1)
    state["relative_position_index"] = smaller.relative_position_index
    smaller.load_state_dict(state)
    return smaller


def test_grids_that_do_not_halve_evenly():
    """A grid of 6 x 6 becomes 3 x 3, then 2 x 2 filled up: transformers' stages can, its encoder cannot."""
    config = {
        **SMALL,
        "spec_size": 24,
        "num_mel_bins": 12,
        "window_size": 2,
        "depths": [2, 2, 2],
        "hidden_size": 64,
    }
    config["num_attention_heads"] = [2, 2, 2]
    theirs, model = pair_of_models(config)
    features = spectrograms(config, 48)["input_features"]
    encoder = theirs.audio_encoder
    normalised = encoder.batch_norm(features.transpose(1, 3)).transpose(1, 3)
    tokens = encoder.patch_embed(encoder.reshape_mel2img(normalised))
    for stage, side in zip(encoder.layers, (6, 3, 2), strict=True):
        tokens = stage(tokens, (side, side))[0]
    expected = encoder.norm(tokens).mean(1)
    output = model(features, output_hidden_states=True)
    torch.testing.assert_close(output.pooler_output, expected, rtol=1e-5, atol=1e-5)
    assert [state.shape[2:] for state in output.hidden_states] == [(6, 6), (3, 3), (2, 2), (2, 2)]


def test_channel_map_fusion_reads_all_views_as_channels():
    """As in LAION's code; transformers cannot run it, so a tower of four channels stands in."""
    config = {**SMALL, "enable_fusion": True, "fusion_type": "channel_map"}
    model = ClapAudioModel(ClapAudioConfig(**config)).eval()
    four_channels, plain = pair_of_models({**SMALL, "patch_embed_input_channels": 4})
    reference_keys = transformers.ClapAudioModel(transformers.ClapAudioConfig(**config)).state_dict().keys()
    assert model.state_dict().keys() == reference_keys
    randomise(model)
    model.load_state_dict(plain.state_dict(), strict=False)
    inputs = spectrograms(config, 256)
    expected = four_channels(inputs["input_features"]).pooler_output
    torch.testing.assert_close(model(**inputs).pooler_output, expected, rtol=1e-5, atol=1e-5)


def test_unflattened_patch_embeddings_change_nothing():
    _, model = pair_of_models(SMALL)
    other = ClapAudioModel(ClapAudioConfig(**SMALL, flatten_patch_embeds=False)).eval()
    other.load_state_dict(model.state_dict())
    inputs = spectrograms(SMALL, 256)
    assert torch.equal(model(**inputs).pooler_output, other(**inputs).pooler_output)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"enable_fusion": True, "fusion_type": "iaff_2d"}, "fusion_type must be one of"),
        ({"num_attention_heads": [2]}, "num_attention_heads has fewer entries than depths"),
        ({"num_attention_heads": [2, 5]}, "num_attention_heads: 5 heads do not divide 32 channels"),
        ({"patch_stride": [4, 6]}, r"patch_stride \[4, 6\] is larger than patch_size 4"),
        ({"spec_size": 8}, "spec_size 8 is less than num_mel_bins 16"),
        ({"spec_size": 58}, "spec_size 58 is not a multiple of its ratio to num_mel_bins, 3"),
        ({"hidden_act": "gulu"}, "unknown activation 'gulu'"),
    ],
)
def test_configurations_that_describe_no_tower(change, message):
    with pytest.raises(ValueError, match=message):
        ClapAudioModel(ClapAudioConfig(**{**SMALL, **change}))


def test_spectrograms_that_do_not_fit():
    model = ClapAudioModel(ClapAudioConfig(**SMALL)).eval()
    with pytest.raises(ValueError, match="257 frames of 16 mel bins do not fit in 256 x 16"):
        model(torch.zeros(1, 1, 257, 16))


def test_features_of_another_kind():
    model = ClapAudioModel(ClapAudioConfig(**SMALL)).eval()
    with pytest.raises(ValueError, match="features of 4 views for a tower that reads 1"):
        model(torch.zeros(1, 4, 256, 16))


@pytest.mark.parametrize(
    ("height", "freq_ratio", "bands"), [(8, 4, 2), (4, 4, 1), (2, 4, 1), (10, 4, 2), (7, 4, 1), (5, 2, 1)]
)
def test_bands_of_the_last_stage(height, freq_ratio, bands):
    assert bands_of(height, freq_ratio) == bands


def test_drop_path_leaves_whole_branches_out():
    config = ClapAudioConfig(**{**SMALL, "drop_path_rate": 0.9, "hidden_dropout_prob": 0.0})
    model = ClapAudioModel(config)
    layer = model.audio_encoder.layers[-1].blocks[-1].train()
    branch = torch.ones(400, 4, 2)
    dropped = layer.drop_path(branch)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0.0, 10.0])
    assert 10 < int((dropped[:, 0, 0] > 0).sum()) < 90
    assert torch.equal(layer.eval().drop_path(branch), branch)
