"""Training: data in, a fitted flow out."""
