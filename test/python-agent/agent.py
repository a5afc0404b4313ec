#!/usr/bin/env python3
"""A second agent, written from docs/protocol.md alone, with nothing but Python's standard library.

Takes the releases of one config by long poll, checks each digest with its own code, writes the content to a file, and
reports. Starts from its disk while the control plane is away, and never goes back. It checks no signatures, as the
standard library has no Ed25519.

    agent.py --url http://127.0.0.1:8710 --config shop/gateway/prod --out config.json --state agent-state.json
"""
import argparse
import datetime
import hashlib
import http.client
import json
import os
import random
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

sys.setrecursionlimit(10_000)


# --- Digest -------------------------------------------------------------------------------------------------------

def number_text(value):
    """As RFC 8785 wants it: the shortest text of the double, as ECMAScript prints it."""
    value = float(value)
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).rstrip("0")
    point = len(whole) + int(power or 0)
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.lstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    head = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{head}e{point - 1:+d}"


SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def string_text(value):
    return '"' + re.sub(r'["\\\x00-\x1f]', lambda m: SHORT.get(m[0], f"\\u{ord(m[0]):04x}"), value) + '"'


def sorted_keys(value):
    return sorted(value, key=lambda key: key.encode("utf-16-be"))


def canonical(value):
    """RFC 8785."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return string_text(value)
    if isinstance(value, (int, float)):
        return number_text(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return "{" + ",".join(f"{string_text(key)}:{canonical(value[key])}" for key in sorted_keys(value)) + "}"


def sha256(data):
    return hashlib.sha256(data).digest()


def digest_bytes(value):
    text = canonical(value).encode()
    if not isinstance(value, (list, dict)) or len(text) <= 4096:
        return sha256(text)
    if isinstance(value, list):
        return sha256(b"L" + b"".join(map(record, value)))
    keys = sorted_keys(value)
    return sha256(b"O" + sha256(canonical(keys).encode()) + b"".join(record(value[key]) for key in keys))


def record(value):
    text = canonical(value).encode()
    if len(text) <= 32:
        return bytes([len(text)]) + text.ljust(32, b"\0")
    return b"\0" + digest_bytes(value)


def digest(value):
    return "sha256:" + digest_bytes(value).hex()


# --- JSON Patch, RFC 6902 -----------------------------------------------------------------------------------------

class Unfit(Exception):
    """The delta does not fit: ask for the whole."""


def steps(pointer):
    if pointer == "":
        return []
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def child(parent, step):
    try:
        return parent[int(step)] if isinstance(parent, list) else parent[step]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise Unfit(f"{step} is not there") from error


def find(root, path):
    for step in path:
        root = child(root, step)
    return root


def take(root, path):
    parent = find(root, path[:-1])
    value = child(parent, path[-1])
    del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]
    return value


def put(root, path, value):
    if not path:
        return value
    parent = find(root, path[:-1])
    if isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else int(path[-1]), value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise Unfit("neither a list nor an object")
    return root


def patched(content, patch):
    root = json.loads(json.dumps(content))
    for operation in patch:
        op, path = operation["op"], steps(operation["path"])
        if op == "add":
            root = put(root, path, operation["value"])
        elif op == "remove":
            take(root, path)
        elif op == "replace":
            if path:
                parent = find(root, path[:-1])
                child(parent, path[-1])
                parent[int(path[-1]) if isinstance(parent, list) else path[-1]] = operation["value"]
            else:
                root = operation["value"]
        elif op == "move":
            root = put(root, path, take(root, steps(operation["from"])))
        elif op == "copy":
            root = put(root, path, json.loads(json.dumps(find(root, steps(operation["from"])))))
        elif op == "test":
            if canonical(find(root, path)) != canonical(operation["value"]):
                raise Unfit(f"{operation['path']} has another value")
        else:
            raise Unfit(f"unknown op {op}")
    return root


# --- The agent ----------------------------------------------------------------------------------------------------

def write_whole(path, text):
    """A reader sees the old file or the new one, never a part; only the owner sees it at all."""
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


class Away(Exception):
    def __init__(self, reason, retry_after=0.0):
        super().__init__(reason)
        self.retry_after = retry_after


class Agent:
    def __init__(self, options):
        self.options = options
        self.state = {"uid": str(uuid.uuid4()), "release": None, "content": None}
        if os.path.exists(options.state):
            with open(options.state, encoding="utf-8") as file:
                self.state = json.load(file)
        else:
            self.save()
        self.status, self.seen, self.attempts = "UNSET", self.number(), {}
        self.heartbeat = 30.0
        if self.state["release"] and digest(self.state["content"]) == self.state["release"]["digest"]:
            write_whole(options.out, json.dumps(self.state["content"]))
            self.status = "APPLIED"

    def number(self):
        return self.state["release"]["number"] if self.state["release"] else 0

    def save(self):
        write_whole(self.options.state, json.dumps(self.state))

    def request(self, what, query=None, message=None, limit=40.0):
        config = urllib.parse.quote(self.options.config, safe="")
        url = f"{self.options.url.rstrip('/')}/v1/agent/{config}/{what}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        body = None if message is None else json.dumps(message).encode()
        request = urllib.request.Request(url, data=body, method="GET" if body is None else "POST")
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self.options.token:
            request.add_header("Authorization", f"Bearer {self.options.token}")
        try:
            with urllib.request.urlopen(request, timeout=limit) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            if error.code == 304:
                return None
            after = error.headers.get("Retry-After", "0")
            raise Away(f"answers {error.code} to {what}", float(after) if after.isdigit() else 0.0) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Away(f"{what}: {error}") from error

    def hello(self):
        release = self.state["release"]
        welcome = self.request("heartbeat", message={
            "type": "hello",
            "uid": self.state["uid"],
            "config": self.options.config,
            "labels": {"language": "python"},
            "agent": {"name": "python-agent", "version": "1"},
            "runs": release and {"number": release["number"], "digest": release["digest"]},
            "seen": self.seen or None,
            "status": self.status,
        })
        if not isinstance(welcome, dict) or welcome.get("type") != "welcome":
            raise Away("the answer to hello is no welcome")
        self.heartbeat = welcome["heartbeatMs"] / 1000

    def report(self, release, status, detail=None):
        # One that is known by its number only does not count: the status says nothing of it.
        self.seen = max(self.seen, release["number"])
        self.status = status
        now = datetime.datetime.now(datetime.timezone.utc)
        message = {
            "type": "report",
            "number": release["number"],
            "digest": release["digest"],
            "status": status,
            "attempt": self.attempts.get(release["number"], 0),
            "at": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z",
        }
        if detail:
            message["detail"] = detail[:4096]
        self.request("report", {"uid": self.state["uid"]}, message)

    def content_of(self, release, body):
        if body["kind"] == "whole":
            return body["content"]
        mine = self.state["release"]
        if not mine or (mine["number"], mine["digest"]) != (body["base"], body["baseDigest"]):
            raise Unfit(f"release {body['base']} is not at hand")
        try:
            content = patched(self.state["content"], body["patch"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise Unfit(str(error)) from error
        if digest(content) != release["digest"]:
            raise Unfit("the delta comes to another digest")
        return content

    def take(self, message):
        """Whether it was of use."""
        release = message["release"]
        if release["number"] <= self.number():
            return False
        for what in ("prepare", "revertMs"):
            if what in message:
                self.report(release, "FAILED", f"{what} is not supported")
                return False
        content = self.content_of(release, message["body"])
        problem = None
        if release["config"] != self.options.config:
            problem = f"is of {release['config']}; want {self.options.config}"
        elif digest(content) != release["digest"]:
            problem = f"comes to {digest(content)}; want {release['digest']}"
        if problem:
            self.report(release, "FAILED", f"release {release['number']} {problem}")
            return False
        self.report(release, "RECEIVED")
        self.attempts = {release["number"]: self.attempts.get(release["number"], 0) + 1}
        self.report(release, "APPLYING")
        try:
            write_whole(self.options.out, json.dumps(content))
        except OSError as error:
            self.report(release, "FAILED", str(error))
            return False
        self.state.update(release=release, content=content)
        self.save()
        self.report(release, "APPLIED")
        return True

    def poll(self, whole):
        query = {"uid": self.state["uid"], "index": self.number(), "wait": f"{int(min(30, max(1, self.heartbeat)))}s"}
        if whole:
            query["whole"] = "1"
        message = self.request("poll", query, limit=60.0)
        if message is None:
            return None
        if not isinstance(message, dict) or message.get("type") != "release":
            raise Away("the answer to poll is no release")
        return message

    def run(self):
        failures, whole, said = 0, False, 0.0
        while True:
            try:
                if time.monotonic() - said >= self.heartbeat or said == 0.0:
                    self.hello()
                    said = time.monotonic()
                began = time.monotonic()
                message = self.poll(whole)
                whole = False
                if message is not None and not self.take(message):
                    raise Away(f"release {message['release']['number']} is of no use here")
                if message is None and time.monotonic() - began < 1:
                    time.sleep(random.uniform(0.5, 1.5))
                failures = 0
            except Unfit as error:
                print(f"asking for the whole: {error}", file=sys.stderr, flush=True)
                if whole:
                    time.sleep(random.uniform(0, 1))
                whole = True
            except (Away, KeyError, TypeError) as error:
                print(f"what is live stays live: {error!r}", file=sys.stderr, flush=True)
                most = min(30, 0.2 * 2**failures)
                time.sleep(getattr(error, "retry_after", 0.0) + random.uniform(most / 2 if failures else 0, most))
                failures = min(failures + 1, 10)


def main():
    parser = argparse.ArgumentParser()
    for name in ("url", "config", "out", "state"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--token")
    options = parser.parse_args()
    if not options.url.startswith(("http://", "https://")):
        parser.error("--url must begin with http:// or https://")
    Agent(options).run()


if __name__ == "__main__":
    main()
