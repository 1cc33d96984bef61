"""How fast are reviews rewritten in batches, against one ``generate`` a review on the same weights and beams?

    python benchmarks/generation.py REVIEWS.csv [--rows 128] [--alone 16] [--beams 5] [--size base|small]
        [--precision fp32|auto] [--out TABLE.md]

Builds a T5 of version 1.1 and a Marian with random weights in the hub's layout, with a vocabulary learned from the
reviews; the T5 has the size of rut5-base ("base": 12 layers of 768), the Marian that of opus-mt (6 of 512); "small" is
a third of both. ROWS reviews, drawn evenly over the file, are rewritten one by one by transformers as it loads the
model, then by the engine: as many as it is given at a time by default, since a handful would leave its batches almost
empty. Speed needs no trained weights: a random model seldom ends an output, so that both ways write
as many tokens as they may. Equal outputs are counted too; where two beams are equally good but for the rounding of
floats, the ways may differ.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tsirius.augmenters import generate, kept
from tsirius.io.source import open_source, read_batches
from tsirius.language.clean import normalise
from tsirius.models import load

SIZES = {"base": ((768, 12, 12, 2048), (512, 6, 8, 2048)), "small": ((256, 4, 4, 512), (192, 3, 4, 512))}
"""Of T5 and of Marian: width, layers, heads, inner width."""
PIECES = 16_000


def vocabulary(path: Path, texts: list[str], **special: int) -> list[str]:
    """Learn a vocabulary and write it; its pieces."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=PIECES, hard_vocab_limit=False, minloglevel=2,
        **special,
    )  # fmt: skip
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [processor.id_to_piece(index) for index in range(processor.get_piece_size())]


def build_t5(path: Path, texts: list[str], *, size: tuple[int, int, int, int]) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import T5Config, T5ForConditionalGeneration

    pieces = vocabulary(path / "spiece.model", texts, unk_id=2, bos_id=-1, eos_id=1, pad_id=0)
    description = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>", "pad_token": "<pad>"}
    (path / "tokenizer_config.json").write_text(json.dumps(description), encoding="utf-8")
    width, layers, heads, inner = size
    config = T5Config(
        vocab_size=len(pieces), d_model=width, num_layers=layers, num_heads=heads, d_kv=width // heads, d_ff=inner,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0,
    )  # fmt: skip
    network = T5ForConditionalGeneration(config)
    network.lm_head.weight = torch.nn.Parameter(torch.randn(len(pieces), width) * 0.2)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items() if "embed_tokens" not in name}
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    settings = config.to_dict() | {"tie_word_embeddings": False}
    settings.pop("scale_decoder_outputs", None)
    (path / "config.json").write_text(json.dumps(settings), encoding="utf-8")


def build_marian(path: Path, texts: list[str], *, size: tuple[int, int, int, int]) -> None:
    from transformers import GenerationConfig, MarianConfig, MarianMTModel

    pieces = vocabulary(path / "source.spm", texts)
    shutil.copyfile(path / "source.spm", path / "target.spm")
    words = ["</s>", "<unk>", *pieces[3:], "<pad>"]
    pad = len(words) - 1
    (path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}), encoding="utf-8")
    languages = {"source_lang": "rus", "target_lang": "eng"}
    description = {"tokenizer_class": "MarianTokenizer", **languages, "model_max_length": 512}
    (path / "tokenizer_config.json").write_text(json.dumps(description), encoding="utf-8")
    width, layers, heads, inner = size
    config = MarianConfig(
        vocab_size=len(words), d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=inner, decoder_ffn_dim=inner,
        max_position_embeddings=512, pad_token_id=pad, eos_token_id=0, forced_eos_token_id=0,
        decoder_start_token_id=pad, scale_embedding=True, init_std=0.05,
    )  # fmt: skip
    network = MarianMTModel(config)
    network.generation_config = GenerationConfig(
        bad_words_ids=[[pad]], decoder_start_token_id=pad, eos_token_id=0, pad_token_id=pad, forced_eos_token_id=0
    )
    network.save_pretrained(path)


def clock() -> float:
    """CPU seconds, which other work on the machine hardly changes; on a GPU those of the clock, once it has done."""
    import torch

    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def one_by_one(model: str, texts: list[str], search: generate.Search) -> tuple[float, list[list[str]]]:
    """Seconds and outputs of transformers' own way."""
    network, words = load.read("AutoModelForSeq2SeqLM", model).to(load.device()).eval(), load.tokenizer(model)
    network.generate(**words("Отзыв.", return_tensors="pt").to(network.device), max_new_tokens=8)
    start, answers = clock(), []
    for text in texts:
        given = words(text, return_tensors="pt").to(network.device)
        outputs = network.generate(
            **given, do_sample=False, num_beams=search.beams, num_return_sequences=search.candidates,
            no_repeat_ngram_size=search.no_repeat, encoder_no_repeat_ngram_size=search.no_copy,
            max_new_tokens=generate.limit(given["input_ids"].shape[1]),
        )  # fmt: skip
        answers.append(list(dict.fromkeys(words.batch_decode(outputs, skip_special_tokens=True))))
    return clock() - start, answers


def batched(
    model: str, texts: list[str], search: generate.Search, *, precision: Any, batch_tokens: int
) -> tuple[float, generate.Rewritten]:
    """Seconds and outputs of the engine."""
    writer = generate.load(model, prefix="", search=search, precision=precision, batch_tokens=batch_tokens)
    writer.rewrite(["Отзыв."], ["Отзыв."])
    start = clock()
    outputs = writer.rewrite(texts, texts)
    return clock() - start, outputs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--rows", type=int, default=kept.SHARD)
    parser.add_argument("--alone", type=int, help="so many of them one by one, else all")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--models", nargs="+", choices=("t5", "marian"), default=["t5", "marian"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = open_source(options.reviews, text_column="auto", id_column="auto", encoding="auto", text_required=True)
    every = [normalise(text) for batch in read_batches(source, rows=20_000) for text in batch["text"]]
    fit = [text for text in every if 20 <= len(text) <= 400]
    texts = [fit[index * len(fit) // options.rows] for index in range(options.rows)]
    search = generate.Search(
        beams=options.beams, candidates=4, sample=False, temperature=1, top_p=1, no_repeat=3, no_copy=4, max_tokens=256
    )
    where = f"{torch.get_num_threads()} thread(s), CPU seconds"
    if torch.cuda.is_available():
        where = torch.cuda.get_device_name()
    few = [texts[index * len(texts) // (options.alone or len(texts))] for index in range(options.alone or len(texts))]
    lines = [
        f"{options.rows} reviews, {options.beams} beams, {where}, size {options.size}",
        "",
        "| model | way | seconds | reviews/s | times as fast | equal outputs |",
        "|---|---|---|---|---|---|",
    ]
    for name, build, size in zip(("t5", "marian"), (build_t5, build_marian), SIZES[options.size], strict=True):
        if name not in options.models:
            continue
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            build(Path(folder), every, size=size)
            alone, expected = one_by_one(folder, few, search)
            seconds, outputs = batched(
                folder, texts, search, precision=options.precision, batch_tokens=options.batch_tokens
            )
        given = dict(zip(texts, outputs, strict=True))
        same = sum(given[text] == one for text, one in zip(few, expected, strict=True))
        slow, fast = len(few) / alone, len(texts) / seconds
        lines += [
            f"| {name} | one by one | {alone:.1f} | {slow:.2f} | 1 | |",
            f"| {name} | batches, {options.precision} | {seconds:.1f} | {fast:.2f} "
            f"| {fast / slow:.1f} | {same} of {len(few)} |",
        ]
        print(lines[-1], file=sys.stderr)
    table = "\n".join(lines) + "\n"
    if options.out:
        options.out.write_text(table, encoding="utf-8")
    print(table, end="")


if __name__ == "__main__":
    main()
