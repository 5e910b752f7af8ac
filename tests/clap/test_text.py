"""The text tower against transformers, on weights of which none is trivial."""

import pytest
import torch
import transformers
from torch import nn

from clapstream.clap.config import ClapTextConfig
from clapstream.clap.projection import ACTIVATIONS
from clapstream.clap.text import ClapTextModel, ClapTextModelWithProjection, mask_to_bias

SMALL = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "max_position_embeddings": 40,
    "projection_dim": 24,
    "type_vocab_size": 3,
}
INPUT_IDS = torch.tensor([[0, 17, 5, 23, 88, 2], [0, 9, 2, 1, 1, 1], [0, 2, 1, 1, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]])


def randomise(model: nn.Module, spread: float = 0.3) -> None:
    """Give every parameter a value that shows when it is left out: biases and norms too."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + spread / 6)


def pair(ours_class, theirs_class, values=SMALL, spread=0.3):
    """The same tower twice, ours and transformers', with the same weights."""
    ours = ours_class(ClapTextConfig(**values)).eval()
    theirs = theirs_class(transformers.ClapTextConfig(**values, attn_implementation="eager")).eval()
    randomise(ours, spread)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_state_dict_keys_are_those_of_transformers():
    ours = ClapTextModelWithProjection(ClapTextConfig(**SMALL)).state_dict()
    theirs = transformers.ClapTextModelWithProjection(transformers.ClapTextConfig(**SMALL)).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}
    assert torch.equal(ours["text_model.embeddings.position_ids"], theirs["text_model.embeddings.position_ids"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_act": "relu", "projection_hidden_act": "gelu"},
        {"num_hidden_layers": 1, "num_attention_heads": 1, "layer_norm_eps": 1e-3},
        {"pad_token_id": 0, "vocab_size": 90, "hidden_act": "gelu_new"},
    ],
)
def test_every_hidden_state_and_projection_matches_transformers(changes):
    ours, theirs = pair(ClapTextModelWithProjection, transformers.ClapTextModelWithProjection, {**SMALL, **changes})
    given = {"input_ids": INPUT_IDS, "attention_mask": MASK}
    with torch.inference_mode():
        output = ours(**given, output_hidden_states=True, output_attentions=True)
        expected = theirs(**given, output_hidden_states=True, output_attentions=True)
    assert_close(output.text_embeds, expected.text_embeds)
    assert_close(output.last_hidden_state, expected.last_hidden_state)
    assert len(output.hidden_states) == len(expected.hidden_states)
    for state, expected_state in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert_close(state, expected_state)
    for attention, expected_attention in zip(output.attentions, expected.attentions, strict=True):
        assert_close(attention, expected_attention)


@pytest.mark.slow
def test_the_default_size_matches_transformers():
    ours, theirs = pair(ClapTextModelWithProjection, transformers.ClapTextModelWithProjection, {}, spread=0.04)
    for model in (ours, theirs):  # norms that keep the signal's size through twelve layers
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.data.add_(1.0)
    ids = torch.randint(3, 50_000, (2, 60), generator=torch.Generator().manual_seed(4))
    ids[1, 20:] = 1
    with torch.inference_mode():
        output = ours(ids, ids.ne(1).long(), output_hidden_states=True)
        expected = theirs(ids, ids.ne(1).long(), output_hidden_states=True)
    assert expected.last_hidden_state.abs().mean() > 0.5
    assert_close(output.text_embeds, expected.text_embeds)
    for state, expected_state in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert_close(state, expected_state)


@pytest.mark.parametrize(
    "given",
    [
        {"input_ids": INPUT_IDS},
        {"input_ids": INPUT_IDS, "attention_mask": MASK, "token_type_ids": INPUT_IDS % 3},
        {"input_ids": INPUT_IDS, "position_ids": torch.tensor([[9, 3, 3, 1, 30, 2]])},
        {"inputs_embeds": torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(1))},
    ],
    ids=["no mask", "token types", "positions", "embeddings"],
)
def test_every_input_matches_transformers_without_attentions(given):
    ours, theirs = pair(ClapTextModel, transformers.ClapTextModel)
    with torch.inference_mode():
        output, expected = ours(**given), theirs(**given)
    assert_close(output.last_hidden_state, expected.last_hidden_state)
    assert_close(output.pooler_output, expected.pooler_output)


def test_gradients_match_transformers():
    ours, theirs = pair(ClapTextModelWithProjection, transformers.ClapTextModelWithProjection)
    weight = torch.randn(3, 24, generator=torch.Generator().manual_seed(2))
    for model in (ours, theirs):
        (model(input_ids=INPUT_IDS, attention_mask=MASK).text_embeds * weight).sum().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-4, rtol=1e-4, msg=name)


def test_asking_for_attentions_changes_nothing_else():
    model = ClapTextModel(ClapTextConfig(**SMALL)).eval()
    randomise(model)
    plain = model(INPUT_IDS, MASK)
    explained = model(INPUT_IDS, MASK, output_attentions=True)
    assert plain.attentions is None
    assert_close(plain.last_hidden_state, explained.last_hidden_state)


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_relative_positions_follow_their_formula(kind):
    model = ClapTextModel(ClapTextConfig(**{**SMALL, "num_hidden_layers": 1}, position_embedding_type=kind)).eval()
    randomise(model)
    attention = model.encoder.layer[0].attention.self
    hidden = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(3))
    _, probabilities = attention(hidden, None, True)
    query, key = attention.query(hidden)[0].view(5, 4, 8), attention.key(hidden)[0].view(5, 4, 8)
    scores = torch.empty(4, 5, 5)
    for head in range(4):
        for left in range(5):
            for right in range(5):
                distance = attention.distance_embedding.weight[left - right + SMALL["max_position_embeddings"] - 1]
                score = query[left, head] @ (key[right, head] + distance)
                if kind == "relative_key_query":
                    score = score + key[right, head] @ distance
                scores[head, left, right] = score / 8**0.5
    assert_close(probabilities[0], scores.softmax(-1))
    assert_close(attention(hidden, None, False)[0], attention(hidden, None, True)[0])
    assert_close(model(INPUT_IDS, position_ids=INPUT_IDS % 7)[0], model(INPUT_IDS)[0])  # positions play no part


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype):
    model = ClapTextModelWithProjection(ClapTextConfig(**SMALL)).eval()
    with torch.inference_mode():
        exact = model(INPUT_IDS, MASK).text_embeds
        half = model.to(dtype)(INPUT_IDS, MASK).text_embeds
    assert half.dtype == dtype
    assert torch.cosine_similarity(half.float(), exact).min() > 0.999


def test_padding_does_not_change_a_text():
    model = ClapTextModelWithProjection(ClapTextConfig(**SMALL)).eval()
    randomise(model)
    alone = model(INPUT_IDS[1:2, :3]).text_embeds
    assert_close(model(INPUT_IDS, MASK).text_embeds[1:2], alone)


def test_a_text_that_is_all_padding_gives_numbers():
    model = ClapTextModel(ClapTextConfig(**SMALL)).eval()
    assert model(INPUT_IDS, torch.zeros_like(MASK)).pooler_output.isfinite().all()


def test_mask_of_each_query_hides_what_it_says():
    mask = torch.ones(1, 2, 2)
    mask[0, 0, 1] = 0
    bias = mask_to_bias(mask, torch.float32)
    assert bias.shape == (1, 1, 2, 2)
    assert bias.count_nonzero() == 1
    assert bias[0, 0, 0, 1] < -1e38
    with pytest.raises(ValueError, match="2 or 3 axes"):
        mask_to_bias(torch.ones(2), torch.float32)


def test_tuples_leave_out_what_is_missing():
    model = ClapTextModel(ClapTextConfig(**SMALL), add_pooling_layer=False).eval()
    assert len(model(INPUT_IDS, return_dict=False)) == 1
    output = model(INPUT_IDS, output_hidden_states=True)
    assert output.pooler_output is None
    assert list(output.keys()) == ["last_hidden_state", "hidden_states"]
    assert output[0] is output["last_hidden_state"] is output.last_hidden_state
    assert "pooler_output" not in output
    with pytest.raises(KeyError):
        output["pooler_output"]
    assert not any("pooler" in key for key in model.state_dict())


def test_configuration_decides_what_the_call_leaves_open():
    config = ClapTextConfig(**SMALL, output_hidden_states=True, output_attentions=True, return_dict=False)
    last, pooled, states, attentions = ClapTextModel(config)(INPUT_IDS)
    assert (len(states), len(attentions)) == (4, 3)
    assert isinstance(ClapTextModelWithProjection(config)(INPUT_IDS), tuple)
    assert last.shape[:2] == INPUT_IDS.shape and pooled.shape == (3, 32)


@pytest.mark.parametrize(
    "name", ["past_key_values", "encoder_hidden_states", "encoder_attention_mask", "head_mask"]
)
def test_decoder_arguments_are_refused_by_name(name):
    model = ClapTextModelWithProjection(ClapTextConfig(**SMALL))
    with pytest.raises(TypeError, match=f"{name}.*encoder"):
        model(INPUT_IDS, **{name: torch.zeros(2, 3)})
    assert model(INPUT_IDS, **{name: None}, use_cache=False) is not None


def test_wrong_inputs_are_refused():
    model = ClapTextModel(ClapTextConfig(**SMALL))
    with pytest.raises(TypeError, match="unknown argument: input_idz"):
        model(input_idz=INPUT_IDS)
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model(INPUT_IDS, inputs_embeds=torch.ones(3, 6, 32))
    with pytest.raises(ValueError, match=r"39 tokens.* at most 38"):
        model(torch.full((1, 39), 5))


def test_impossible_configurations_are_refused():
    with pytest.raises(ValueError, match=r"32.* 5 attention heads"):
        ClapTextModel(ClapTextConfig(**{**SMALL, "num_attention_heads": 5}))
    with pytest.raises(ValueError, match="'rotary'"):
        ClapTextModel(ClapTextConfig(**SMALL, position_embedding_type="rotary"))
    with pytest.raises(ValueError, match=r"'gelo'.*gelu_new"):
        ClapTextModel(ClapTextConfig(**{**SMALL, "hidden_act": "gelo"}))
    with pytest.raises(TypeError, match="ClapTextConfig"):
        ClapTextModel(transformers.ClapTextConfig(**SMALL))


def test_activations_are_those_of_transformers():
    x = torch.linspace(-4, 4, 33)
    for name, function in ACTIVATIONS.items():
        assert_close(function(x), transformers.activations.ACT2FN[name](x))


def test_initial_weights_have_the_spread_of_transformers():
    torch.manual_seed(0)
    values = {**SMALL, "hidden_size": 128, "intermediate_size": 256, "vocab_size": 500}
    ours = ClapTextModelWithProjection(ClapTextConfig(**values)).state_dict()
    theirs = transformers.ClapTextModelWithProjection(transformers.ClapTextConfig(**values)).state_dict()
    for name, expected in theirs.items():
        if expected.is_floating_point() and expected.numel() > 4000:
            assert ours[name].std().item() == pytest.approx(expected.std().item(), rel=0.1), name
        elif expected.is_floating_point() and expected.dim() == 1:
            assert torch.equal(ours[name], expected), name


def test_input_embeddings_can_be_replaced():
    model = ClapTextModelWithProjection(ClapTextConfig(**SMALL))
    replacement = nn.Embedding(99, 32)
    model.set_input_embeddings(replacement)
    assert model.get_input_embeddings() is replacement
