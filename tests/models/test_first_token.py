"""The last layer for the first token alone: the same logits, of the models that are known to need no more."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig, XLMRobertaConfig
from transformers.modeling_outputs import BaseModelOutput

from tsirius.models import first_token

SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
CONFIGS = {"xlm-roberta": XLMRobertaConfig, "bert": BertConfig}


def given() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 50, (6, 11), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row in range(1, 6):
        mask[row, -row:] = 0
    return {"input_ids": ids.where(mask == 1, 1), "attention_mask": mask}


@pytest.mark.parametrize("kind", CONFIGS)
@torch.inference_mode()
def test_the_logits_stay(kind: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(CONFIGS[kind](**SIZES)).eval()
    # Of freshly drawn weights so small the tokens hardly matter.
    for weights in model.parameters():
        weights.mul_(5)
    whole = [model(**given()).logits, model(given()["input_ids"]).logits]
    assert first_token.only(model) is model
    reduced = [model(**given()).logits, model(given()["input_ids"]).logits]
    assert model.base_model(**given()).last_hidden_state.shape == (6, 1, 32)
    assert whole[0].std() > 0.01
    torch.testing.assert_close(reduced, whole, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_another_kind_of_model_is_left_alone() -> None:
    config = DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    model = first_token.only(AutoModelForSequenceClassification.from_config(config).eval())
    found = model.base_model(**given())
    assert isinstance(found, BaseModelOutput) and found.last_hidden_state.shape == (6, 11, 32)


@torch.inference_mode()
def test_masks_of_another_form_are_not_met() -> None:
    model = AutoModelForSequenceClassification.from_config(XLMRobertaConfig(**SIZES), attn_implementation="eager")
    first_token.only(model.eval())
    assert model.base_model(**given()).last_hidden_state.shape == (6, 11, 32)
