"""A tiny random XLM-R in the hub's on-disk layout: an encoder with a masked-language head, and no classifier."""

from __future__ import annotations

import io
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
