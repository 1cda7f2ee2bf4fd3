"""The laws a method may claim in its record: a name and what it says, for the catalogue and for the suite.

A claim is a promise that the suite keeps: for every method that the registry finds, every claimed law is run on drawn
inputs. Two things need no claim, because every method owes them: the same inputs give the same result, and a result
fits the request (for a selection: an index of the target's size, within the source).

A family that needs another law adds a line here and a check beside the others in the suite.
"""

__all__ = ["LAWS"]

LAWS: dict[str, str] = {
    # Selections: ``choose(n, m)`` is the index of a source of size n for a target of size m.
    "identity": "equal sizes give every index once, in order",
    "increasing": "the index is strictly increasing: nothing is taken twice, and the order is kept",
    "composition": "where n is a multiple of m and m of k, choosing n to m and then m to k equals choosing n to k",
    "nested": "a smaller target takes a subset of what a larger target takes",
    "equivariant": "permuting the scores, or a target's tokens, permutes the choice, or the rows: the same ones",
    "whole": "every target head is one whole source head",
    "fair": "every source head gives the same number of channels",
    # Merges: ``merge(models)`` of tensors in memory, with equal weights.
    "permutation": "the order of the models does not matter, beyond the rounding of sums",
    "idempotent": "copies of one model give that model",
    "alone": "one model alone gives that model",
    "homogeneous": "twice the models, and twice the base, give twice the result",
    # This one holds whatever the options, since products of factors are merged by it without forming them.
    "linear": "twice the deltas give twice the result, and a sum of deltas the sum of their results",
    # Growths: ``grow(n, m)`` maps an axis of size n to a larger one of size m.
    "preserving": "M_read^T M_write is the identity: what reads the grown axis gets what it got before",
    "corner": "the old indices come first, in order, and selecting the first n gives the source bit for bit",
    # Vocabularies: ``method(table, ...)`` gives the rows of the target's tokens; "equivariant" is said of these, too.
    "copies": "a token that both vocabularies have gets its old row, bit for bit",
    "convex": "no row leaves the hull of the old ones: whatever the hidden state, no logit passes the largest old one",
    # Initialisers: ``initialize(site, generator)`` gives a site's first values.
    "shape": "a result has the site's shape, in float32",
    "deterministic": "the same site and seed give the same numbers, whatever else was drawn",
    "variance": "a weight's entries have mean 0 and the stated multiple of 1 / fan_in as variance",
    "orthogonal": "a weight is a multiple of a matrix with orthonormal rows or columns",
}
