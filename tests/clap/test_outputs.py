"""Outputs are ordered dictionaries with attributes, as those of transformers are."""

import copy
import dataclasses
import pickle
from collections import OrderedDict

import pytest
import torch
import transformers
from torch.utils import _pytree as pytree

from clapstream.clap.outputs import BaseModelOutputWithPooling, ClapOutput, ClapTextModelOutput

LAST, POOLED = torch.ones(2, 3, 4), torch.zeros(2, 4)


@pytest.fixture(params=[BaseModelOutputWithPooling, transformers.modeling_outputs.BaseModelOutputWithPooling])
def output(request):
    """Both kinds must pass every test here."""
    return request.param(last_hidden_state=LAST, pooler_output=POOLED)


def test_reads_as_a_dictionary(output):
    assert isinstance(output, OrderedDict)
    assert list(output) == list(output.keys()) == ["last_hidden_state", "pooler_output"]
    assert [*output.values()] == [value for _, value in output.items()] == [output["last_hidden_state"], POOLED]
    assert dict(output)["pooler_output"] is {**output}["pooler_output"] is POOLED
    assert len(output) == 2 and "pooler_output" in output and "attentions" not in output
    assert output.get("attentions") is None and output.get("pooler_output") is POOLED
    with pytest.raises(KeyError):
        output["attentions"]
    assert output.keys() == {"last_hidden_state", "pooler_output"}


def test_reads_as_a_tuple(output):
    assert output[0] is output["last_hidden_state"] is output.last_hidden_state is LAST
    assert output[-1] is POOLED and output[:2] == output.to_tuple()
    last, pooled = output[:2]
    assert last is LAST and pooled is POOLED
    first_key, _ = output
    assert first_key == "last_hidden_state"
    with pytest.raises(IndexError):
        output[2]


def test_fields_can_be_set(output):
    output["pooler_output"] = LAST
    assert output.pooler_output is LAST
    output.last_hidden_state = POOLED
    assert output["last_hidden_state"] is output[0] is POOLED
    assert dataclasses.replace(output, pooler_output=POOLED).pooler_output is POOLED


@pytest.mark.parametrize(
    "change",
    [
        lambda output: output.pop("pooler_output"),
        lambda output: output.update(pooler_output=LAST),
        lambda output: output.setdefault("attentions", LAST),
        lambda output: output.__delitem__("pooler_output"),
    ],
)
def test_fields_cannot_be_added_or_removed(output, change):
    with pytest.raises(Exception, match=r"cannot (be added or removed|use ``)|You cannot"):
        change(output)


def test_copies_and_pickles(output):
    for other in (copy.copy(output), copy.deepcopy(output), pickle.loads(pickle.dumps(output))):
        assert type(other) is type(output)
        assert list(other) == list(output) and torch.equal(other.pooler_output, POOLED)


def test_is_a_tree(output):
    """What export, compilation, vmap and DataParallel walk through."""
    leaves, shape = pytree.tree_flatten(output)
    assert [id(leaf) for leaf in leaves] == [id(LAST), id(POOLED)]
    again = pytree.tree_unflatten(leaves, shape)
    assert type(again) is type(output) and again.attentions is None
    doubled = pytree.tree_map(lambda value: value * 2, output)
    assert torch.equal(doubled.last_hidden_state, 2 * LAST)


def test_is_built_from_pairs(output):
    """As torch.nn.parallel.gather does it."""
    again = type(output)((key, value) for key, value in output.items())
    assert list(again) == list(output) and again.pooler_output is POOLED


def test_a_field_that_was_none_joins_in_its_place():
    output = ClapTextModelOutput(text_embeds=POOLED, attentions=(LAST,))
    output.last_hidden_state = LAST
    output["hidden_states"] = (LAST,)
    assert list(output) == ["text_embeds", "last_hidden_state", "hidden_states", "attentions"]
    output.attentions = None
    assert "attentions" not in output and len(output.to_tuple()) == 3
    with pytest.raises(KeyError, match="no field 'embeds'"):
        output["embeds"] = POOLED


def test_outputs_inside_outputs():
    inner = BaseModelOutputWithPooling(last_hidden_state=LAST, pooler_output=POOLED)
    output = ClapOutput(audio_embeds=POOLED, audio_model_output=inner)
    assert output.to_tuple() == (POOLED, (LAST, POOLED)) == output[:]
    assert output["audio_model_output"] is inner and output[1] == (LAST, POOLED)
    leaves, shape = pytree.tree_flatten(output)
    assert len(leaves) == 3
    assert pytree.tree_unflatten(leaves, shape).audio_model_output.pooler_output is POOLED
