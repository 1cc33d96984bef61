"""Texts written by rule: a thing named, implied by its use, mentioned beside another; and what names nothing."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

from recipes.mini import goods as base

NAMED = (
    "{n}", "{n} супер", "{n} отличного качества", "за {a} спасибо", "брала {a} второй раз", "заказала {a}",
    "купили {a} домой", "{a} получила, всё отлично", "купил {a}, доволен", "{n} — огонь", "взяла {a} в подарок маме",
    "{n} не очень", "{a} пришлось вернуть", "искала {a} давно, эти подошли", "{n} так себе, ожидала большего",
    "наконец заказала себе {a}", "подарила {a} подруге", "пользуюсь месяц, {n} радует", "{a} советую",
    "{n} понравилось всем", "муж доволен, {n} то что надо", "хотела {a}, вот и взяла",
    "ни разу не пожалела, что купила {a}", "{a} прислали с браком", "{a} заказывали два раза", "{n}, цена хорошая",
    "{a} рекомендую", "пришла посылка: {n}", "за эти деньги {n} просто находка", "в магазине {n} дороже в два раза",
    "разочарована, {n} дешёвка", "на фото {n} другого цвета", "{a} ждала месяц, но оно того стоило",
)  # fmt: skip
NAMED_ENGLISH = (
    "{n}", "great {n}", "i bought this {n} for my mom", "love these {n}", "the {n} is okay for the price",
    "best {n} i have owned", "disappointed with the {n}", "this is my second {n}",
    "the {n} arrived on time and works", "poor quality {n}", "good {n}, would buy again", "returned the {n}",
    "my husband uses this {n} every day",
)  # fmt: skip
PASSING = (
    "{s}, {o_a} вместе с ним не брала", "{s}, хотя заказывала ещё и {o_a}",
    "{s}. раньше дарили {o_a}, а теперь решили так", "{s}, хорошо подходит к {o_d}", "{s}, лежит рядом с {o_i}",
    "{s}. думала, будет хуже, чем {o_n}", "{s}, стоит дешевле, чем {o_n}",
    "{s}. муж смеётся, говорит лучше бы {o_a} купила", "{s}, даже {o_n} туда помещается",
    "{s}. беру уже не первый раз, {o_n} была от них же", "{s}, в комплекте ещё был бонусом {o_n}",
    "{s}. сравнивала с {o_i} — это другое", "хотела {o_a}, но взяла {a}, не жалею",
    "{o_n} у меня уже есть, а {a} взяла впервые", "вместо {o_g} купили {a}", "к {o_d} докупила {a}, довольна",
    "{a} взяла, чтобы хранить {o_a}", "{a} беру, {o_a} не буду",
    "раньше пользовалась другой, {o_n} не в счёт, а {n} радует",
    "{a} подарили вместе с {o_i}, {n} понравилось больше",
    "продавец положил в подарок {o_a}, а сама покупка: {n}, очень довольна", "{n} выдержит и {o_a}",
    "под {o_a} самое то, {n} отличного качества",
)  # fmt: skip
PASSING_ENGLISH = (
    "{s}. much better than my old {o_n}", "{s}, goes well with my {o_n}",
    "i wanted a {o_n} but got this {n} instead and i am happy", "{s}. keep it next to the {o_n}",
    "bought this {n} together with a {o_n}, the {n} is great",
)  # fmt: skip
NONE_MENTION = (
    "курьер оставил заказ у двери и уронил мой {o_n}",
    "пока ждала выдачи, присмотрела там {o_a}, а заказ так и не отдали",
    "пункт выдачи тесный, кругом {o_n} и коробки, сотрудница нагрубила",
    "магазин обещал подарить {o_a} за отзыв и обманул",
    "доставка задержалась на две недели, деньги хотела потратить на {o_a}",
    "курьер перепутал и принёс чужое: {o_a}, моё так и не нашли",
    "звонила трижды, сказали ждать, проще самой съездить и купить {o_a}",
    "продавец пишет, что на складе только {o_n}, деньги не возвращает",
    "отдали чужой пакет, внутри {o_n}, пришлось ехать обратно",
    "в очереди передо мной возвращали {o_a}, простояла час", "в посылке {o_n} вместо моего заказа, оформляю возврат",
)  # fmt: skip
NONE = {
    "delivery": (
        "курьер не поднялся на этаж, пришлось спускаться", "в пункте выдачи очередь на сорок минут и один сотрудник",
        "статус не менялся неделю, потом вдруг привезли", "постамат не открылся, код не подошёл",
        "перенесли дату три раза", "доставили соседям без звонка", "водитель позвонил и сказал забирать самому",
        "посылку таможня держала", "получила смс, а в отделении ничего нет", "пункт переехал, адрес на карте старый",
        "привезли поздно вечером, но извинились", "коробка больше самого заказа в три раза",
        "обмотали скотчем так, что полчаса открывала", "пакет порван, содержимое не пострадало",
        "пришло мокрое от дождя", "на почте потеряли извещение", "экспресс обещали за день, ждала пять",
        "отправили только через неделю", "отслеживание показывает другой город",
        "работники выдачи помогли донести до машины", "заказ пришёл не полностью, вторую часть ждать ещё неделю",
        "из Китая шло полтора месяца", "до села доехало быстро, не ожидала", "курьер пришёл без сдачи",
        "всё пришло в одной посылке, очень удобно", "оставили под дверью и ушли",
        "звонили с незнакомого номера насчёт доставки", "срок хранения кончился, отправили назад",
        "доставка быстрая", "доставили раньше срока", "шло месяц", "трек не отслеживался", "курьер позвонил заранее",
        "привезли за три дня", "посылка застряла на сортировке", "пункт выдачи закрыт в выходной", "пришло вовремя",
        "доставка платная, неприятно", "долго ехало", "забрала на почте", "заказ так и не пришёл",
        "коробка мятая, но внутри цело", "упаковано хорошо", "упаковка вскрыта", "дошло без повреждений",
        "привезли не туда", "доставка в другой город заняла неделю", "сотрудники на пункте вежливые",
        "очередь на выдаче", "курьер хамил", "плёнка пузырчатая, всё цело", "потеряли при перевозке",
    ),
    "seller": (
        "написала в чат, ответил бот", "на звонок не отвечают", "продавец заблокировал меня после вопроса",
        "магазин прислал промокод в извинение", "вложили открытку с благодарностью, мелочь, а приятно",
        "перепутали заказ с чужим", "продавец просит изменить отзыв за сто рублей", "цена выросла на следующий день",
        "на сайте одна цена, на кассе другая", "карточка товара врёт", "фото чужие", "поменяли условия акции",
        "поддержка отвечает отписками", "отменили без объяснения",
        "у этого магазина беру пятый раз, ни разу не подвели", "служба поддержки решила за минуту",
        "приложение зависло при оплате", "баллы за отзыв не начислили", "оператор бросил трубку",
        "вежливо и быстро всё объяснили", "подскажите, когда снова появится в продаже",
        "есть ли гарантия и куда обращаться", "почему подняли цену вдвое", "можно ли вернуть, если не подойдёт",
        "продавец вежливый", "магазин рекомендую", "продавец не отвечает", "продавец положил подарочек",
        "общительный продавец", "магазин обманывает", "продавец ответил на все вопросы",
        "связалась с продавцом, вопрос решили", "хороший магазин, буду заказывать ещё",
        "прислали не то, что заказывала", "прислали другой цвет", "не доложили один", "продавец быстро отправил",
        "менеджер грубый", "поддержка не помогла", "накрутка отзывов",
    ),
    "refund": (
        "деньги зависли на карте", "за возврат взяли пятьсот рублей", "отказали в возврате без причины",
        "вернули на счёт за два дня, молодцы", "спор выиграла, прислали компенсацию", "просят видео вскрытия",
        "заявку на возврат отклонили трижды", "рассрочку не отменяют", "оплата прошла два раза, разбираемся",
        "сумма списана, заказа нет", "чек не прислали", "обещали вернуть до пятницы, тишина",
        "прислали пустую коробку, деньги не отдают", "деньги вернули", "верните деньги", "открыла спор",
        "спор закрыли не в мою пользу", "оформила возврат", "возврат платный", "вернули половину суммы",
        "деньги списали дважды", "отказалась на пункте", "возврат приняли без вопросов",
        "жду возврата третью неделю", "обман покупателя", "отменили заказ в последний момент",
    ),
    "praise": (
        "ну очень хорошо", "просто восторг", "как всегда на высоте", "ожидания оправдались",
        "мне понравилось, посмотрим как в деле", "лучшая покупка месяца", "всё чётко", "без нареканий",
        "спасибо, всё целое", "огонь", "нравится", "отлично, буду ещё заказывать", "годится", "довольна как слон",
        "красота", "взяла ещё одну для сестры", "за такие деньги шикарно", "рада что заказала", "муж оценил",
        "беру уже не первый раз", "всё отлично", "спасибо", "очень довольна", "супер", "рекомендую",
        "соответствует описанию", "качество хорошее", "пять звёзд", "буду брать ещё", "всё понравилось",
        "как на фото", "цена приятная", "спасибо большое", "класс", "всем советую", "норм за свои деньги",
        "подарок понравился", "лучше чем ожидала", "всё супер, спасибо", "хорошая вещь", "товар хороший",
        "полностью устраивает", "качеством довольна", "брала на подарок, угодила",
    ),
    "complaint": (
        "не то что ожидала", "жаль потраченных денег", "обидно", "сплошное разочарование", "фу", "брак",
        "второй раз не возьму", "отзывы купленные, не верьте", "испортили праздник", "пришло сломанное",
        "на троечку", "никакой, лучше доплатить", "хуже некуда", "не берите", "ерунда какая-то",
        "дёшево и сердито, но нет", "не подошло, отдам кому-нибудь", "не пользуюсь, лежит", "ужас", "не рекомендую",
        "деньги на ветер", "качество плохое", "пришло с браком", "не соответствует описанию", "разочарована",
        "полная ерунда", "одна звезда", "выкинула сразу", "на фото лучше", "не советую никому", "хлам",
        "товар не очень", "не стоит своих денег", "сломалось в первый день", "не работает", "воняет жутко",
        "больше не закажу",
    ),
}  # fmt: skip
NONE_ENGLISH = {
    "delivery": (
        "the driver left it in the rain", "stuck in customs for weeks", "had to pick it up at the depot",
        "delivery took a month", "signed for by somebody else", "box was twice the size it needed to be",
        "shipping cost more than the item", "estimated date kept changing", "left at my neighbor's without a note",
        "the courier never rang the bell", "well packed, nothing broken", "fast shipping", "arrived late",
        "package was damaged", "never arrived", "came two days early", "the box was crushed",
        "tracking never updated", "delivered to the wrong address",
    ),
    "seller": (
        "support hung up on me", "no reply to my emails", "the listing is misleading",
        "they cancelled my order without telling me", "price went up the next day",
        "they fixed the problem right away", "sent two by mistake", "a thank you card was inside",
        "when will it be back in stock", "does it come with a warranty", "great seller", "customer service was rude",
        "seller never answered", "they sent the wrong item", "will order from them again",
    ),
    "refund": (
        "still waiting for my refund", "had to pay return postage", "chargeback took weeks",
        "money back within a day", "store credit only", "they asked for photos and then ignored me",
        "got my money back", "refund took a month", "return was easy", "they refused a refund", "charged me twice",
    ),
    "praise": (
        "perfect", "just as pictured", "could not be happier", "awesome", "good for the money",
        "bought another one for my sister", "it does the job", "no complaints", "everything arrived as promised",
        "nice gift", "great product", "love it", "five stars", "works as described", "excellent quality",
        "good value", "would buy again", "exactly what i wanted", "highly recommend",
        "very happy with this purchase", "great price",
    ),
    "complaint": (
        "junk", "stopped working after a week", "total rip off", "save your money", "arrived broken",
        "not what i expected", "regret buying this", "worst purchase ever", "falls apart", "waste of money",
        "do not buy", "very disappointed", "cheap quality", "not as described", "broke right away", "one star",
        "would not recommend", "not worth it",
    ),
}  # fmt: skip
CONTEXT = (
    "кот уже спал сверху", "собака испугалась поначалу", "ребёнок уронил, ничего не случилось", "муж сначала ворчал",
    "живём в съёмной квартире", "вожу с собой в машине", "брала на дачу", "поставили на кухне",
    "лежит в шкафу до зимы", "дочка просит такое же себе", "сын помог разобраться", "кошка обходит стороной",
    "внуки приехали и сразу заметили", "соседка увидела и тоже захотела", "гости спрашивают",
    "на работе в офисе оценили", "едем с ним в отпуск", "стоит в комнате у окна", "храню в гараже",
    "коллега подарила на день рождения", "тёща довольна", "взяла в поездку", "вечером после работы самое то",
    "у нас маленькая ванная", "в спальне смотрится неплохо", "ходила в этом в гости не сразу", "бабушке на юбилей",
    "брала себе, а забрал брат", "на даче пригодилось", "малыш тянется, приходится убирать", "щенок чуть не утащил",
    "в прошлом году брала другое", "до этого было совсем другое, ломалось", "инструкции нет, но всё понятно",
    "в коробке лежала ещё открытка", "положила в сумку и поехала", "на столе места хватает",
    "на стене не помещается, да и ладно", "в телефоне нашла по отзывам", "увидела в журнале и заказала",
    "под диваном не влезает", "рядом с телевизором стоит", "школьнику в самый раз", "маме в деревню отправила",
    "мастер сказал, что хорошее", "за чаем обсуждали покупку", "утром открыли, а там царапина",
    "первый раз беру такое", "цвет под обои подобрала", "к шторам подошло по цвету", "кофе пролили, отмылось",
    "стирать не пробовала", "пахло резиной день", "в шкафчик убирается", "летом возьмём на море",
    "на рыбалку муж уже забрал", "сидим дома, вот и решили", "в саду попробуем весной",
    "книгу теперь есть где читать", "подушку подложила и хорошо", "чехла нет, жаль", "батарейки свои купила",
    "ключ положил в карман и забыл", "лампочку рядом поменяли заодно", "музыку включили и распаковали",
)  # fmt: skip
CONTEXT_ENGLISH = (
    "my dog sniffed it and walked away", "the kids dropped it once and it is fine", "it sits in the kitchen",
    "keep it in the car", "took it to the office", "my wife wants one too", "bought it after reading a magazine",
    "the cat sleeps next to it", "we moved to a small apartment", "put it in my bag", "goes with the curtains",
    "great for the cabin", "my daughter borrowed it", "works fine in the garage",
    "coffee spilled on it and it wiped off", "found it on my phone", "the baby keeps reaching for it",
    "guests ask about it", "under the bed it goes", "next to the tv", "my old one broke", "had to buy a battery",
    "needed it for a trip", "the color matches the couch", "grandma loves hers",
)  # fmt: skip
"""What is told beside the point: other things and people that the review is not about."""
NONE_CONTEXT = (
    "живу на пятом этаже без лифта", "ездила с ребёнком на автобусе", "телефон указала верный",
    "звонили на телефон мужа", "оплатила картой", "паспорт не спросили", "машину у подъезда не поставить",
    "стояла с сумками на морозе", "соседка забрала за меня", "собака лаяла на курьера",
    "пришлось отпрашиваться с работы", "дверь на складе закрыта", "коробку открыли при мне", "чек в пакете",
    "распечатали на кассе бумагу", "в приложении висит ошибка", "карту заблокировали",
    "на столе у сотрудницы гора посылок", "ключ от ячейки не выдали", "муж забрал по дороге",
    "сказали прийти с документами", "написала в чат с ноутбука", "фото приложила", "в подарок маме не успела",
    "переплатила за такси",
)  # fmt: skip
TAILS = (
    "всем довольна", "спасибо", "рекомендую", "но есть минусы", "за свои деньги нормально", "не пожалела",
    "беру второй раз", "качество радует", "ожидала лучшего", "оценка пять", "смотрите сами", "пока довольны",
    "в целом неплохо", "жаль", "осталась довольна",
)  # fmt: skip
PREPOSITIONS = frozenset("для с со от из в на под к по о об и без при".split())  # noqa: SIM905


@cache
def inflected(name: str, case: str) -> str:
    """A name's head and its adjectives in a case; what cannot be inflected stays."""
    made, done = [], False
    for word in name.split():
        found = word
        if not done and word not in PREPOSITIONS and not word.isascii():
            parses = [p for p in base._morphology().parse(word) if "nomn" in p.tag] or [
                base._morphology().parse(word)[0]
            ]
            part = parses[0]
            form = part.inflect({case}) if "nomn" in part.tag else None
            found = form.word if form else word
            done = part.tag.POS == "NOUN"
        else:
            done = True
        made.append(found)
    return " ".join(made)


def uses(file: Path | None = None) -> list[tuple[str, str, str]]:
    """(department, thing, phrase) of uses.txt."""
    rows = []
    for line in (file or Path(__file__).with_name("uses.txt")).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            owner, thing, phrases = (part.strip() for part in line.split("|"))
            rows += [(owner, thing, phrase.strip()) for phrase in phrases.split(";")]
    return rows


def said(rng: random.Random, parts: list[str]) -> str:
    """Parts put together as people do: with stops, commas or nothing, capitals now and then."""
    text = rng.choice((". ", ", ", "! ", ". ", " ", ") ")).join(parts)
    dice = rng.random()
    if dice < 0.6:
        text = text[:1].upper() + text[1:]
    elif dice < 0.65:
        text = text.upper()
    return text + rng.choice(("", ".", "!", "", ".", " )", "!!!"))


def named(rng: random.Random, item: str, phrases: list[str] | None = None) -> str:
    """A short review that names a thing, with what is told beside the point, and ``phrases`` that fit it."""
    latin = item.isascii()
    text = rng.choice(NAMED_ENGLISH if latin else NAMED).format(n=item, a=inflected(item, "accs"))
    parts, dice = [text], rng.random()
    if dice < 0.55:
        parts += rng.sample(CONTEXT_ENGLISH if latin else CONTEXT, 1 if dice < 0.35 else 2)
    if rng.random() < 0.2:
        parts.append(beside(rng, latin))
    if phrases and rng.random() < 0.3:
        parts.append(rng.choice(phrases))
    rng.shuffle(parts)
    return said(rng, parts)


def beside(rng: random.Random, latin: bool) -> str:
    """A phrase on delivery, the seller and the like."""
    table = NONE_ENGLISH if latin else NONE
    return rng.choice(table[rng.choice(list(table))])


def cases(item: str, prefix: str) -> dict[str, str]:
    """A name in the cases that the frames ask for."""
    wanted = {"n": "nomn", "a": "accs", "g": "gent", "d": "datv", "i": "ablt"}
    return {f"{prefix}{short}": item if short == "n" else inflected(item, case) for short, case in wanted.items()}


def passing(rng: random.Random, subject: str, phrase: str, other: str, english: bool) -> str:
    """A text on ``subject`` (named, or implied by ``phrase``) that mentions ``other``."""
    filled = {**cases(subject, ""), **cases(other, "o_")}
    opening = (
        phrase
        if phrase and rng.random() < 0.6
        else rng.choice(NAMED_ENGLISH if english else NAMED[1:]).format(**filled)
    )
    frames = PASSING_ENGLISH if english else PASSING
    if opening == phrase:
        frames = tuple(frame for frame in frames if "{s}" in frame)
    return said(rng, [rng.choice(frames).format(s=opening, **filled)])


def generic(rng: random.Random, english: bool) -> tuple[str, set[str]]:
    """A text that names nothing, and what it speaks of."""
    table = NONE_ENGLISH if english else NONE
    aspects = [rng.choice(list(table)) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    parts = [rng.choice(table[aspect]) for aspect in aspects]
    if not english and set(aspects) & {"delivery", "seller", "refund"} and rng.random() < 0.35:
        parts.append(rng.choice(NONE_CONTEXT))
        rng.shuffle(parts)
    return said(rng, parts), set(aspects)


def implied(rng: random.Random, phrases: list[str], english: bool) -> str:
    """One to three phrases on a thing that is not named."""
    parts = rng.sample(phrases, min(len(phrases), rng.choice((1, 1, 2, 2, 3))))
    if not english and rng.random() < 0.3:
        parts.append(rng.choice(TAILS))
    if rng.random() < 0.3:
        parts.append(rng.choice(CONTEXT_ENGLISH if english else CONTEXT))
    if rng.random() < 0.15:
        parts.append(beside(rng, english))
    rng.shuffle(parts)
    return said(rng, parts)


def pick(rng: random.Random, table: list[Any]) -> Any:
    """One of a list."""
    return table[int(rng.random() * len(table))]
