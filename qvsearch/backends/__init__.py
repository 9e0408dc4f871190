"""Where vectors are computed: a module per place, each with an `Embedder`."""
