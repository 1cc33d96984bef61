"""The desk's page: where a person answers for single reviews, in a browser on the machine that holds the run.

- :mod:`.server` listens on loopback alone, and :mod:`.guard` lets in who has the token.
- :mod:`.app` says which path is answered by what.
- :mod:`.board` holds the run, which is read once (:mod:`tsirius.commands.answers.desk`).
- :mod:`.pages` fills the templates of ``assets/desk``, whose every string is in :mod:`.strings`.
- :mod:`.retrain` runs the pipeline again beside the page, and :mod:`.versions` keeps what was before.
- :mod:`.proposal` is of other categories: what they would change, before they count.

The page is made of forms and works without JavaScript; its one script sends the same forms without loading the page
anew, and presses their buttons by keys.
"""
