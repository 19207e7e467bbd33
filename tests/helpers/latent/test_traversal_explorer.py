"""The sliders show the step that they say.

The decoder's numbers, the lines, and the nearest cell in the embedding.
"""

import copy
import itertools
import re

import numpy as np
import pytest
import scvi
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helpers import figures
from helpers.latent import traversal, traversal_explorer
from helpers.loss import latent_dimensions
from tests.helpers.picture import Picture
from tests.helpers.small_models import N_CELLS, build, few


@pytest.fixture(scope="module")
def trained(whole_cortex):
    scvi.settings.seed = 0
    model = build(few(whole_cortex, 60), setup={"batch_key": "chip"}, n_latent=4, n_hidden=16)
    model.train(max_epochs=40, enable_progress_bar=False, plan_kwargs={"lr": 1e-2})
    return model


@pytest.fixture
def model(trained):
    """The trained model, with a module that a test may change."""
    model = copy.copy(trained)
    model.module = copy.deepcopy(trained.module)
    return model


@pytest.fixture
def classes(model):
    return model.adata.obs["cell_type"]


@pytest.fixture
def embedding(model):
    return model.get_latent_representation()[:, :2] * [3, -1]


@pytest.fixture
def explorer(model, embedding, classes):
    explorer = traversal_explorer.explore(model, embedding, classes)
    explorer.picture = Picture()
    return explorer


@pytest.fixture
def names(model):
    return list(model.adata.var_names)


def start_of(model, classes, name):
    return int(traversal.typical_cells(traversal.centres(model), classes)[name])


def written(counts):
    return figures.about(counts, 2) if counts >= 0.1 else "under 0.1"


def panels(shown):
    return shown.drawing.figure.axes


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


# --- what the caption says ----------------------------------------------------------------------


def test_it_begins_at_the_typical_cell_of_the_first_class(model, classes, explorer):
    name = sorted(classes.unique())[0]
    row = start_of(model, classes, name)
    own = traversal.centres(model)[row, 0]
    caption = explorer.shown().caption
    assert explorer.sliders["start"].value == name
    assert caption.startswith(f"From a cell of class {name}, dimension 1 (in use, KL ")
    assert f" at value {figures.about(own, 2)}. " in caption
    assert "This is the position of the cell itself." in caption
    genes = list(traversal.responders(model, row, 1, n=4).index)
    assert re.findall(r"(\w+) [\w.,]+ \(at the cell", caption) == genes


@pytest.mark.parametrize("step", [0, 17, 40])
def test_numbers_are_those_of_the_step(model, classes, explorer, step):
    explorer.sliders["dimension"].value = 3
    explorer.sliders["position"].value = step
    caption = explorer.picture.shown.caption
    row = start_of(model, classes, explorer.sliders["start"].value)
    path = traversal.path(model, row, 3)
    genes = list(traversal.responders(model, row, 3, n=4).index)
    here = traversal.expected(model, path.iloc[[step]], genes, cell=row).iloc[0]
    at_cell = traversal.expected(model, traversal.centres(model)[[row]], genes, cell=row).iloc[0]
    said = [
        f"{gene} {written(here[gene])} (at the cell: {written(at_cell[gene])})" for gene in genes
    ]
    kl = latent_dimensions.dimensions_in_use(model)["kl"][3]
    assert f"dimension 3 (in use, KL {figures.about(kl, 2)} nats)" in caption
    assert f"at value {figures.about(path.index[step], 2)}. " in caption
    assert f"Expected counts per 10,000: {', '.join(said)}. " in caption
    nearest = traversal.nearest_cells(traversal.centres(model), path).iloc[step]
    which = f"of class {classes.iloc[nearest['row']]}"
    which = "still that one" if nearest["row"] == row else which
    distance = figures.about(nearest["distance"], 2)
    assert f"The nearest cell is {which}, {distance} typical distances away" in caption
    assert ("the decoder extrapolates" in caption) == (not nearest["near"])


def test_the_batch_is_that_of_the_starting_cell(model, embedding, classes, names):
    explorer = traversal_explorer.explore(model, embedding, classes, genes=names[:2])
    starts = traversal.typical_cells(traversal.centres(model), classes)
    assert model.adata.obs["chip"].iloc[starts.to_numpy()].nunique() == 2
    for name, row in starts.items():
        explorer.sliders["start"].value = name
        path = traversal.path(model, row, 1)
        drawn = lines_of(panels(explorer.shown())[0])
        expected = traversal.expected(model, path, names[:2], cell=row)
        for gene in names[:2]:
            assert np.asarray(drawn[gene].get_ydata()) == pytest.approx(expected[gene])


def test_both_near_and_far_cells_were_met(model, explorer):
    said = []
    for step in range(41):
        explorer.sliders["position"].value = step
        said.append(explorer.shown().caption)
    assert 0 < sum("extrapolates" in caption for caption in said) < 41
    assert any("still that one" in caption for caption in said)
    assert any("The nearest cell is of class" in caption for caption in said)


def test_a_dimension_that_tells_nothing_is_marked(model, embedding, classes):
    encoder = model.module.z_encoder
    # The same cloud for all cells, as wide as the prior, but for a trace that makes a path.
    encoder.mean_encoder.weight.data[2] *= 1e-3
    encoder.mean_encoder.bias.data[2] = 0
    encoder.var_encoder.weight.data[2] = 0
    encoder.var_encoder.bias.data[2] = 0
    explorer = traversal_explorer.explore(model, embedding, classes, dimension=3)
    assert re.search(r"dimension 3 \(not in use, KL \S+ nats\)", explorer.shown().caption)
    explorer.sliders["dimension"].value = 1
    assert "dimension 1 (in use, KL " in explorer.shown().caption


def test_very_few_counts_are_not_written_out(model, embedding, classes, names):
    decoder = model.module.decoder.px_scale_decoder[0]
    decoder.bias.data[5] -= 40
    explorer = traversal_explorer.explore(model, embedding, classes, genes=[names[5], names[0]])
    shown = explorer.shown()
    assert f"{names[5]} under 0.1 (at the cell: under 0.1)" in shown.caption
    assert f"{names[5]} goes from under 0.1 to under 0.1" in shown.drawing.alt
    line = lines_of(panels(shown)[0])[names[5]]
    assert np.asarray(line.get_ydata()) == pytest.approx(0.1)
    assert panels(shown)[0].get_ylim()[0] > 0.05


# --- the sliders --------------------------------------------------------------------------------


def test_a_new_path_begins_at_its_cell(model, classes, explorer):
    explorer.sliders["position"].value = 40
    explorer.sliders["dimension"].value = 2
    assert "the cell itself" in explorer.picture.shown.caption
    explorer.sliders["position"].value = 0
    other = sorted(classes.unique())[2]
    explorer.sliders["start"].value = other
    caption = explorer.picture.shown.caption
    assert caption.startswith(f"From a cell of class {other}, dimension 2 (")
    assert "the cell itself" in caption
    path = traversal.path(model, start_of(model, classes, other), 2)
    own = traversal.centres(model)[start_of(model, classes, other), 1]
    assert explorer.sliders["position"].value == list(path.index).index(own)


def test_the_view_to_begin_with_can_be_chosen(model, embedding, classes):
    name = sorted(classes.unique())[-1]
    explorer = traversal_explorer.explore(model, embedding, classes, start=name, dimension=4)
    caption = explorer.shown().caption
    assert caption.startswith(f"From a cell of class {name}, dimension 4 (")
    assert "the cell itself" in caption


def test_sliders_offer_all_dimensions_steps_and_classes(classes, explorer):
    sliders = explorer.sliders
    assert list(sliders["start"].options) == sorted(classes.unique())
    assert (sliders["dimension"].min, sliders["dimension"].max) == (1, 4)
    assert (sliders["position"].min, sliders["position"].max) == (0, 40)
    for slider in sliders.values():
        assert slider.style.description_width == "initial", "a long description would be cut off"


def test_a_path_is_computed_once(model, embedding, classes, monkeypatch):
    computed, walk = [], traversal_explorer.walk

    def counted(*arguments):
        computed.append(arguments[2:4])
        return walk(*arguments)

    monkeypatch.setattr(traversal_explorer, "walk", counted)
    explorer = traversal_explorer.explore(model, embedding, classes)
    explorer.picture = Picture()
    for dimension in (1, 2, 1, 2):
        explorer.sliders["dimension"].value = dimension
        for step in (3, 30):
            explorer.sliders["position"].value = step
    assert len(computed) == 2


@pytest.mark.parametrize("numbers", [[7], [40, 3], [40, 3, 21, 8]])
def test_up_to_four_genes_stay_as_they_are(model, embedding, classes, names, numbers):
    genes = [names[number] for number in numbers]
    explorer = traversal_explorer.explore(model, embedding, classes, genes=genes)
    assert list(lines_of(panels(explorer.shown())[0])) == genes
    explorer.sliders["dimension"].value = 2
    assert list(lines_of(panels(explorer.shown())[0])) == genes


def test_of_more_genes_those_that_respond_are_drawn(model, embedding, classes, names):
    pool = names[:50:5]
    explorer = traversal_explorer.explore(model, embedding, classes, genes=pool)
    row = start_of(model, classes, explorer.sliders["start"].value)
    for dimension in (1, 2):
        explorer.sliders["dimension"].value = dimension
        expected = list(traversal.responders(model, row, dimension, 4, pool).index)
        assert list(lines_of(panels(explorer.shown())[0])) == expected


# --- the drawing --------------------------------------------------------------------------------


def test_lines_are_what_the_decoder_expects(model, classes, explorer):
    row = start_of(model, classes, explorer.sliders["start"].value)
    path = traversal.path(model, row, 1)
    explorer.sliders["position"].value = 9
    axes = panels(explorer.shown())[0]
    for gene, line in lines_of(axes).items():
        expected = traversal.expected(model, path, [gene], cell=row)[gene].clip(lower=0.1)
        assert np.asarray(line.get_xdata()) == pytest.approx(path.index)
        assert np.asarray(line.get_ydata()) == pytest.approx(expected)
        marks = [mark for mark in axes.lines if mark.get_marker() in ("s", "D")]
        places = [(mark.get_marker(), *mark.get_xydata()[0]) for mark in marks]
        own = list(path.index).index(traversal.centres(model)[row, 0])
        assert ("s", path.index[own], expected.iloc[own]) in places
        assert ("D", path.index[9], expected.iloc[9]) in places
    assert any(list(line.get_xdata()) == 2 * [path.index[9]] for line in axes.lines)
    assert axes.get_yscale() == "log"


def test_heights_and_places_stay_while_the_position_moves(explorer):
    limits = set()
    for step in (0, 10, 40):
        explorer.sliders["position"].value = step
        left, right = panels(explorer.picture.shown)
        limits.add((left.get_ylim(), left.get_xlim(), right.get_xlim(), right.get_ylim()))
    assert len(limits) == 1
    (((low, high), *_),) = limits
    drawn = np.concatenate([line.get_ydata() for line in lines_of(left).values()])
    assert low < drawn.min() <= drawn.max() < high


def test_a_step_is_drawn_at_its_nearest_cell_hollow_if_that_is_far(
    model, embedding, classes, explorer
):
    row = start_of(model, classes, explorer.sliders["start"].value)
    nearest = traversal.nearest_cells(traversal.centres(model), traversal.path(model, row, 1))
    for step in (int(np.flatnonzero(~nearest["near"])[0]), int(np.flatnonzero(nearest["near"])[0])):
        explorer.sliders["position"].value = step
        left, right = panels(explorer.shown())
        near, far = (
            next(
                line
                for line in right.lines
                if line.get_marker() == "o" and (line.get_markerfacecolor() == "white") == hollow
            )
            for hollow in (False, True)
        )
        for line, chosen in ((near, nearest["near"]), (far, ~nearest["near"])):
            assert line.get_xydata() == pytest.approx(embedding[nearest["row"][chosen]])
        (here,) = (line for line in right.lines if line.get_marker() == "D")
        (own,) = (line for line in right.lines if line.get_marker() == "s")
        assert here.get_xydata()[0] == pytest.approx(embedding[nearest["row"].iloc[step]])
        assert own.get_xydata()[0] == pytest.approx(embedding[row])
        hollow = not nearest["near"].iloc[step]
        marks = [line for axes in (left, right) for line in axes.lines if line.get_marker() == "D"]
        assert {mark.get_markerfacecolor() == "white" for mark in marks} == {hollow}
    whole = next(line for line in right.lines if line.get_marker() == ".")
    assert whole.get_xydata() == pytest.approx(embedding)


def test_grey_is_where_no_cell_is_near(model, classes, explorer):
    row = start_of(model, classes, explorer.sliders["start"].value)
    nearest = traversal.nearest_cells(traversal.centres(model), traversal.path(model, row, 1))
    (grey,) = panels(explorer.shown())[0].patches
    heights, edges, _ = grey.get_data()
    assert 0 < nearest["near"].sum() < 41
    for value, near in zip(nearest.index, nearest["near"].to_numpy(), strict=True):
        (piece,) = np.flatnonzero((edges[:-1] <= value) & (value <= edges[1:]))
        assert heights[piece] == (0 if near else 1)


@pytest.mark.parametrize("size", [0, 50])
def test_names_do_not_lie_on_one_another(model, embedding, classes, size):
    # Four genes with nearly the same expression at the end, so that their names would overlap.
    row = start_of(model, classes, sorted(classes.unique())[0])
    ends = traversal.expected(model, traversal.path(model, row, 1), model.adata.var_names, row)
    from_low_to_high = list(ends.iloc[-1].sort_values().index[20:24])
    genes = [from_low_to_high[number] for number in (2, 0, 3, 1)]
    explorer = traversal_explorer.explore(model, size * embedding, classes, genes=genes)
    figure = explorer.shown().drawing.figure
    FigureCanvasAgg(figure).draw()
    for axes, expected in ((figure.axes[0], genes), (figure.axes[1], classes.unique())):
        boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
        from_below = sorted(boxes, key=lambda name: boxes[name].y0)
        assert sorted(boxes) == sorted(expected)
        for lower, upper in itertools.pairwise(from_below):
            assert boxes[lower].y1 <= boxes[upper].y0
        if axes is figure.axes[0]:
            assert from_below == from_low_to_high, "not in the order of the lines"


def test_names_are_moved_no_more_than_needed():
    # A point is 1 / 72 inch: these axes are 360 points high, and count in points.
    figure = Figure(figsize=(5, 5), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1), ylim=(0, 360))
    places = np.array([(0, 200), (0, 110), (0, 100), (0, 300), (0, 206)])
    gap = traversal_explorer.LABEL
    pair, other = (gap - 6) / 2, (gap - 10) / 2
    moved = traversal_explorer._moved(axes, places)
    assert moved == pytest.approx([-pair, other, -other, 0, pair])


def test_the_alternative_text_says_the_ends_and_the_classes(model, classes, explorer):
    alt = explorer.shown().drawing.alt
    row = start_of(model, classes, explorer.sliders["start"].value)
    path = traversal.path(model, row, 1)
    found = traversal.responders(model, row, 1, n=4)
    for gene, low, high in found.iloc[:, :2].itertuples():
        assert f"{gene} goes from {written(low)} to {written(high)}" in alt
    nearest = traversal.nearest_cells(traversal.centres(model), path)
    assert f"{N_CELLS} cells" in alt
    assert f"each of 41 steps, of which {nearest['near'].sum()} have a cell near" in alt
    passed = classes.iloc[nearest["row"]].unique()
    assert alt.endswith(f"of the classes {', '.join(passed)}.")


# --- the page, and what stays as it was ---------------------------------------------------------


def test_page_without_widgets_still_has_the_picture(explorer):
    bundle = explorer.shown()._repr_mimebundle_()
    assert "<img" in bundle["text/html"]
    assert "Expected counts per 10,000" in bundle["text/plain"]


def test_model_and_random_numbers_stay_as_they_were(model, embedding, classes):
    model.module.train()
    modes = [part.training for part in model.module.modules()]
    columns, state = list(model.adata.obs), torch.get_rng_state()
    explorer = traversal_explorer.explore(model, embedding, classes)
    explorer.shown()
    assert [part.training for part in model.module.modules()] == modes
    assert list(model.adata.obs) == columns
    assert torch.equal(torch.get_rng_state(), state)


# --- errors -------------------------------------------------------------------------------------


def test_an_embedding_that_does_not_fit_is_refused(model, embedding, classes):
    holed = np.array(embedding)
    holed[3, 1] = np.nan
    for wrong in (
        embedding[:-1],
        embedding[:, :1],
        np.ones((N_CELLS, 3)),
        embedding.ravel(),
        holed,
    ):
        with pytest.raises(ValueError, match=r"embedding has the shape.*128 cells.*What to do"):
            traversal_explorer.explore(model, wrong, classes)


def test_classes_genes_and_dimensions_that_are_not_there_are_refused(model, embedding, classes):
    explore = traversal_explorer.explore
    with pytest.raises(ValueError, match="127 labels and 128 positions"):
        explore(model, embedding, classes[:-1])
    with pytest.raises(ValueError, match="same label"):
        explore(model, embedding, ["one"] * N_CELLS)
    with pytest.raises(ValueError, match=r"no class 'neuron'\. Classes: .*microglia"):
        explore(model, embedding, classes, start="neuron")
    for dimension in (0, 5):
        with pytest.raises(ValueError, match=f"no latent dimension {dimension}"):
            explore(model, embedding, classes, dimension=dimension)
    with pytest.raises(KeyError, match="does not know 'Nonsense'"):
        explore(model, embedding, classes, genes=["Nonsense"])
    with pytest.raises(ValueError, match="as a list"):
        explore(model, embedding, classes, genes=[])


def test_models_without_such_a_decoder_are_refused(whole_cortex, embedding, classes):
    cells = few(whole_cortex, 60)
    with pytest.raises(ValueError, match=r"not trained.*training\.train"):
        traversal_explorer.explore(build(cells), embedding, classes)
    with pytest.raises(TypeError, match=r"SCANVI.*scvi\.model\.SCVI"):
        traversal_explorer.explore(build(cells, "SCANVI"), embedding, classes)
