"""Pictures of labels and predictions: tiles, and what is made of them."""
