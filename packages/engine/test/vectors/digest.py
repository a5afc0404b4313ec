"""An independent implementation of the digest in docs/protocol.md: JSON texts on standard input, one per line;
digests on standard output. Standard library only."""
import hashlib
import json
import re
import sys

sys.setrecursionlimit(10000)
MAX_TEXT = 4096
MAX_INLINE = 32


def sha256(data):
    return hashlib.sha256(data).digest()


def number(value):
    """As ECMAScript prints a double."""
    value = float(value)
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, exponent = repr(abs(value)), 0
    if "e" in mantissa:
        mantissa, power = mantissa.split("e")
        exponent = int(power)
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    digits, point = whole + fraction, len(whole) + exponent
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = point - 1
    head = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return "%s%se%s%d" % (sign, head, "+" if power > 0 else "-", abs(power))


def string(value):
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    return '"' + re.sub(r'["\\\x00-\x1f]', lambda m: short.get(m[0], "\\u%04x" % ord(m[0])), value) + '"'


def sorted_keys(value):
    return sorted(value, key=lambda key: key.encode("utf-16-be"))


def canonical(value):
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return string(value)
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return "{" + ",".join(string(key) + ":" + canonical(value[key]) for key in sorted_keys(value)) + "}"


def digest(value):
    text = canonical(value).encode("utf-8")
    if not isinstance(value, (list, dict)) or len(text) <= MAX_TEXT:
        return sha256(text)
    if isinstance(value, list):
        return sha256(b"L" + b"".join(map(record, value)))
    keys = sorted_keys(value)
    return sha256(b"O" + sha256(canonical(keys).encode("utf-8")) + b"".join(record(value[key]) for key in keys))


def record(value):
    text = canonical(value).encode("utf-8")
    if len(text) <= MAX_INLINE:
        return bytes([len(text)]) + text.ljust(MAX_INLINE, b"\0")
    return b"\0" + digest(value)


for line in sys.stdin.buffer.read().decode("utf-8").split("\n"):
    sys.stdout.write("sha256:" + digest(json.loads(line)).hex() + "\n")
