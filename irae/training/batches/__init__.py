"""The pictures of a run and the batches made from them."""
