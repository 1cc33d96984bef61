"""Every string of the page, in English and Russian."""

from __future__ import annotations

from collections.abc import Mapping

from tsirius import i18n
from tsirius.errors import UserError

LANGUAGES = ("en", "ru")

STRINGS: Mapping[str, tuple[str, str]] = {
    "title": ("Desk", "Разметка"),
    "home": ("Overview", "Обзор"),
    "reviews": ("reviews", "отзывов"),
    # queues
    "queue": ("Queue", "Очередь"),
    "queue.unsure": ("Unsure and diverse", "Сомнительные и разные"),
    "queue.disagree": ("Labellers disagree", "Разметчики спорят"),
    "queue.contradicts": ("Model contradicts the label", "Модель спорит с меткой"),
    "queue.likely_wrong": ("Likely wrong", "Похоже на ошибку"),
    "queue.category": ("By category", "По категории"),
    "queue.search": ("Search", "Поиск"),
    "queue.second": ("Second opinion", "Второе мнение"),
    "queue.disputed": ("People disagree", "Люди спорят"),
    "queue.exam": ("Exam", "Экзамен"),
    "about.unsure": ("Where an answer teaches most: begin here.", "Здесь ответ учит больше всего: начните отсюда."),
    "about.disagree": ("The automatic labellers say different things.", "Автоматические разметчики говорят разное."),
    "about.contradicts": ("The trained model disagrees with the label it learned from.",
                          "Обученная модель не согласна с меткой, на которой училась."),
    "about.likely_wrong": ("Like reviews have another label.", "У похожих отзывов другая метка."),
    "about.category": ("The reviews with one label, the least sure first.",
                       "Отзывы с одной меткой, сначала наименее уверенные."),
    "about.search": ("Any words, and filters by every column.", "Любые слова и отбор по всем столбцам."),
    "about.second": ("Answered by another person; you do not see how.",
                     "Ответил кто-то другой; как — вам не показано."),
    "about.disputed": ("Answers of several people differ, and yours is not the last word.",
                       "Ответы людей расходятся, и последнее слово не ваше."),
    "about.exam": ("Drawn at random to score. Nothing learns from these, and they are never shown as lessons.",
                   "Отобраны случайно для оценки. На них ничего не учится, и в обучение они не попадают."),
    "waiting": ("the model is reading the reviews …", "модель читает отзывы …"),
    "no_model": ("the run has no model yet", "в прогоне ещё нет модели"),
    "empty": ("Nothing left in this queue.", "В этой очереди пусто."),
    "empty.exam": ("No exam yet. Draw one: answers to it say how right everything is.",
                   "Экзамена ещё нет. Отберите его: по ответам видно, насколько верно всё остальное."),
    "left": ("left", "осталось"),
    # answering
    "one": ("One by one", "По одному"),
    "list": ("List", "Списком"),
    "skip": ("Cannot tell", "Не понять"),
    "several": ("Several products", "Несколько товаров"),
    "undo": ("Undo", "Отменить"),
    "note": ("Note", "Заметка"),
    "note.hint": ("A note for this answer (optional)", "Заметка к ответу (необязательно)"),
    "find": ("Find a category", "Найти категорию"),
    "confirmed": ("confirmed", "подтверждено"),
    "automatic": ("automatic", "автоматически"),
    "no_label": ("no label", "без метки"),
    "label": ("Label", "Метка"),
    "model": ("model", "модель"),
    "copies": ("and its copies, which get the same answer", "и копии: ответ будет и у них"),
    "said": ("Kept", "Сохранено"),
    "your_last": ("Your last answers", "Ваши последние ответы"),
    "was": ("label was", "метка была"),
    "none_yet": ("None yet.", "Пока нет."),
    "selected": ("Label the selected", "Метка выбранным"),
    "select_all": ("Select all", "Выбрать все"),
    "next_page": ("Next", "Дальше"),
    "previous_page": ("Back", "Назад"),
    "keys.hint": ("Keys are places on the keyboard, whatever its layout. In a list the arrows move and the space bar"
                  " selects.", "Клавиши — это места на клавиатуре, при любой раскладке. В списке стрелки двигают,"
                  " пробел выбирает."),
    # settings
    "settings": ("Settings", "Настройки"),
    "order": ("Order of buttons", "Порядок кнопок"),
    "order.fixed": ("fixed", "постоянный"),
    "order.score": ("likeliest first", "сначала вероятные"),
    "hide": ("Label and confidence", "Метка и уверенность"),
    "hide.1": ("hidden until answered", "скрыты до ответа"),
    "hide.0": ("shown", "показаны"),
    "language": ("Language", "Язык"),
    "save": ("Save", "Сохранить"),
    # search
    "words": ("Words", "Слова"),
    "any": ("any", "любая"),
    "state": ("State", "Состояние"),
    "state.open": ("not answered", "без ответа"),
    "state.confirmed": ("confirmed", "подтверждено"),
    "state.disputed": ("people disagree", "люди спорят"),
    "state.several": ("several products", "несколько товаров"),
    "column": ("Column", "Столбец"),
    "contains": ("Contains", "Содержит"),
    "at_most": ("Confidence at most", "Уверенность не выше"),
    "search": ("Search", "Искать"),
    "found": ("found", "найдено"),
    # figures
    "progress": ("Answers", "Ответы"),
    "person": ("Person", "Человек"),
    "lessons": ("Lessons", "Уроки"),
    "exam_answers": ("Exam", "Экзамен"),
    "score": ("Weighted F1", "Взвешенная F1"),
    "score.labels": ("labels", "метки"),
    "score.model": ("model", "модель"),
    "score.none": ("Unknown until someone answers the exam.", "Неизвестно, пока никто не ответил на экзамен."),
    "score.from": ("from {rows} exam answers, 95 % interval", "по ответам экзамена: {rows}, интервал 95 %"),
    "score.more": ("Another 20 exam answers would narrow ±{now} to about ±{then}.",
                   "Ещё 20 ответов экзамена сузят ±{now} примерно до ±{then}."),
    "score.stop": ("The exam is precise enough to stop (±{now}).",
                   "Экзамен достаточно точен (±{now}), можно остановиться."),
    "score.far": ("For ±{goal} about {more} more are needed.", "Для ±{goal} нужно ещё примерно {more}."),
    "stop.lately": ("Of the last {rows} answers here {same} confirmed the label.",
                    "Из последних {rows} ответов здесь {same} подтвердили метку."),
    "stop.enough": ("Little is left to find in this queue: try another, or retrain.",
                    "В этой очереди почти нечего искать: возьмите другую или переобучите."),
    "draw": ("Draw the exam", "Отобрать экзамен"),
    "draw_more": ("Draw 20 more", "Отобрать ещё 20"),
    # who
    "hello": ("Who answers?", "Кто отвечает?"),
    "hello.about": ("Your name stands beside your answers. It is kept in this browser.",
                    "Имя стоит рядом с ответами. Оно хранится в этом браузере."),
    "name": ("Name", "Имя"),
    "enter": ("Begin", "Начать"),
    # training again
    "model.page": ("Train again", "Обучение"),
    "model.about": ("Answers replace labels, and teach like reviews where that proves right; then the model learns.",
                    "Ответы заменяют метки и учат похожие отзывы, где это подтверждается; затем обучается модель."),
    "model.new": ("There are answers that the model has not learned from yet.",
                  "Есть ответы, на которых модель ещё не училась."),
    "model.all": ("The model has learned from every answer.", "Модель учла все ответы."),
    "model.train": ("Train again", "Обучить заново"),
    "model.work": ("Training goes on beside this page; you may go on answering.",
                   "Обучение идёт рядом; можно продолжать отвечать."),
    "model.taught": ("Of {rows} answered reviews {before} were labelled rightly before, {after} by the other answers.",
                     "Из отзывов с ответом ({rows}) верную метку имели {before}, а по остальным ответам — {after}."),
    "changes": ("What changed", "Что изменилось"),
    "changes.since": ("since", "с"),
    "changes.model": ("The model", "Модель"),
    "changes.label": ("The labels", "Метки"),
    "changes.count": ("{count} reviews changed", "изменилось отзывов: {count}"),
    "changes.f1": ("Weighted F1 on the exam", "Взвешенная F1 на экзамене"),
    "changes.before": ("before", "до"),
    "changes.after": ("after", "после"),
    "changes.lead": ("right answers more", "верных больше на"),
    "changes.learned": ("Not comparable: the one before learned from {count} of the exam's reviews by their automatic"
                        " labels, as the exam was drawn later. From the next training on it is.",
                        "Сравнивать нельзя: прежняя модель училась на {count} отзывах экзамена с их автоматическими"
                        " метками, потому что экзамен отобран позже. Со следующего обучения — можно."),
    "changes.no_exam": ("Whether it is better is unknown: nobody answered the exam.",
                        "Лучше ли стало, неизвестно: на экзамен никто не ответил."),
    "changes.category": ("Category", "Категория"),
    "changes.none": ("Nothing to compare with yet: versions are kept when you train again.",
                     "Сравнить пока не с чем: версии сохраняются при обучении заново."),
    "versions": ("Versions", "Версии"),
    "versions.now": ("in use", "сейчас"),
    "versions.lessons": ("reviews with an answer", "отзывов с ответом"),
    "versions.back": ("Go back to this", "Вернуться к этой"),
    "versions.compare": ("Compare", "Сравнить"),
    "versions.keep": ("The new one is kept unless you go back. The next training learns from all answers again.",
                      "Новая остаётся, если не вернуться. Следующее обучение снова учтёт все ответы."),
    # categories
    "categories": ("Categories", "Категории"),
    "categories.other": ("Other categories", "Другие категории"),
    "categories.about": ("Change names and descriptions, and add new ones at the end. An empty name removes a category;"
                         " two of one name are merged. To split one, reword it and add another. The run stays as it is"
                         " until you accept what would change.",
                         "Меняйте названия и описания, новые добавляйте в конце. Пустое название убирает категорию, две"
                         " с одним названием объединяются. Чтобы разделить категорию, измените её и добавьте ещё одну."
                         " Прогон остаётся прежним, пока вы не примете изменения."),
    "categories.name": ("Name", "Название"),
    "categories.description": ("What belongs to it", "Что к ней относится"),
    "categories.was": ("is now {name}", "сейчас {name}"),
    "categories.none": ("no product", "нет товара"),
    "categories.show": ("Show the difference", "Показать разницу"),
    "categories.work": ("Work goes on beside this page; you may go on answering.",
                        "Работа идёт рядом; можно продолжать отвечать."),
    "categories.proposed": ("What would change", "Что изменится"),
    "categories.added": ("added", "новые"),
    "categories.removed": ("removed", "убраны"),
    "categories.reworded": ("reworded", "описаны иначе"),
    "categories.renamed": ("renamed", "переименованы"),
    "categories.again": ("Asked again", "Спрошено заново"),
    "categories.nothing_again": ("no review", "ни одного отзыва"),
    "categories.hypotheses": ("new hypotheses each: {count}", "новых гипотез на каждый: {count}"),
    "categories.accept": ("Accept and run on", "Принять и продолжить"),
    "categories.drop": ("Drop", "Отклонить"),
    "categories.looking": ("Being looked for …", "Ищем …"),
    "categories.missing": ("Missing categories?", "Каких категорий не хватает?"),
    "categories.no_missing": ("No group of reviews stands out.", "Заметных групп отзывов нет."),
    "export": ("Answers as a file", "Ответы файлом"),
    "export.back": ("Back from the other tool:", "Обратно из другой программы:"),
    # failures
    "failed": ("That did not work", "Не получилось"),
    "lost": ("Not kept: the server does not answer. Start 'tsirius desk' again; what was kept before is safe.",
             "Не сохранено: сервер не отвечает. Запустите «tsirius desk» снова; сохранённое раньше цело."),
    "back": ("Back", "Назад"),
}  # fmt: skip
"""Key → (English, Russian); named places are filled in."""

LETTERS = dict(zip("QWERTYUIOPASDFGHJKLZXCVBNM", "ЙЦУКЕНГШЩЗФЫВАПРОЛДЯЧСМИТЬ", strict=True))
"""What the Russian layout has at the place of a Latin letter."""


def language(wanted: str | None) -> str:
    """One of :data:`LANGUAGES`: the wanted one, else that of the messages.

    Raises:
        UserError: there is no such one.
    """
    if wanted is not None and wanted not in LANGUAGES:
        raise UserError(f"--lang {wanted}: nothing is known of it", remedy=f"Known: {', '.join(LANGUAGES)}.")
    return wanted or i18n.language()


def text(key: str, lang: str, **values: object) -> str:
    """A string of the page."""
    return STRINGS[key][LANGUAGES.index(lang)].format(**values)


def key_label(code: str, lang: str) -> str:
    """What is printed on a key: ``KeyQ`` → «Q», or «Й» in Russian."""
    letter = code.removeprefix("Digit").removeprefix("Key")
    return LETTERS.get(letter, letter) if lang == "ru" else letter
