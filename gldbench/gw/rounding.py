"""Proven rounding errors: they push lower bounds down and upper bounds up, so that no certificate is false by rounding.

**What is certified.** The true graphs have the float64 entries that the problem holds, and the weights p_i / sum(p). If
a graph holds logits Z, the true graph is Z^T Z without rounding, and the matrix that the problem holds is near it.

**Standard error analysis.** u = 2^-53. A result of one operation has a relative error of at most u. A sum of k products
has an error of at most gamma(k) sum |x_i y_i|, with gamma(k) = k u / (1 - k u), in any order of summation, with and
without fused multiply-add (Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapters 3 and 4). So a sum of
non-negative terms has a *relative* error only. The counts k below are upper bounds of the number of operations that
one result depends on.

**Errors of the error terms.** They are computed in float64 too. All their terms are non-negative, so the computed term
is at least (1 - gamma(K)) times the true one for K operations. The factor SAFE makes up for that up to K = 2^31.

**Metrics.** |C| means the norm sqrt(sum p_i p_k C_ik^2). GW_2 is a metric, and GW_2(C, C') <= |C - C'| if the nodes are
the same. If C and D have errors of at most e_C and e_D in this norm, then GW_2 changes by at most e_C + e_D. A lower
bound v of GW_2^2 of the computed graphs becomes (sqrt(v) - e_C - e_D)_+^2, an upper bound (sqrt(v) + e_C + e_D)^2.

**Underflow.** Graphs have entries of order 1 (`Problem.to_unit_mass`, `Problem.scaled_exactly`). A product that
underflows is smaller than TINY, which is added to every error that stands for a norm.
"""

from __future__ import annotations

import math

from torch import Tensor

from gldbench.gw.problem import Graph, Problem

UNIT = 2.0**-53
"""the unit roundoff u of float64"""
SAFE = 1 + 2.0**-20
"""makes up for the rounding errors of an error term with at most 2^31 operations"""
TINY = 2.0**-480
"""larger than every number of which the square underflows, and than every sum of products that underflowed"""


def gamma(operations: int) -> float:
    """k u / (1 - k u), the relative error of k operations."""
    return SAFE * operations * UNIT / (1 - operations * UNIT)


def lowered(value: float, relative: float, absolute: float = 0.0, metric: float = 0.0) -> float:
    """A lower bound of GW_2^2 from the computed value of one: (sqrt(value (1 - relative) - absolute) - metric)_+^2.

    The five operations of this function are covered by the extra 8 u and 4 u.

    Args:
        value: the computed value.
        relative: the true value is at least value * (1 - relative) - absolute.
        absolute: see `relative`.
        metric: how far GW_2 of the true graphs may be from GW_2 of the computed ones.
    """
    kept = value * (1 - relative - 8 * UNIT) - absolute * SAFE
    root = max(0.0, math.sqrt(max(0.0, kept)) * (1 - 4 * UNIT) - metric * SAFE)
    return root * root * (1 - 4 * UNIT) if root > TINY else 0.0


def raised(value: float, relative: float, absolute: float = 0.0, metric: float = 0.0) -> float:
    """An upper bound of GW_2^2 from the computed value of one. Arguments as for `lowered`, with the signs reversed."""
    root = math.sqrt(value * (1 + relative + 8 * UNIT) + absolute * SAFE) * (1 + 4 * UNIT) + metric * SAFE
    return root * root * (1 + 4 * UNIT)


def size(graph: Graph) -> float:
    """At least the norm | |C| | of the absolute entries, and for logits at least the norm of |Z|^T |Z|.

    For logits the norm is at most |Z|_F^2 / n, because |A^T A|_F <= |A|_F^2. This needs one pass over Z.
    """
    if graph.logits is not None:
        return SAFE * float(graph.logits.square().sum()) / graph.nodes + TINY
    assert graph.matrix is not None
    squares = graph.matrix.square()
    mean = squares.mean() if graph.weights is None else graph.weights @ squares @ graph.weights
    return SAFE * math.sqrt(float(mean)) + TINY


def weight_error(problem: Problem) -> tuple[float, float]:
    """The largest relative error of a weight, and of a sum of first weights, for p and for q.

    The true weights are p_i / sum(p) of the weights that a user gave. The division by the computed sum has the relative
    error gamma(n + 1), a sum of the first weights gamma(n). The sum of the weights that the problem holds may differ
    from 1, by a difference that is computed with the error gamma(n). If all weights are uniform, the formulas use
    the exact cut points i / n, and this error is 0.
    """
    if problem.uniform:
        return 0.0, 0.0
    p, q = (gamma(4 * len(w) + 8) + 2 * abs(float(w.sum()) - 1) for w in problem.weights if w is not None)
    return p, q


def entry_error(problem: Problem) -> float:
    """By how much GW_2 of the matrices may differ from GW_2 of the true graphs.

    It is 0 for graphs that were given as matrices. An entry of Z^T Z is a sum of T products; scaling to unit mass adds
    at most six relative errors (of the factor, its root and the products).
    """
    return sum(gamma(len(g.logits) + 8) * size(g) for g in (problem.a, problem.b) if g.logits is not None)


def feature_error(problem: Problem) -> float:
    """At least |f' - f| + |g' - g| for the computed features f' and g', in the norm sqrt(sum p_i f_i^2).

    A feature f_i = sum_k C_ik p_k has the error gamma(n + 4) sum_k |C_ik| p_k, and with weights also their relative
    error times that sum. By Jensen the norm of these sums is at most `size`. From logits, f = Z^T (Z 1) / n has k terms
    inside T terms, and |Z|^T (|Z| 1) / n are the features of |Z|^T |Z|.
    """
    total = 0.0
    for graph, weights in zip((problem.a, problem.b), weight_error(problem), strict=True):
        operations = graph.nodes + 8 if graph.logits is None else sum(graph.logits.shape) + 8
        total += (gamma(operations) + weights) * size(graph)
    return total


def line_error(pieces: int, weights: float) -> float:
    """The error of W_2^2 on the line by wrong masses, for values in a range of length 1.

    The matching on the line is an integral of (F(s) - G(s))^2 over s in [0, 1], with the quantile functions F and G. If
    a cut point between two values of f is wrong by e, the integrand is wrong on a length e, by at most twice the
    difference of the two values times the range. The differences of all neighbours sum to the range. So the integral is
    wrong by at most 2 e, for the cuts of f and of g each. Besides, the function `weighted_pieces` may give a piece to
    a neighbour if it is no longer than 4 u. That adds at most 4 u for each piece; the rounding of its mass adds u.

    Args:
        pieces: the number of pieces of the matching.
        weights: the largest error of a cut point of f plus that of g. 0: all cut points are exact.
    """
    return 0.0 if weights == 0 else 2 * weights + gamma(8 * pieces)


def spread(*values: Tensor) -> float:
    """The length of the range that holds all entries of the tensors."""
    return SAFE * (max(float(v.max()) for v in values) - min(float(v.min()) for v in values))
