"""Points to certified vectors without persistence: the rival that persistence is measured against.

Distances from the vertices of a grid to the nearest points, raw or sorted, and sorted distances
between neighbours. Their constants are as good as those of persistence, and they are cheaper. A raw
field sees where points lie, which often makes it more accurate: on clouds that are not shifted,
turned or reflected against those of the training, of which its certificates say nothing. So results
with a field are told apart, always in rows of their own. Distances between neighbours do not change
under rigid motions at all; sorted fields do not where the motion maps grid and box to themselves.
"""

from stablerank.fields.distance_field import DistanceField
from stablerank.fields.neighbours import SortedNeighbourDistances
from stablerank.fields.vectorizer import CloudVectorizer

__all__ = ["CloudVectorizer", "DistanceField", "SortedNeighbourDistances"]
