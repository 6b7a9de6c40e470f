"""Point clouds in, predictions out, each with a certified radius in the units of the points."""
