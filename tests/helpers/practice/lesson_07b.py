"""Typical wrong answers to the exercises of lesson 07b.

Code, and words of the reply made for it.
"""

SIZE = """
def gib_of_counts(n_cells, n_genes, share):
    return {}
"""

POSITIONS = """
def positions(indices):
    return {}
"""

WRONG = {
    "size_of_counts": [
        (SIZE.format("n_cells * n_genes * 4 / 2**30"), "That is *dense*"),
        (SIZE.format("n_cells * n_genes * share * 4 / 2**30"), "their places are missing"),
        (SIZE.format("n_cells * n_genes * 8 / 2**30"), "You count the zeros"),
        (SIZE.format("n_cells * n_genes * share * 8 / 1e9"), "That is in GB"),
        (SIZE.format("n_cells * n_genes * share * 8 / 2**20"), "That is in MiB"),
        (SIZE.format("n_cells * n_genes * share * 8"), "That is in bytes"),
        (SIZE.format("n_cells * n_genes * share * 16 / 2**30"), "twice as much"),
        (
            SIZE.replace("return {}", "size = n_cells * n_genes * share * 8 / 2**30"),
            "returns nothing",
        ),
    ],
    "warm_up_that_ends": [
        ("warmup_epochs = 400", "the weight is 8%, and it is never 1"),
        ("warmup_epochs = 32", "The first epoch has weight 0"),
        ("warmup_epochs = 20_000", "`n_steps_kl_warmup`"),
        ("warmup_epochs = 25", "in 7 of 32 epochs only"),
        ("warmup_epochs = 1", "so it jumps"),
        ("warmup_epochs = 0", "there is no warm-up"),
        ("warmup_epochs = 7.5", "whole number"),
    ],
    "rows_as_asked": [
        (
            POSITIONS.format("model.get_latent_representation(indices=indices)"),
            "sorted within each minibatch",
        ),
        (
            POSITIONS.format("model.get_latent_representation(indices=sorted(indices))"),
            "put them back into the order",
        ),
        (
            POSITIONS.format(
                "model.get_latent_representation(indices=sorted(indices))[np.argsort(indices)]"
            ),
            "sort once more",
        ),
        (POSITIONS.format("model.get_latent_representation()"), "(9015, 10)"),
        ("positions = model.get_latent_representation()", "It should be a function"),
    ],
    "computers_for_a_class": [
        ("cores, gib, n_nodes = 4, 16, 6", "the memory is full first"),
        ("cores, gib, n_nodes = 4, 64, 2", "the cores that are full first"),
        ("cores, gib, n_nodes = 2, 4, 2", "by memory and by cores alike"),
        ("cores, gib, n_nodes = 8, 32, 9", "more than the 160 that are paid for"),
        ("cores, gib, n_nodes = 4, 24, 6", "That is a matter of cores"),
        ("cores, gib, n_nodes = 8, 32, 0", "1 or more"),
        ("cores, gib, n_nodes = 1, 1, 80", "too small for a single learner"),
        ("cores, gib, n_nodes = 8, 32, 2.5", "whole number"),
    ],
}
