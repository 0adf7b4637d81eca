"""From the pictures of a run to its batches."""
