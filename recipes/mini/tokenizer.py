"""The vocabulary: sentencepiece unigrams of the corpora, lower-cased, in the form that XLM-RoBERTa reads."""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

from .corpora import lines, pairs


def run(config: dict[str, Any], corpora: Path, out: Path) -> None:
    """Learn the pieces and save the tokenizer in the hub's layout into ``out``."""
    import sentencepiece
    from transformers import AutoTokenizer

    asked = config["tokenizer"]
    texts = {name: lines(corpora, name) for name in ("ru_reviews", "ru_dialogues", "en_reviews")}
    texts["pairs"] = [text for text, _ in pairs(corpora)]
    rng = random.Random(config["seed"])
    sample = [line for name, found in texts.items() for line in rng.sample(found, min(asked[name], len(found)))]
    rng.shuffle(sample)
    source, learned = out / "source", io.BytesIO()  # a file's path would stand in the model
    source.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample),
        model_writer=learned,
        vocab_size=asked["vocabulary"] - 2,  # the tokenizer adds <pad> and <mask>
        model_type="unigram",
        normalization_rule_name="nmt_nfkc_cf",  # lower case: reviews are written as they come
        character_coverage=0.9997,
        num_threads=2,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        max_sentence_length=4000,
        seed_sentencepiece_size=200_000,
        minloglevel=1,
    )
    (source / "sentencepiece.bpe.model").write_bytes(learned.getvalue())
    settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": config["encoder"]["tokens"]}
    (source / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    AutoTokenizer.from_pretrained(source).save_pretrained(out)
    saved = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
    kept = {
        key: value
        for key, value in saved.items()
        if key not in {"is_local", "local_files_only", "extra_special_tokens"}
    }
    (out / "tokenizer_config.json").write_text(json.dumps(kept, indent=2), encoding="utf-8")
    shutil.move(source / "sentencepiece.bpe.model", out / "sentencepiece.bpe.model")
    shutil.rmtree(source)
