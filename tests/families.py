"""Sixteen published families of encoders as tiny random models in their layout on disk, and what each is tested for.

``docs/generate.py`` makes the table of the page on models from here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tsirius.models import pooling

WIDTH = 32
USUAL = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
DECODER = {**USUAL, "num_key_value_heads": 2, "head_dim": 8}
SHAPES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "XLMRoberta": ("XLMRobertaConfig", "XLMRobertaModel", USUAL),
    "Bert": ("BertConfig", "BertModel", USUAL),
    "Roberta": ("RobertaConfig", "RobertaModel", USUAL),
    "ModernBert": ("ModernBertConfig", "ModernBertModel", {**USUAL, "cls_token_id": 0, "sep_token_id": 2}),
    "Qwen3": ("Qwen3Config", "Qwen3Model", DECODER),
    "Gemma3": (
        "Gemma3TextConfig",
        "Gemma3TextModel",
        {**DECODER, "use_bidirectional_attention": True, "sliding_window": 16},
    ),
    "T5": (
        "T5Config",
        "T5EncoderModel",
        {
            "d_model": WIDTH,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 4,
            "feed_forward_proj": "gated-gelu",
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
    ),
}
ENCODERS_ALONE = ("T5",)
"""Shapes of which a folder holds an encoder without its decoder: there is no class that classifies with it."""
DECODERS = ("Qwen3", "Gemma3")
"""Shapes whose classifier has no bias: the prior's shift stays beside the weights, so that merged needs none."""
RERANKERS = ("XLMRoberta", "Bert", "ModernBert", "Qwen3")
"""Shapes that are tested as rerankers: with one score, and Qwen3 as one that says yes or no."""
XNLI = ("contradiction", "neutral", "entailment")
QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


class Family(NamedTuple):
    """A published family of encoders: its class, and what its folder or its card says."""

    shape: str
    pooling: str
    prompts: dict[str, str] = {}  # noqa: RUF012
    dense: tuple[tuple[int, bool, str], ...] = ()  # width, bias, activation
    taken: tuple[str, str] = ("", "")
    include_prompt: bool = True
    norm: bool = False


SEARCH = {"search_query": "search_query: ", "search_document": "search_document: "}
FAMILIES = {
    "USER2-base": Family("ModernBert", "mean", {"classification": "classification: ", **SEARCH},
                         taken=("classification: ", "classification: ")),
    "BERTA": Family("Bert", "mean", {**SEARCH, "categorize": "categorize: ", "categorize_topic": "categorize_topic: "},
                    taken=("categorize_topic: ", "categorize_topic: ")),
    "rubert-mini-frida": Family("Bert", "mean", {"categorize_topic": "categorize_topic: "},
                                taken=("categorize_topic: ", "categorize_topic: ")),
    "FRIDA": Family("T5", "cls", {"categorize_topic": "categorize_topic: ", **SEARCH},
                    taken=("categorize_topic: ", "categorize_topic: ")),
    "multilingual-e5-small": Family("Bert", "mean", taken=("query: ", "query: ")),
    "multilingual-e5-base": Family("XLMRoberta", "mean", taken=("query: ", "query: ")),
    "multilingual-e5-large-instruct": Family("XLMRoberta", "mean", taken=(pooling.INSTRUCTION, "")),
    "USER-bge-m3": Family("XLMRoberta", "cls"),
    "bge-m3": Family("XLMRoberta", "cls"),
    "ru-en-RoSBERTa": Family("Roberta", "cls", {"classification": "classification: ", **SEARCH},
                             taken=("classification: ", "classification: ")),
    "snowflake-arctic-embed-l-v2.0": Family("XLMRoberta", "cls", {"query": "query: "}, taken=("query: ", "")),
    "Qwen3-Embedding-0.6B": Family("Qwen3", "lasttoken", {"query": QUERY, "document": ""},
                                   taken=(pooling.INSTRUCTION, "")),
    "F2LLM-v2-0.6B": Family("Qwen3", "lasttoken", {"query": QUERY}, taken=(pooling.INSTRUCTION, "")),
    "embeddinggemma-300m": Family(
        "Gemma3", "mean",
        {"query": "task: search result | query: ", "document": "title: none | text: ",
         "Classification": "task: classification | query: "},
        ((48, False, "Identity"), (WIDTH, False, "Identity")),
        taken=("task: classification | query: ", "task: classification | query: "),
    ),
    "LaBSE": Family("Bert", "cls", dense=((WIDTH, True, "Tanh"),)),
    "any other": Family("Bert", "weightedmean", {"query": "q: ", "document": "d: "}, taken=("q: ", "d: "),
                                include_prompt=False, norm=True),
}  # fmt: skip
"""Sixteen, in the layout in which sentence-transformers saves them."""


def plain(shape: str, words: Any, path: Path, *, width: int = WIDTH, scale: float = 1.0, head: str = "Model") -> Path:
    """Write a tiny random model of a shape with a tokenizer into the folder ``path``; returns it.

    Args:
        shape: of :data:`SHAPES`.
        words: the tokenizer.
        path: the folder.
        width: numbers of a state.
        scale: what its weights are multiplied by, so that what it says hangs on the text.
        head: "Model", or the end of the name of a class with a head, which has then the labels of inference.
    """
    import torch
    import transformers

    config, model, settings = SHAPES[shape]
    wide = {"d_model": width, "d_kv": width // 4} if shape == "T5" else {"hidden_size": width}
    wide |= {"head_dim": width // 2} if "head_dim" in settings else {}
    labels = {"id2label": dict(enumerate(XNLI)), "label2id": {label: place for place, label in enumerate(XNLI)}}
    named: dict[str, Any] = {} if head == "Model" else labels
    name = model if head == "Model" else model.removesuffix("EncoderModel").removesuffix("Model") + head
    torch.manual_seed(0)
    made = getattr(transformers, name)(getattr(transformers, config)(vocab_size=len(words), **settings | wide | named))
    with torch.no_grad():
        for part in made.parameters():
            if part.dim() > 1:
                part.mul_(scale)
    made.save_pretrained(path)
    words.save_pretrained(path)
    return path


def build(name: str, family: Family, words: Any, path: Path, *, width: int = WIDTH, scale: float = 1.0) -> Any:
    """A tiny model of a family in its layout on disk, ``path`` / ``name``, and as sentence-transformers has it.

    Other arguments as of :func:`plain`.
    """
    import sentence_transformers
    import torch
    from sentence_transformers.models import Dense, LayerNorm, Normalize, Transformer
    from sentence_transformers.models import Pooling as Pool

    folder = plain(family.shape, words, path / "plain", width=width, scale=scale)
    steps: list[Any] = [Transformer(str(folder), max_seq_length=48)]
    steps.append(Pool(width, family.pooling, include_prompt=family.include_prompt))
    for wide, bias, activation in family.dense:
        steps.append(Dense(width, wide, bias=bias, activation_function=getattr(torch.nn, activation)()))
        width = wide
    if family.norm:
        steps.append(LayerNorm(width))
        torch.nn.init.normal_(steps[-1].norm.weight)
    steps.append(Normalize())
    result = sentence_transformers.SentenceTransformer(modules=steps, prompts=family.prompts or None, device="cpu")
    result.save(str(path / name))
    return result


def table(*, russian: bool) -> str:
    """What each family is tested for, as Markdown.

    Embeddings: ``test_pooling.py``; nli: ``test_families.py`` on the shape, reranker: ``test_reranker.py``; LoRA, QLoRA
    and ONNX: ``test_families.py``.
    """
    yes, refused = ("да", "отказ: один энкодер") if russian else ("yes", "refused: an encoder alone")
    head = ("семейство", "класс", "эмбеддинги", "nli или reranker") if russian else (
        "family", "class", "embeddings", "nli or reranker")  # fmt: skip
    lines = [f"| {' | '.join((*head, 'LoRA', 'QLoRA', 'ONNX'))} |", "|---|---|---|---|---|---|---|"]
    for name, family in FAMILIES.items():
        judges = "nli, reranker" if family.shape in RERANKERS else "nli"
        trained = (refused, refused, "–") if family.shape in ENCODERS_ALONE else (yes, yes, yes)
        lines.append(f"| {' | '.join((name, family.shape, yes, judges, *trained))} |")
    return "\n".join(lines)
