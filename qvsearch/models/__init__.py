"""The network, what it sees of a picture, and where its weights come from."""
