"""A reply's text as words, and phrases to be found among them.

A phrase is found by whole words alone, so that a comma, a bracket or a line break that a provider
moves does not hide it. Everything here takes time in proportion to the length of the text.
"""

import re
import string

_ANY = "*"  # stands for any words, or none
_KEPT = (string.ascii_lowercase + string.digits).encode()
# Upper case to lower case, and everything that is in no word to a blank.
_FOLD = bytes(
    byte if byte in _KEPT else byte + 32 if chr(byte) in string.ascii_uppercase else 32
    for byte in range(256)
)
_APOSTROPHE = b"'"  # `doesn't` is one word
_TYPOGRAPHIC = "\u2019"  # the same, in print
_MOST_VARYING = 3  # of nine each: at most 729 ways to match at a place


def words_of(text: str) -> list[bytes]:
    """The words of a text in order: runs of letters and digits, in lower case, ASCII only.

    Addresses are left out: `<no.such.user@example.com>` says nothing about a user.
    """
    if "@" in text:
        text = " ".join([part for part in text.split() if "@" not in part])
    if not text.isascii():
        text = text.replace(_TYPOGRAPHIC, "'")
    return text.encode("ascii", "replace").translate(_FOLD, _APOSTROPHE).split()


def line_of(words: list[bytes]) -> bytes:
    """Words as one line to look for phrases in: a blank before, between and behind them."""
    return b" %b " % b" ".join(words)


def pieces_of(phrase: str) -> tuple[bytes, ...]:
    """The pieces of a phrase between its `*`, as they have to stand in a line of words."""
    found = [words_of(piece) for piece in phrase.split(_ANY)]
    return tuple(line_of(words) for words in found if words)


def stand_in(line: bytes, pieces: tuple[bytes, ...]) -> bool:
    """Whether all pieces stand in a line of words, in their order."""
    at = 0
    for piece in pieces:
        at = line.find(piece, at)
        if at < 0:
            return False
        at += len(piece) - 1  # the blank behind it may be the one before the next
    return True


def is_linear(pattern: str) -> bool:
    """Whether a regular expression surely takes time in proportion to what it searches.

    Such are those without repetition beyond nine, without repeated groups, and without looking
    around, that repeat a varying number of times in three places at most. What is not among them
    may be harmless, and is not needed.
    """
    plain = re.sub(r"\\[bdsw]", "x", re.sub(r"\(\?:|\(\?P<\w+>", "(", pattern))
    if re.search(r"\\|\(\?|\)[?{]", plain):
        return False
    varying = re.findall(r"\?|\{\d,\d\}", plain)
    bounded = re.sub(r"\{\d(?:,\d)?\}", "", plain)
    return len(varying) <= _MOST_VARYING and not set(bounded) & set("*+{}")
