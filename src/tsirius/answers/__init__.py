"""Answers: what people say of single reviews, how it is kept, and what is learned from it.

*Data.* ``answers.sqlite`` in the run's folder, outside the stages' folders, so that they run again without it being
touched: a log to which entries are only added (:mod:`.log`). An entry says who answered, when, what was shown, the
review's id and a hash of its text, and the answer: a category, "skip" or "several products". Undoing is an entry too.

*Lesson and exam.* A **lesson** teaches. An **exam** answer scores: its review was drawn with a known weight
(``tsirius audit``), nothing learns from it, not even from the label that was guessed for it, and no copy of it can be a
lesson. :mod:`.standing` decides which answers count: the latest of each person, the majority of people, none where they
are divided; an answer belongs to a text, so that it survives other ids, and it is every copy's.

*Teaching.* The stage ``answers`` stands between label and select. It reads the labellers' votes and the embeddings that
label published, and the answers that count; it writes the labels and the class prior that all later stages read. Other
answers run it and what follows again, never the label stage with its models. :mod:`.teach` is the method: a Gaussian
kernel regression of categories on the labellers' pooled logits as an offset, so that without an answer nothing changes
and near a corrected review everything does. How much it may change is chosen by cross-validation on the answers, "not
at all" among the choices; the record says what it found. Answers replace the labels of their reviews and weigh
``answers.weight`` in training.

*Queues.* What to ask next: functions from arrays to rows in order (:mod:`tsirius.commands.answers.queues`), over a run
that is read once (:mod:`tsirius.commands.answers.desk`). No queue gives a review that is answered, or an exam's review
or a copy of one; the exam has its own. A page calls ``Desk.queue``, ``Desk.answer`` and ``Desk.undo``.
"""
