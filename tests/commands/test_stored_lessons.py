"""What is taken out of a lesson before it is stored."""

import nbformat

from commands import notebooks

WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "0"}, "text/plain": "VBox()"}


def stored(tmp_path, outputs, tags=()):
    """Write a lesson with one cell, take its widgets out, and read it again."""
    cell = nbformat.v4.new_code_cell("show()", outputs=outputs, metadata={"tags": list(tags)})
    path = tmp_path / "lesson.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("#"), cell]), path)
    notebooks.tidy(path)
    lesson = nbformat.read(path, as_version=4)
    nbformat.validate(lesson)
    return lesson.cells[1].outputs


def test_picture_stays_where_the_sliders_above_it_go(tmp_path):
    picture = nbformat.v4.new_output("display_data", {"text/plain": "picture"})
    sliders = nbformat.v4.new_output("display_data", WIDGET)
    assert stored(tmp_path, [sliders, picture]) == [picture]


def test_nothing_of_a_progress_bar_stays(tmp_path):
    text = nbformat.v4.new_output("stream", name="stdout", text="Epoch 1/40")
    assert stored(tmp_path, [text], tags=["progress"]) == []
    assert stored(tmp_path, [text]) == [text]


def test_what_is_printed_in_parts_is_stored_in_one(tmp_path):
    def said(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    picture = nbformat.v4.new_output("display_data", {"text/plain": "picture"})
    parts = [said("one\n"), said("two, "), said("three"), said("!", "stderr"), picture, said("4")]
    whole = [said("one\ntwo, three"), said("!", "stderr"), picture, said("4")]
    assert stored(tmp_path, parts) == whole
