"""Typical wrong answers to the exercises of lesson 03: code, and words of the reply made for it."""

WRONG = {
    "cost_of_a_layer": [
        ("n_parameters = 128 * 64", "These are the weights"),
        ("n_parameters = 128 * 64 + 64", "The batch normalisation of this layer is missing"),
        ("n_parameters = 128 * 64 + 2 * 64", "bias, scale and shift"),
        ("n_parameters = 128 * 64 + 3 * 128", "there are 64 of them"),
        ("n_parameters = 128 + 64", "multiply"),
        ("n_parameters = -(128 * 64 + 3 * 64)", "the sign is not"),
    ],
    "idle_parts": [
        ("idle = ['l_encoder']", "1 of your 1 name is right. 1 is missing"),
        ("idle = ['px_r_decoder']", "learn the library size"),
        ("idle = ['l_encoder', 'px_dropout_decoder']", "sounds like it"),
        ("idle = ['l_encoder', 'decoder']", "One head inside it does not"),
        ("idle = ['l_encoder', 'px_r_decodr']", "does not exist here"),
        ("idle = 'l_encoder'", "one text"),
    ],
    "linear_decoder": [
        ("n_hidden_layers = 1", "That is so in the encoder"),
        ("n_hidden_layers = layers.hidden_layers(scvi.model.SCVI(adata))", "is a dict"),
    ],
    "small_and_deep": [
        ("your_model = scvi.model.SCVI", "not a model"),
        ("your_model = 'SCVI'", "is a str"),
        ("your_model = scvi.model.SCVI(adata, n_layers=2)", "in depth, or in width"),
        (
            "your_model = scvi.model.SCVI(adata, n_hidden=16)",
            "Two or more are asked for in the encoder and in the decoder",
        ),
    ],
}
