"""Matrices and functions that come out the same on every machine, to the last bit.

A BLAS sums in an order of its own, and the exp of one C library is not that of another. Here only
additions, multiplications and divisions are used, each of which IEEE 754 defines exactly, in one
order; and `decimal`, which is defined exactly too.
"""

from __future__ import annotations

from decimal import Context, Decimal

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

_CONTEXT = Context(prec=40)


def multiply(a: Matrix, b: Matrix) -> Matrix:
    """A matrix product whose sums are taken in one order everywhere, unlike those of a BLAS."""
    total = np.zeros((a.shape[0], b.shape[1]))
    for k in range(a.shape[1]):
        total = total + a[:, k : k + 1] * b[k : k + 1]
    return total


def factor(matrix: Matrix) -> tuple[Matrix, Matrix, Matrix, list[int]]:
    """``matrix[order] = lower diag(diagonal) upper`` with unit triangles, by elimination."""
    upper, size = matrix.copy(), len(matrix)
    lower, order = np.eye(size), list(range(size))
    for k in range(size):
        pivot = k + int(np.argmax(np.abs(upper[k:, k])))
        upper[[k, pivot]] = upper[[pivot, k]]
        lower[[k, pivot], :k] = lower[[pivot, k], :k]
        order[k], order[pivot] = order[pivot], order[k]
        lower[k + 1 :, k] = upper[k + 1 :, k] / upper[k, k]
        upper[k + 1 :] = upper[k + 1 :] - lower[k + 1 :, k : k + 1] * upper[k : k + 1]
        upper[k + 1 :, k] = 0.0
    diagonal = np.diagonal(upper).copy()
    return lower, diagonal, upper / diagonal[:, None], order


def solve(matrix: Matrix, right: Matrix) -> Matrix:
    """``matrix⁻¹ right`` by elimination."""
    lower, diagonal, upper, order = factor(matrix)
    x = right[order].copy()
    for k in range(len(x)):
        x[k + 1 :] = x[k + 1 :] - lower[k + 1 :, k : k + 1] * x[k : k + 1]
    x = x / diagonal[:, None]
    for k in reversed(range(len(x))):
        x[:k] = x[:k] - upper[:k, k : k + 1] * x[k : k + 1]
    return x


def exp(x: float) -> float:
    """Correctly rounded, which the exp of a C library is not everywhere."""
    return float(_CONTEXT.exp(Decimal(x)))


def tanh(x: float) -> float:
    square = _CONTEXT.exp(_CONTEXT.multiply(Decimal(2), Decimal(x)))
    return float(_CONTEXT.divide(square - 1, square + 1))
