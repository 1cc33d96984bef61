from tsirius.language.words import lemma, lemmas, words


def test_words():
    assert words("Ещё одно Wi-Fi реле, 220В! snake_case за\u0301мок") == [
        "еще", "одно", "wi", "fi", "реле", "220в", "snake", "case", "замок",
    ]  # fmt: skip
    assert words("👍 !!! ...") == []


def test_lemmas():
    assert lemmas("Купила красивые ЧАШКИ и тёплый плед Xiaomi") == [
        "купить", "красивый", "чашка", "и", "теплый", "плед", "xiaomi",
    ]  # fmt: skip
    assert lemmas("качество") == ["качество"], "«тв» sits in it, but is not a word of it"
    assert lemma("щ" * 1000) == "щ" * 1000
