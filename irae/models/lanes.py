"""A stack of bytes from which numbers below any bound are taken, and to which they are put back.

An integer cannot be multiplied by 0.8 and back. With a number below the denominator put aside it
can (the modular scale transform of Zhang et al. 2021, iFlow, arXiv 2111.00965, section 3.2); what
is put aside goes on this stack, and what a factor above 1 needs is taken from it. Taking a number
from below R costs log2 R bits and putting one there gives as many: asymmetric numeral systems
(Duda 2013, arXiv 1311.2540), here with many states side by side, so that arrays can be worked on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

_TOTAL = 24  # Bits by which a state is split; bounds are far below.
_LOW, _HIGH = 30, 62  # A state is at least 2^30 and below 2^62,
_WORD = 32  # and grows or shrinks by whole words.


class Lanes:
    """States on top of a stack of bytes, which they take words from and put words on.

    What is taken when the stack is empty is zero, and counted in ``missing``.

    Args:
        stack: changed in place.
        states: as `open` or `resume` make them.
    """

    def __init__(self, stack: bytearray, states: Numbers) -> None:
        self._stack = stack
        self._states = states
        self.missing = 0

    @classmethod
    def open(cls, stack: bytearray, count: int) -> Lanes:
        """States with a word of the stack in each; `close` undoes it."""
        lanes = cls(stack, np.empty(0, np.int64))
        lanes._states = lanes._take(count) | (1 << _WORD)
        return lanes

    def close(self) -> None:
        """Put back what `open` has taken.

        Raises:
            ValueError: the states are not those that it made.
        """
        words = self._states - (1 << _WORD)
        if ((words < 0) | (words >> _WORD > 0)).any():
            raise ValueError("the states do not end where they began")
        self._put(words)

    def suspend(self) -> None:
        """Put the states themselves on the stack."""
        self._stack += self._states.astype("<i8").tobytes()

    @classmethod
    def resume(cls, stack: bytearray, count: int) -> Lanes:
        """Undo `suspend`.

        Raises:
            ValueError: there are no such states on the stack.
        """
        size = 8 * count
        if len(stack) < size:
            raise ValueError("the stack is too short")
        states = np.frombuffer(bytes(stack[len(stack) - size :]), "<i8").astype(np.int64)
        del stack[len(stack) - size :]
        if ((states < 1 << _LOW) | (states >= 1 << _HIGH)).any():
            raise ValueError("the states are out of range")
        return cls(stack, states)

    def scale(self, values: Numbers, over: Numbers, under: Numbers) -> Numbers:
        """``values * over / under``, rounded; `unscale` undoes it.

        Args:
            values: any numbers, in the order in which the states work on them.
            over: of the same shape, positive and below 2^20.
            under: likewise.
        """
        result, count = np.empty_like(values), len(self._states)
        for start in range(0, len(values), count):
            part = slice(start, start + count)
            result[part] = self._scale_some(values[part], over[part], under[part])
        return result

    def unscale(self, values: Numbers, over: Numbers, under: Numbers) -> Numbers:
        """Undo ``scale``, given its answer and its other arguments."""
        result, count = np.empty_like(values), len(self._states)
        for start in reversed(range(0, len(values), count)):
            part = slice(start, start + count)
            result[part] = self._scale_some(values[part], under[part], over[part])
        return result

    def _scale_some(self, values: Numbers, over: Numbers, under: Numbers) -> Numbers:
        whole = values * over + self._pop(over)
        scaled: Numbers = whole // under
        self._push(whole - scaled * under, under)
        return scaled

    def _pop(self, below: Numbers) -> Numbers:
        """A number below each bound."""
        states = self._states[: len(below)]
        slot = states & ((1 << _TOTAL) - 1)
        number: Numbers = ((slot + 1) * below - 1) >> _TOTAL
        first, width = _share(number, below)
        states = width * (states >> _TOTAL) + slot - first
        short = states < 1 << _LOW
        states[short] = (states[short] << _WORD) | self._take(int(short.sum()))
        self._states[: len(below)] = states
        return number

    def _push(self, number: Numbers, below: Numbers) -> None:
        """Undo `_pop`."""
        states = self._states[: len(below)]
        first, width = _share(number, below)
        full = states >= width << (_HIGH - _TOTAL)
        self._put(states[full] & ((1 << _WORD) - 1))
        states = np.where(full, states >> _WORD, states)
        self._states[: len(below)] = (states // width << _TOTAL) + states % width + first

    def _take(self, count: int) -> Numbers:
        size = 4 * count
        lacking = max(0, size - len(self._stack))
        self.missing += lacking
        data = bytes(lacking) + bytes(self._stack[len(self._stack) - (size - lacking) :])
        if size > lacking:
            del self._stack[len(self._stack) - (size - lacking) :]
        else:
            data = bytes(size)
        return np.frombuffer(data, "<u4").astype(np.int64)

    def _put(self, words: Numbers) -> None:
        self._stack += words.astype("<u4").tobytes()


def _share(number: Numbers, below: Numbers) -> tuple[Numbers, Numbers]:
    """The slots of 2^24 that stand for a number: the first, and how many."""
    first = (number << _TOTAL) // below
    return first, ((number + 1) << _TOTAL) // below - first
