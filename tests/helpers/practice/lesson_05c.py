"""Typical wrong answers to the exercises of lesson 05c.

Code, and words of the reply made for it.
"""

WRONG = {
    "price_of_batches": [
        ("n_added = 2", "a weight to each neuron"),
        ("n_added = 128", "one for A and one for B"),
        ("n_added = 512", "By default it is not told the batch"),
        ("n_added = 2 * 500", "a factor for each gene and batch"),
        ("n_added = 12 * 128", "were there before"),
        (
            "n_added = sum(each.numel() for each in models['scVI with "
            "batch_key'].module.parameters())",
            "all parameters of the model",
        ),
        ("n_added = -256", "the sign is not"),
    ],
    "own_correction": [
        ("def correct(positions, batch):\n    return positions", "the same neighbours as before"),
        (
            "def correct(positions, batch):\n    return positions - positions.mean(axis=0)",
            "all cells moved alike",
        ),
        (
            "def correct(positions, batch):\n"
            "    return __import__('numpy').random.normal(size=positions.shape)",
            "random positions do",
        ),
        ("def correct(positions, batch):\n    return 0 * positions", "random positions do"),
        (
            "def correct(positions, batch):\n    return positions[batch == 'A']",
            "One row per cell and one column per dimension",
        ),
        (
            "def correct(positions, batch):\n"
            "    positions[batch == 'C'] -= positions[batch == 'C'].mean(axis=0)\n"
            "    return positions / 0",
            "returns NaN or infinite numbers",
        ),
        (
            "def correct(positions, batch):\n    positions[0] = float('nan')\n    return positions",
            "returns NaN or infinite numbers",
        ),
        ("def correct(positions, batch):\n    positions -= 1", "returns nothing"),
        (
            "def correct(positions, batch):\n"
            "    positions[batch == 'A', 0] += 0.3\n"
            "    return positions",
            "Below 0.75 is asked for",
        ),
        ("correct = latent_spaces['scVI with batch_key']", "It should be a function"),
    ],
    "harmless": [
        ("weak_model = models['scVI']", "the neighbours give the batch away"),
        ("weak_model = models['scVI with batch_key']", "*without* `batch_key`"),
        (
            "weak_model = experiments.train(experiments.simulate(cortex, strength=0.1), "
            "max_epochs=1, "
            "enable_progress_bar=False)",
            "make `strength` 0.3 or more",
        ),
        (
            "weak_model = experiments.train(experiments.simulate(cortex, strength=0.4), "
            "max_epochs=1, "
            "enable_progress_bar=False)",
            "hardly learned anything",
        ),
        (
            "weak_model = experiments.train(experiments.simulate(cortex, 300, 20, 0.4), "
            "max_epochs=12, "
            "enable_progress_bar=False)",
            "Are there enough genes",
        ),
        ("weak_model = experiments.simulate(cortex, strength=0.4)", "holds cells"),
        ("weak_model = type(fooled)", "not a model"),
    ],
    "design": [
        ("in_run_1 = ['PF1', 'PF2', 'PM1', 'PM2']", "Patients and controls are in different runs"),
        ("in_run_1 = ['PF1', 'PF2', 'CF1', 'CF2']", "Women and men are in different runs"),
        ("in_run_1 = ['PF1', 'PF2', 'PM1', 'CM2']", "three to one"),
        ("in_run_1 = ['PF1', 'PF2', 'CM1', 'CM2']", "all patients are of one sex"),
        ("in_run_1 = ['PF1', 'PM1', 'CF1']", "room for four"),
        ("in_run_1 = ['PF1', 'PF1', 'CF1', 'CM1']", "names a sample twice"),
        ("in_run_1 = ['PF1', 'PM1', 'CF1', 'CM3']", "does not exist here"),
    ],
}
