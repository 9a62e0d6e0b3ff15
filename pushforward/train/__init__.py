"""Training on rows: the loop, its options and its history. What is fitted to a log-density without rows is in `inference`."""

from pushforward.train.candidates import CANDIDATES, Candidate
from pushforward.train.losses import NegativeLogLikelihood

__all__ = ["CANDIDATES", "Candidate", "NegativeLogLikelihood"]
