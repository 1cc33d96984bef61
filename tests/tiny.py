"""Tiny random models in the hub's on-disk layout.

An XLM-R encoder with a masked-language head and no classifier, an XLM-R trained for nothing with an inference head, and
a Qwen3 that knows the words of a reranker's prompt.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

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


QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where the tokenizer of Qwen2 and Qwen3 cuts before it looks for pieces."""


def _sentencepiece(path: Path) -> list[tuple[str, float]]:
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
    )
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [(processor.id_to_piece(place), processor.get_score(place)) for place in range(processor.get_piece_size())]
