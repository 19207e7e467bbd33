"""Typical wrong answers to the exercises of lesson 05: code, and words of the reply made for it."""

TRAINED = "thirty = solved['wider']\n"

WRONG = {
    "widest_clouds": [
        ("least_sure = 'pyramidal CA1'", "most to learn from"),
        ("least_sure = 'oligodendrocytes'", "much room on the map"),
        ("least_sure = 'endothelial-mural'", "A good thought"),
        ("least_sure = 'interneurons'", "Another class has wider ones"),
        ("least_sure = 'vessels'", "none of the words"),
        ("least_sure = 3", "in quotation marks"),
    ],
    "other_numbers": [
        ("yours = latent_space", "the ten numbers themselves"),
        ("yours = turned", "it would do"),
        ("yours = -latent_space[:, ::-1]", "10 of your dimensions are old ones"),
        ("yours = latent_space + 1", "10 of your dimensions are old ones"),
        ("yours = latent_space / latent_space.std(axis=0)", "stretched some dimensions"),
        (
            "yours = latent_space @ np.random.default_rng(0).normal(size=(10, 10))",
            "another mixture does not",
        ),
        ("yours = latent_space[:, :2]", "A map has lost"),
        ("yours = latent_space.T", "changed places"),
        ("yours = 0 * latent_space", "tells nothing"),
        ("yours = latent_space * np.nan", "NaN or infinite"),
    ],
    "own_cluster": [
        ("your_resolution = 0.5", "Take a higher resolution"),
        # With seven clusters, or nearly. Which resolution makes so many hangs on the training.
        (
            "your_resolution = min((0.2, 0.25, 0.3, 0.35, 0.4), key=lambda each: "
            "abs(len(clusters.leiden(graph, each).categories) - 7))",
            "That does not make them the classes",
        ),
        # The finest that is allowed: at 6 it hangs on the training whether they are divided.
        ("your_resolution = 10", "divides them as well"),
        ("your_resolution = 0", "above 0"),
        ("your_resolution = 1000", "Stay below 10"),
        ("your_resolution = 'high'", "is text"),
    ],
    "more_dimensions": [
        ("wider, n_in_use = scvi.model.SCVI, 30", "not a model"),
        ("wider, n_in_use = model, 10", "Build it with `n_latent=30`"),
        ("wider, n_in_use = scvi.model.SCVI(adata, n_latent=30), 30", "not trained yet"),
        (f"{TRAINED}wider, n_in_use = thirty, 30", "So many were built"),
        (
            "wider, n_in_use = thirty, (loss.dimensions_in_use(thirty)['kl'] < 0.1).sum()",
            "*not* in use",
        ),
        ("wider, n_in_use = thirty, 10", "Ask `wider`"),
        (
            "wider, n_in_use = thirty, (loss.dimensions_in_use(thirty)['kl'] >= 1).sum()",
            "have 1 nat or more",
        ),
    ],
}
