"""Declares a study that is made with both version tracks."""

from studies.catalogue import Study

STUDY = Study(
    name="api_changes",
    question="What differs?",
    minutes=1,
    writes=("snapshots",),
    both_tracks=True,
)
