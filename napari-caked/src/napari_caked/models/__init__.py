"""Networks: from a working image to a map of logits."""

from napari_caked.models.matched import MatchedFilter, MatchedFilterNetwork

__all__ = ["MatchedFilter", "MatchedFilterNetwork"]
