"""Adapters of PEFT on the models: the same layers, gradients and numbers as on those of transformers."""

import copy
import warnings

import pytest
import torch
from support.random_weights import randomise
from support.small_clap import AUDIO, TEXT, inputs_for

from clapstream.clap.config import ClapConfig
from clapstream.clap.model import ClapModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

    peft = pytest.importorskip("peft", reason="needs the package peft")

# Of transformers 5 about the model of its own.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CONFIG = {"text_config": TEXT, "audio_config": AUDIO, "projection_dim": 24}
TARGETS = {
    "attention": ["query", "value"],
    "intermediate": ["intermediate.dense"],
    "output": ["output.dense"],
    "merging": ["reduction"],
    "projections": ["linear1", "linear2"],
    "everything": "all-linear",
    "patches and words": ["patch_embed.proj", "word_embeddings"],
}


def adapted(settings):
    """Our model and the reference with the same weights and the same random adapter, and inputs."""
    theirs = transformers.ClapModel(transformers.ClapConfig(**CONFIG)).eval()
    randomise(theirs)
    model = ClapModel(ClapConfig(**CONFIG)).eval()
    model.load_state_dict(theirs.state_dict())
    inputs = inputs_for(model.config, 201, pairs=3)
    both = [peft.get_peft_model(one, copy.deepcopy(settings)).eval() for one in (model, theirs)]
    for one in both:
        generator = torch.Generator().manual_seed(1)
        for _, parameter in sorted(one.named_parameters()):
            if parameter.requires_grad:
                parameter.data.normal_(0, 0.2, generator=generator)
    return *both, inputs


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_low_rank_adapters(targets, dora):
    model, theirs, inputs = adapted(
        peft.LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=targets, use_dora=dora)
    )
    with torch.no_grad(), model.disable_adapter():
        without = model(**inputs).logits_per_audio
    gradients = []
    for one in (model, theirs):
        one(**inputs, return_loss=True).loss.backward()
        gradients.append({name: p.grad for name, p in one.named_parameters() if p.requires_grad})
    found, expected = gradients
    assert found.keys() == expected.keys() and len(found) > 0
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max() + 1e-2))
    torch.testing.assert_close(model(**inputs)[0], theirs(**inputs)[0], rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        with_adapter = model(**inputs).logits_per_audio
        torch.testing.assert_close(with_adapter, theirs(**inputs).logits_per_audio, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(with_adapter, without, atol=1e-3)


def test_training_saving_merging_and_preparing(tmp_path):
    model, _, inputs = adapted(peft.LoraConfig(r=2, target_modules=["query", "value", "intermediate.dense"]))
    untrained = copy.deepcopy(model).unload().state_dict()
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimiser = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.05, fused=True)
    with torch.no_grad():
        before = model(**inputs).logits_per_audio
    for _ in range(3):
        optimiser.zero_grad()
        model.train()
        model.base_model.model.audio_model.audio_encoder.batch_norm.eval()  # its statistics are no adapter's
        model(**inputs, return_loss=True).loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        after = model(**inputs).logits_per_audio
    assert not torch.allclose(before, after, atol=1e-3)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad or torch.equal(parameter, frozen[name])
    model.save_pretrained(tmp_path)
    base = ClapModel(ClapConfig(**CONFIG)).eval()
    base.load_state_dict(untrained)
    again = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    merged = copy.deepcopy(again).merge_and_unload()
    assert type(merged) is ClapModel
    for other in (again, merged, copy.deepcopy(merged).prepare_for_inference(), again.prepare_for_inference()):
        with torch.no_grad():
            torch.testing.assert_close(other(**inputs).logits_per_audio, after, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        peft.IA3Config(target_modules=["query", "value", "output.dense"], feedforward_modules=["output.dense"]),
        peft.LoHaConfig(r=2, target_modules=["query", "reduction"]),
    ],
    ids=["IA3", "LoHa"],
)
def test_other_adapters(settings):
    model, theirs, inputs = adapted(settings)
    model(**inputs, return_loss=True).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        expected = theirs(**inputs).logits_per_audio
        torch.testing.assert_close(model(**inputs).logits_per_audio, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_adapters_with_gradient_checkpointing(use_reentrant):
    model, _, inputs = adapted(peft.LoraConfig(target_modules=["query", "value"]))
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    model.enable_input_require_grads()
    model.train()
    model(**inputs, return_loss=True).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    base = copy.deepcopy(model.base_model.model)
    base.disable_input_require_grads()
    layers = (base.get_input_embeddings(), base.audio_model.get_input_embeddings())
    assert not any(layer._forward_hooks for layer in layers)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_the_trainer_of_transformers(tmp_path):
    pytest.importorskip("accelerate", reason="needs the package accelerate")
    model = ClapModel(ClapConfig(**CONFIG)).eval()
    randomise(model)
    inputs = inputs_for(model.config, 201, pairs=4)
    rows = [{name: value[row] for name, value in inputs.items()} for row in range(4)]
    before = model.get_audio_features(inputs["input_features"])
    arguments = {
        "max_steps": 2,
        "gradient_checkpointing": True,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
    }
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(tmp_path, **arguments),
        train_dataset=rows,
        data_collator=lambda rows: {**torch.utils.data.default_collate(rows), "return_loss": True},
    )
    trainer.train()
    model.save_pretrained(tmp_path)
    assert not torch.allclose(model.eval().get_audio_features(inputs["input_features"]), before)
    saved = ClapModel.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(saved.state_dict()[name], value), name
