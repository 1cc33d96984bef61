"""Tiny random models in the hub's on-disk layout.

An XLM-R encoder with a masked-language head and no classifier, an XLM-R trained for nothing with an inference head, a
Qwen3 that knows the words of a reranker's prompt, classifiers of pairs of several kinds, a T5 of version 1.1, and a
Marian.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SENTENCES = """
Кастрюля тяжёлая, дно толстое, суп варится быстро.
Кружка пришла со сколом, а чашки целые, упаковано хорошо.
Тарелки красивые, рисунок яркий, мыть легко.
Сковорода не пригорает, ручка удобная, жарю каждый день.
Кроссовки жмут, взял на размер больше, подошва мягкая.
Ботинки тёплые, стелька хорошая, молния работает.
Туфли натирают пятку, каблук шатается, жаль денег.
Тапочки лёгкие, ношу дома, нога не потеет.
Платье село отлично, ткань приятная, швы ровные.
Куртка тонкая, на зиму не годится, рукава короткие.
Доставка быстрая, продавец вежливый, спасибо.
Пока не пользовалась, отзыв дополню позже.
Заказ не пришёл, деньги вернули через неделю.
Всё хорошо, советую магазин, пять звёзд.
Наушники играют громко, провод длинный, звук чистый.
Простыня полиняла после стирки, а полотенце мягкое.
""".strip().splitlines()


def build(path: Path) -> Path:
    """Write the model into the folder ``path``, which is made; returns it. The same bytes every time."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaTokenizer

    path.mkdir(parents=True, exist_ok=True)
    pieces = _sentencepiece(path / "sentencepiece.bpe.model")
    # XLM-R keeps fairseq's numbers: four special tokens of its own, the pieces after sentencepiece's three, the mask.
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary = [*special, *pieces[3:], ("<mask>", 0.0)]
    XLMRobertaTokenizer(vocab=vocabulary, model_max_length=128).save_pretrained(path)
    config = XLMRobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        XLMRobertaForMaskedLM(config).save_pretrained(path)
    return path


def build_nli(path: Path, *, encoder: Path, labels: Sequence[str]) -> Path:
    """Write a classifier of pairs with ``labels`` on the tokenizer and the encoder that :func:`build` wrote.

    The encoder's weights are multiplied and the head is scaled, so that scores differ from text to text. A label's
    weights depend on its name alone.
    """
    import torch
    from transformers import AutoTokenizer, XLMRobertaForSequenceClassification

    words = AutoTokenizer.from_pretrained(encoder)
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)}}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        made = XLMRobertaForSequenceClassification.from_pretrained(encoder, num_labels=len(labels), **named).eval()
        for layer in made.roberta.encoder.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(8)
        torch.manual_seed(0)
        made.classifier.dense.weight.normal_(std=0.2)
        head = made.classifier.out_proj
        for place, label in enumerate(labels):
            torch.manual_seed(sum(label.lower().encode()))
            head.weight[place].normal_()
        logits = made(**words(SENTENCES, SENTENCES[::-1], padding=True, truncation=True, return_tensors="pt")).logits
        scale = 1.5 / logits.std(dim=0)
        head.weight.mul_(scale[:, None])
        head.bias.copy_(-scale * logits.mean(dim=0))
    made.save_pretrained(path)
    words.save_pretrained(path)
    return path


def build_reranker(path: Path, *, answers: Sequence[str] = ("yes", "no")) -> Path:
    """Write a Qwen3 with a byte-level vocabulary that holds ``answers``, and its chat's special tokens."""
    import torch
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    words.train_from_iterator([*SENTENCES, *[answer for answer in answers for _ in range(100)]], trainer)
    special = [AddedToken(name, special=True) for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    words.add_special_tokens(special)
    words.add_tokens([AddedToken("<think>"), AddedToken("</think>")])
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<|endoftext|>", eos_token="<|im_end|>", model_max_length=1024
    ).save_pretrained(path)
    config = Qwen3Config(
        vocab_size=words.get_vocab_size(),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen3ForCausalLM(config).save_pretrained(path)
    return path


PAIRS = ("XLMRoberta", "DebertaV2", "ModernBert", "Bert")
"""Kinds of classifiers of pairs, each with the tokenizer of its published models."""


def build_pairs(path: Path, kind: str, *, labels: Sequence[str]) -> Path:
    """Write a random classifier of pairs of ``kind`` with ``labels``; one label makes a reranker with one score.

    XLM-R as bge-reranker-v2-m3, DeBERTa v3 as mDeBERTa-v3-base-mnli-xnli with positions relative alone, ModernBERT with
    a byte-level vocabulary, BERT with WordPiece and token types.
    """
    import torch
    import transformers

    path.mkdir(parents=True)
    words = _words_of(path, kind)
    usual = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    own: dict[str, dict[str, object]] = {
        "XLMRoberta": {"max_position_embeddings": 130, "type_vocab_size": 1},
        "DebertaV2": {"max_position_embeddings": 128, "relative_attention": True, "position_buckets": 16,
                      "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
                      "max_relative_positions": -1, "position_biased_input": False, "type_vocab_size": 0},
        "ModernBert": {"max_position_embeddings": 128, "classifier_pooling": "mean", "local_attention": 16,
                       "cls_token_id": words.cls_token_id, "sep_token_id": words.sep_token_id},
        "Bert": {"max_position_embeddings": 128},
    }  # fmt: skip
    named = dict(enumerate(labels))
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(words), **usual, **own[kind], pad_token_id=words.pad_token_id, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, id2label=named, label2id={label: place for place, label in named.items()},
    )  # fmt: skip
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        made = getattr(transformers, f"{kind}ForSequenceClassification")(config)
        for part in made.parameters():
            if part.dim() > 1:
                part.normal_(std=0.3)
        made.save_pretrained(path)
    words.save_pretrained(path)
    return path


def _words_of(path: Path, kind: str) -> Any:
    """The tokenizer of the published models of ``kind``, with few pieces."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    if kind == "XLMRoberta":
        pieces = _sentencepiece(path / "sentencepiece.bpe.model")
        special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        return transformers.XLMRobertaTokenizer(vocab=[*special, *pieces[3:], ("<mask>", 0.0)], model_max_length=128)
    if kind == "DebertaV2":
        pieces = _sentencepiece(path / "spm.model")
        special = [("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0)]
        return transformers.DebertaV2Tokenizer(vocab=[*special, *pieces[3:], ("[MASK]", 0.0)], model_max_length=128)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    settings = {"vocab_size": 400, "show_progress": False, "special_tokens": names}
    if kind == "Bert":
        words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        words.normalizer, words.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        words.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(**settings))
    else:
        words = Tokenizer(models.BPE())
        words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        words.train_from_iterator(SENTENCES, trainers.BpeTrainer(**settings, initial_alphabet=alphabet))
    ends = [(name, words.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    second = "$B:1 [SEP]:1" if kind == "Bert" else "$B:0 [SEP]:0"
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=f"[CLS] $A [SEP] {second}", special_tokens=ends
    )
    inputs = ["input_ids", *["token_type_ids"] * (kind == "Bert"), "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]",
        unk_token="[UNK]", model_max_length=128, model_input_names=inputs,
    )  # fmt: skip


def build_t5(path: Path) -> Path:
    """Write a T5 of version 1.1: gated layers, and a head of its own; the tokenizer as a sentencepiece file alone.

    The end token's row of the head is enlarged, so that some outputs end early and others never do.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import T5Config, T5ForConditionalGeneration

    path.mkdir(parents=True, exist_ok=True)
    pieces = _sentencepiece(path / "spiece.model", unk_id=2, bos_id=-1, eos_id=1, pad_id=0)
    tokenizer = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>", "pad_token": "<pad>",
                 "unk_token": "<unk>", "model_max_length": 512}  # fmt: skip
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = T5Config(
        vocab_size=len(pieces),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        made = T5ForConditionalGeneration(config)
        made.shared.weight.normal_(std=1.0)
        made.lm_head.weight = torch.nn.Parameter(torch.randn(len(pieces), config.d_model) * 0.5)
        for layer in made.modules():
            if isinstance(layer, torch.nn.Linear) and layer is not made.lm_head:
                layer.weight.normal_(std=0.25)
        made.lm_head.weight[1] *= 2.5
        state = {name: tensor for name, tensor in made.state_dict().items() if "embed_tokens" not in name}
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    said = config.to_dict() | {"tie_word_embeddings": False, "architectures": ["T5ForConditionalGeneration"]}
    said.pop("scale_decoder_outputs", None)
    (path / "config.json").write_text(json.dumps(said), encoding="utf-8")
    return path


def build_marian(path: Path, *, seed: int = 0, weights: str = "pytorch_model.bin") -> Path:
    """Write a Marian as the hub has them: source.spm, target.spm and vocab.json, weights as ``.bin``."""
    import torch
    from transformers import GenerationConfig, MarianConfig, MarianMTModel

    path.mkdir(parents=True, exist_ok=True)
    pieces = _sentencepiece(path / "source.spm")
    shutil.copyfile(path / "source.spm", path / "target.spm")
    words = ["</s>", "<unk>", *[piece for piece, _ in pieces[3:]], "<pad>"]
    (path / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}), encoding="utf-8")
    tokenizer = {"tokenizer_class": "MarianTokenizer", "source_lang": "rus", "target_lang": "eng",
                 "model_max_length": 512}  # fmt: skip
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    pad = len(words) - 1
    config = MarianConfig(
        vocab_size=len(words),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        pad_token_id=pad,
        eos_token_id=0,
        forced_eos_token_id=0,
        decoder_start_token_id=pad,
        scale_embedding=True,
        static_position_embeddings=True,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        made = MarianMTModel(config).eval()
        for layer in made.modules():
            if isinstance(layer, torch.nn.Linear) and layer is not made.lm_head:
                layer.weight.normal_(std=0.3)
        made.model.shared.weight.normal_(std=0.15)
        made.final_logits_bias[0, 0] = 2.2
    made.generation_config = GenerationConfig(
        bad_words_ids=[[pad]], num_beams=6, max_length=128, decoder_start_token_id=pad, eos_token_id=0,
        pad_token_id=pad, forced_eos_token_id=0,
    )  # fmt: skip
    made.save_pretrained(path)
    if weights != "model.safetensors":
        torch.save(made.state_dict(), path / weights)
        (path / "model.safetensors").unlink()
    return path


QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where the tokenizer of Qwen2 and Qwen3 cuts before it looks for pieces."""


def _sentencepiece(path: Path, **special: int) -> list[tuple[str, float]]:
    """Train a vocabulary and write it to ``path``; its pieces with their scores."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=200,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **special,
    )
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [(processor.id_to_piece(place), processor.get_score(place)) for place in range(processor.get_piece_size())]
