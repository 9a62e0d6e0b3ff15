"""Training on rows: the loop, its options and its history. What is fitted to a log-density without rows is in `inference`."""

from pushforward.train.candidates import CANDIDATES, TABLES, Candidate, TableCandidate
from pushforward.train.limit import Limit
from pushforward.train.losses import NegativeLogLikelihood
from pushforward.train.matching import FlowMatchingLoss
from pushforward.train.objective import FlowMatching, Likelihood
from pushforward.train.paths import Path
from pushforward.train.regularised import RegularisedLoss

__all__ = [
    "CANDIDATES", "TABLES", "Candidate", "FlowMatching", "FlowMatchingLoss", "Likelihood", "Limit", "NegativeLogLikelihood", "Path",
    "RegularisedLoss", "TableCandidate",
]  # fmt: skip
