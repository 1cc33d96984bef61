"""What ``tsirius categories`` does: what other categories would change in a run, before they count; then the change.

:mod:`.preview` labels the run's reviews by the other categories beside the run, and makes them the run's own;
:mod:`.missing` looks for kinds of reviews that no category is made for.
"""
