"""The pages for teachers are as the lessons are now."""

from functools import partial

import pytest

from publishing.teaching import minutes, pages

HOW = "python -m publishing.teaching.pages"


@pytest.mark.parametrize("name", pages.PAGES)
def test_page_is_as_the_lessons_are(name):
    assert (pages.FOLDER / name).read_text("utf-8") == pages.PAGES[name](), HOW


def test_what_does_not_fit_leaves_the_pages_and_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(pages, "FOLDER", tmp_path)
    monkeypatch.setattr(minutes, "notes", partial(minutes.notes, folder=tmp_path))
    assert pages.main() == 1
    assert "has no notes. What to do: write docs/teaching/notes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
