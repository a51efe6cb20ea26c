"""The wording of a reply: what stays of it when all that differs from mail to mail is left out."""

import re

# In this order: what is found first is not looked at again. Each takes linear time.
_PLACES = (
    (re.compile(r"<?[^\s<>@]{1,320}@[^\s<>@,;:()]{1,255}>?"), "<address>"),
    (re.compile(r"\bhttps?://\S{1,1000}"), "<url>"),
    (re.compile(r"\b(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d[.\d]{0,7}Z?\b"), "<time>"),
    (re.compile(r"\[?\b\d{1,3}(?:\.\d{1,3}){3}\b(?:/\d{1,2})?\]?"), "<ip>"),
    (re.compile(r"\[?\b(?:[0-9a-f]{1,4}::?){2,7}[0-9a-f]{1,4}\b\]?", re.IGNORECASE), "<ip>"),
    (re.compile(r"\b(?:[a-z0-9_-]{1,63}\.){1,10}[a-z]{2,24}\b", re.IGNORECASE), "<host>"),
)
_WORD = re.compile(r"[A-Za-z0-9_.=+-]{1,1000}")
# Short and regular: a code of the provider, such as TSS04, S3150 or OFR006_102.
_CODE = re.compile(r"[A-Z]{1,6}[-_]?\d{1,6}(?:_\d{1,4})?")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_NUMBER = re.compile(r"[\d.]{1,1000}")
_LONGEST_WORD = 24


def wording(text: str) -> str:
    """A reply's text with placeholders, so that replies that say the same are the same.

    Addresses, URLs, times, IP addresses, host names, numbers and ids become `<address>`, `<url>`,
    `<time>`, `<ip>`, `<host>`, `<n>` and `<id>`. Short codes of capitals and digits stay: they tell
    replies apart.
    """
    for pattern, place in _PLACES:
        text = pattern.sub(place, text)
    return " ".join(_WORD.sub(_placed, text).split())


def _placed(word: "re.Match[str]") -> str:
    said = word[0]
    bare = said.rstrip(".")
    if _NUMBER.fullmatch(bare):
        place = bare if _STATUS.fullmatch(bare) else "<n>"
    elif _CODE.fullmatch(bare):
        return said
    elif any(c.isdigit() for c in bare) or len(bare) > _LONGEST_WORD:
        place = "<id>"
    else:
        return said
    return place + said[len(bare) :]
