"""Prime numbers, which tables of hashed n-grams have as many rows as."""

from __future__ import annotations

from functools import lru_cache

_WITNESSES = (2, 3, 5, 7)
"""Decide every number below 3,215,031,751 (Jaeschke 1993, On strong pseudoprimes to several bases)."""


@lru_cache(maxsize=64)
def primes_from(least: int, count: int) -> tuple[int, ...]:
    """The first `count` primes that are at least `least`, which must be below 2**31.

    >>> primes_from(20, 3), primes_from(2, 4)
    ((23, 29, 31), (2, 3, 5, 7))
    """
    found: list[int] = []
    number = least
    while len(found) < count:
        if is_prime(number):
            found.append(number)
        number += 1
    return tuple(found)


def is_prime(number: int) -> bool:
    """Whether a number below 3,215,031,751 is prime, by Miller and Rabin's test.

    >>> [n for n in range(30) if is_prime(n)], is_prime(25_326_001)
    ([2, 3, 5, 7, 11, 13, 17, 19, 23, 29], False)
    """
    if number < 2 or any(number % each == 0 for each in _WITNESSES):
        return number in _WITNESSES
    odd, halvings = number - 1, 0
    while odd % 2 == 0:
        odd, halvings = odd // 2, halvings + 1
    return all(_passes(number, witness, odd, halvings) for witness in _WITNESSES)


def _passes(number: int, witness: int, odd: int, halvings: int) -> bool:
    power = pow(witness, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(halvings - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
