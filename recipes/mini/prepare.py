# ruff: noqa: SIM905 - lists of words read better as text
"""Weak labels: what each line of the corpora speaks of, judged without any answer file.

Three witnesses are heard: the listing that a review was left for, the goods that the text names, and a linear model of
the text that never saw the listing's own name group (out of fold). A listing's department counts only where the text
bears it out; a text that names nothing and that the linear model cannot place is generic, which is what the
none-category means. Whatever stays in doubt is marked unknown and teaches nothing.

Written: ``texts.npz`` (pieces of all lines, flat), ``labels.npz``, ``names.json``, ``words.npz`` (navec vectors of the
corpora's words). A label is a byte, 0 to 100 per cent, 255 unknown; columns are departments, then kinds, then «nothing
of a product» and the five things that such a text may speak of.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from . import goods as shop
from .corpora import lines, pairs

UNKNOWN = 255
LEARNED, REVIEW_HELD_OUT, NAME_HELD_OUT, NEITHER = range(4)
"""What a line is for: see :func:`hold_out`."""
ASPECTS: dict[str, frozenset[str]] = {
    "delivery": frozenset(
        ("доставка доставить прийти посылка курьер почта дойти приехать ехать пункт отправить").split()
    ),
    "seller": frozenset(["продавец", "магазин"]),
    "refund": frozenset(["возврат", "вернуть", "деньга", "спор", "обман", "вернуться"]),
    "praise": frozenset(
        (
            "отличный отлично супер хороший хорошо спасибо рекомендовать довольный класс понравиться нравиться "
            "прекрасный замечательный идеальный классный красивый благодарить советовать great excellent"
        ).split()
    ),
    "complaint": frozenset(
        ("ужасный ужас плохой плохо кошмар разочаровать разочарование брак ужасно отвратительный terrible").split()
    ),
}
"""What a generic text may speak of, by the words that show it."""

SOURCES = ("ru_reviews", "pairs", "en_reviews", "ru_dialogues")
GENERAL_NOUNS = frozenset(
    (
        "товар качество цена доставка заказ цвет упаковка коробка магазин продавец спасибо фото фотография "
        "описание отзыв подарок деньга день месяц год неделя раз рубль муж жена мама сестра подруга друг "
        "человек пункт выдача возврат отказ брак покупка вещь звезда процент выкуп срок курьер почта время "
        "претензия нарекание соответствие картинка восторг класс норма пакет пупырка скол царапина дефект "
        "повреждение минус плюс случай проблема надежда оценка склад сайт скидка акция сожаление итог "
        "удовольствие совет посылка спор обман продажа покупатель производитель сторона ожидание целость "
        "сохранность благодарность получение час страна карта штука вопрос ответ номер фирма бренд изделие "
        "супер рекомендация хрень фигня ужас кошмар красота прелесть чудо счастье радость начало конец место "
        "дело дом момент момент жаль разочарование обращение реклама мусор помойка стоимость приложение "
        "сообщение комплектация количество пленка недостаток достоинство экземпляр пара семья ура огонь бомба "
        "пять балл"
    ).split()
)
"""Nouns that name no product: a text with any other noun is not called generic."""

SHORT, TERSE = (
    25,
    5,
)  # words: longer, a text without a word of goods is not called generic; shorter, it shows no product


def run(config: dict[str, Any], corpora: Path, out: Path) -> None:
    """Judge every line and write the tables into ``out``."""
    asked, rng = config["prepare"], random.Random(config["seed"])
    goods = shop.load()
    texts, names, source = [], [], []
    for place, name in enumerate(SOURCES):
        found = pairs(corpora) if name == "pairs" else [(line, "") for line in lines(corpora, name)]
        texts += [text for text, _ in found]
        names += [product for _, product in found]
        source += [place] * len(found)
    kinds_of_source = np.array(source, dtype=np.uint8)
    words = [shop.lemmas(text) for text in texts]

    listed = sorted(set(names) - {""})
    number = {name: place for place, name in enumerate(listed)}
    about = [shop.departments_of(goods, shop.lemmas(name), listing=True) for name in listed]
    shown = [shop.general(name) for name in listed]
    heads = [_head(name, short) for name, short in zip(listed, shown, strict=True)]
    groups = sorted(set(heads))
    away = set(rng.sample(groups, round(asked["held_out_names"] * len(groups))))
    listing = np.array([number[name] if name else -1 for name in names], dtype=np.int16)
    group = np.array([groups.index(head) for head in heads], dtype=np.int16)
    split = hold_out(
        [" ".join(found) for found in words],
        listing >= 0,
        np.array([row >= 0 and heads[row] in away for row in listing]),
        share=asked["held_out_reviews"],
        seed=config["seed"],
    )

    labels = _labels(goods, texts, words, kinds_of_source, listing, about, heads, split, asked["folds"], config["seed"])
    items = [item for table in goods.kinds for item in table["items"]]
    order = {item: place for place, item in enumerate(items)}
    spots = [goods.places(found) for found in words]
    own = np.full((len(texts), 4), -1, dtype=np.int16)
    for place, spot in enumerate(spots):
        distinct = [order[item] for item in dict.fromkeys(item for _, _, item, _ in spot) if item in order][:4]
        own[place, : len(distinct)] = distinct
    np.savez_compressed(
        out / "labels.npz", items=own, labels=labels, source=kinds_of_source, listing=listing, split=split, group=group
    )
    table = [
        {
            "name": name,
            "general": short,
            "head": head,
            "departments": sorted(found[0]),
            "kinds": sorted(found[1]),
            "held_out": head in away,
        }
        for name, short, head, found in zip(listed, shown, heads, about, strict=True)
    ]
    (out / "names.json").write_text(json.dumps(table, ensure_ascii=False, indent=0), encoding="utf-8")
    _pieces(texts, spots, out)
    _vectors(texts, goods, shown, asked["vectors"], out)


def hold_out(keys: list[str], listed: Any, away: Any, *, share: float, seed: int) -> Any:
    """What each line is for, uint8: LEARNED, REVIEW_HELD_OUT, NAME_HELD_OUT or NEITHER.

    A text counts as one wherever it stands: the corpora hold nearly every review of a listing a second time without it,
    and short ones under many names. So a held-out line's text is in no line that is learned from.

    Args:
        keys: the text of each line, equal for equal texts.
        listed: whether a line has a listing, [lines].
        away: whether its listing's name is held out, [lines].
        share: of the texts that are held out for themselves.
        seed: of that draw.
    """
    distinct, place = np.unique(np.array(keys), return_inverse=True)
    drawn = np.random.default_rng(seed).random(len(distinct)) < share
    other, of_away = np.zeros(len(distinct), dtype=bool), np.zeros(len(distinct), dtype=bool)
    other[place[listed & ~away]] = True
    of_away[place[away]] = True
    split = np.full(len(keys), LEARNED, dtype=np.uint8)
    split[(of_away & ~other)[place]] = NAME_HELD_OUT
    split[drawn[place] & ~(of_away & ~other)[place]] = REVIEW_HELD_OUT
    split[away & other[place]] = NEITHER  # the text is also learned from, or held out, under another name
    return split


def _head(name: str, short: list[str]) -> str:
    """The word that names share when they name the same thing: the lemma of the first noun of the general name."""
    found = [word for word in shop.lemmas(short[0] if short else name) if len(word) > 2]
    skipped = {
        "набор",
        "комплект",
        "для",
        "женский",
        "мужской",
        "автомобильный",
        "классический",
        "новогодний",
        "ювелирный",
        "мягкий",
        "интерактивный",
        "дата",
        "пара",
        "система",
        "полнорационный",
        "прочный",
        "угловой",
        "серебряный",
        "мини",
        "развивающий",
    }
    return next((word for word in found if word not in skipped), found[0] if found else name.lower())


def _labels(
    goods: shop.Goods,
    texts: list[str],
    words: list[list[str]],
    source: Any,
    listing: Any,
    about: list[Any],
    heads: list[str],
    split: Any,
    folds: int,
    seed: int,
) -> Any:
    """The table of labels, uint8 [texts, departments + kinds + 1 + aspects]."""
    wide, deep = len(goods.departments), len(goods.kinds)
    none = wide + deep
    named = [shop.departments_of(goods, found, listing=False) for found in words]
    sure = [next(iter(found)) if len(found) == 1 else -1 for found, _ in named]
    sold = [sorted(about[row][0]) if row >= 0 else [] for row in listing]
    seen = np.array([own[0] if own else by_words for own, by_words in zip(sold, sure, strict=True)])
    seen[split != LEARNED] = -1  # what is held out teaches no witness either
    keys = np.array([hash_of(heads[row]) if row >= 0 else place for place, row in enumerate(listing)]) % folds
    belief = _out_of_fold(words, seen, keys, folds, seed, wide)
    telling = telling_words(words, seen, wide)

    labels = np.full((len(texts), none + 1 + len(ASPECTS)), UNKNOWN, dtype=np.uint8)
    for place, (departments, items) in enumerate(named):
        row, own, likely = labels[place], sold[place], belief[place]
        best = int(likely.argmax())
        weight: dict[int, int] = {}
        if own:
            spoken = bool(departments & set(own)) or _mentions(words[place], about[listing[place]][1])
            for department in own:
                weight[department] = (
                    100 if spoken else round(100 * float(likely[department])) if likely[department] >= 0.5 else UNKNOWN
                )
            for department in departments - set(own):
                weight[department] = UNKNOWN
        elif len(departments) == 1:
            (department,) = departments
            agrees = likely[department] >= 0.3 or source[place] == 2
            weight[department] = 100 if agrees else UNKNOWN
        elif departments:
            for department in departments:
                weight[department] = 100 if department == best and likely[best] >= 0.5 else UNKNOWN
        elif source[place] == 0 and likely[best] >= 0.85:
            weight[best] = round(100 * float(likely[best]))
        bare = not items and not departments
        nouns = {word for word in words[place] if shop.noun(word)} if bare else set()
        generic = source[place] == 3 or (
            bare
            and source[place] != 2
            and len(words[place]) <= SHORT
            and nouns <= GENERAL_NOUNS
            and likely.max() < 0.5
            and not telling & set(words[place])
        )
        if bare and len(words[place]) < TERSE and not generic:
            continue
        if generic:
            row[:none] = 0
            row[none] = 100
            for aspect, (_, shows) in enumerate(ASPECTS.items()):
                row[none + 1 + aspect] = 100 if shows & set(words[place]) else 0
            if source[place] == 3:
                row[none + 1 :] = UNKNOWN
                row[:none] = [UNKNOWN if kind in departments else 0 for kind in range(none)]
            continue
        if not any(value != UNKNOWN for value in weight.values()):
            continue
        row[:wide] = 0
        for department, value in weight.items():
            row[department] = value
        if (
            shop_kids(goods) in weight and weight[shop_kids(goods)] == 100
        ):  # clothes for a child are clothes too, somewhat
            for department in {parent for kind in goods.found(words[place]) for parent in goods.parents[kind]} - set(
                weight
            ):
                row[department] = UNKNOWN
        row[wide:none] = 0
        about_kinds = set(items) | (set(about[listing[place]][1]) if own else set())
        for kind in range(deep):
            if kind in about_kinds:
                values = [int(row[parent]) for parent in goods.parents[kind]]
                row[wide + kind] = max((value for value in values if value != UNKNOWN), default=UNKNOWN) or UNKNOWN
            elif not items and any(row[parent] != 0 for parent in goods.parents[kind]) and not (own and about_kinds):
                row[wide + kind] = UNKNOWN
        row[none:] = 0
        if max(value for value in weight.values() if value != UNKNOWN) < 75:
            row[none] = UNKNOWN
    return labels


def telling_words(words: list[list[str]], seen: Any, wide: int, least: int = 15, bits: float = 0.9) -> set[str]:
    """The lemmas by which departments differ: ``bits`` or more between the departments of the texts that hold a
    lemma and equal shares. A text with one of them says something of its product, be it «маломерит» or «заваривать».
    """
    sizes = np.bincount(seen[seen >= 0], minlength=wide)
    counts: dict[str, Any] = {}
    for found, department in zip(words, seen.tolist(), strict=True):
        if department >= 0:
            for word in set(found):
                counts.setdefault(word, np.zeros(wide, np.float32))[department] += 1
    present = sizes >= 300
    result = set()
    for word, row in counts.items():
        if row.sum() >= least:
            share = (row[present] + 20 * sizes[present] / sizes.sum()) / sizes[present]
            share /= share.sum()
            if np.log2(present.sum()) + float((share * np.log2(share)).sum()) >= bits:
                result.add(word)
    return result


def shop_kids(goods: shop.Goods) -> int:
    """The number of the department for children."""
    return goods.number["kids"]


def hash_of(text: str) -> int:
    """A number of a text that is the same in every run."""
    import zlib

    return zlib.crc32(text.encode())


def _mentions(words: list[str], kinds: dict[int, set[str]]) -> bool:
    found = set(words)
    return any(set(shop.lemmas(item)) <= found for items in kinds.values() for item in items)


def _out_of_fold(words: list[list[str]], seen: Any, keys: Any, folds: int, seed: int, wide: int) -> Any:
    """P(department | text) by a linear model that saw no text of the same name group, float32 [texts, departments]."""
    from scipy.special import softmax
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.linear_model import SGDClassifier

    hashed = HashingVectorizer(analyzer=_grams, n_features=2**18, norm=None, alternate_sign=False, binary=True)
    table = TfidfTransformer(sublinear_tf=True).fit_transform(hashed.transform(words))
    belief = np.zeros((len(words), wide), dtype=np.float32)
    rng = np.random.default_rng(seed)
    for fold in range(folds):
        rows = np.flatnonzero((seen >= 0) & (keys != fold))
        counts = Counter(seen[rows].tolist())
        kept = rows[rng.random(len(rows)) < np.array([min(1.0, 6000 / counts[int(value)]) for value in seen[rows]])]
        model = SGDClassifier(
            loss="log_loss", alpha=1e-5, max_iter=4, tol=None, random_state=seed, class_weight="balanced"
        )
        model.fit(table[kept], seen[kept])
        asked = np.flatnonzero(keys == fold)
        belief[np.ix_(asked, model.classes_)] = softmax(model.decision_function(table[asked]), axis=1)
    return belief


def _grams(words: list[str]) -> list[str]:
    return words + [f"{first} {second}" for first, second in itertools.pairwise(words)]


def _pieces(texts: list[str], spots: list[Any], out: Path) -> None:
    """The lines as pieces, flat, with the place where each begins, and which pieces belong to a word of goods."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out / "tokenizer")
    rows, flags = [], []
    for start in range(0, len(texts), 20_000):
        part = texts[start : start + 20_000]
        coded = tokenizer(part, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for text, spot, row, offsets in zip(
            part, spots[start:], coded["input_ids"], coded["offset_mapping"], strict=False
        ):
            flag = np.zeros(len(row), dtype=bool)
            if spot:
                ends = [match.span() for match in shop.WORD.finditer(text)]
                inside = {
                    place
                    for first, length, _, _ in spot
                    for place in range(ends[first][0], ends[first + length - 1][1])
                }
                flag[[place for place, (first, last) in enumerate(offsets) if last > first and last - 1 in inside]] = (
                    True
                )
            rows.append(np.array(row, dtype=np.uint16))
            flags.append(flag)
    starts = np.cumsum([0] + [len(row) for row in rows], dtype=np.int32)
    np.savez_compressed(
        out / "texts.npz", pieces=np.concatenate(rows), starts=starts, goods=np.packbits(np.concatenate(flags))
    )


def _vectors(texts: list[str], goods: shop.Goods, names: list[list[str]], kept: int, out: Path) -> None:
    """navec vectors of the words in the corpora and the word list, on their principal axes, as pieces and vectors."""
    from transformers import AutoTokenizer

    from tsirius.language import word_vectors

    tokenizer = AutoTokenizer.from_pretrained(out / "tokenizer")
    vectors = word_vectors.load()
    counts = Counter(word.lower() for text in texts for word in shop.WORD.findall(text))
    tables = [*goods.departments, *goods.kinds, goods.none]
    own = {
        word.lower()
        for table in tables
        for key in ("names", "items", "cues")
        for text in table.get(key, ())
        for word in shop.WORD.findall(text)
    }
    own |= {word for short in names for name in short for word in name.split()}
    words = sorted(word for word in {*own, *(word for word, count in counts.items() if count >= 4)} if word in vectors)
    table = vectors.vectors(words)
    centred = table - table.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :kept]
    rows = tokenizer(words, add_special_tokens=False, verbose=False)["input_ids"]
    starts = np.cumsum([0] + [len(row) for row in rows], dtype=np.int32)
    np.savez_compressed(
        out / "words.npz",
        vectors=np.round((centred @ axes) * 127 / 0.5).clip(-127, 127).astype(np.int8),
        pieces=np.fromiter((piece for row in rows for piece in row), dtype=np.uint16, count=int(starts[-1])),
        starts=starts,
        counts=np.array([counts[word] for word in words], dtype=np.int32),
    )
    (out / "words.txt").write_text("\n".join(words), encoding="utf-8")
