#!/usr/bin/env python3
"""A second verifier of idlog receipts and index proofs, in Python 3.11 and its standard library.

    verify.py FILE POLICY         judge a *.idlog-disclosure, *.tlog-proof or *.tlog-index-proof
    verify.py --vectors DIR       hold this program to testdata/vectors

It shares nothing with the Go code but the specification, proto/SPEC.md: its own
Ed25519, its own ML-DSA-44, its own parsers. Exit status: 0 verified, 3 refused,
2 cannot be judged. It is slow, and nothing in it is constant-time: it holds no
secrets.
"""

import base64
import hashlib
import json
import os
import re
import sys
import unicodedata


class Refused(Exception):
    """The input is not what it must be."""


def need(condition, reason):
    if not condition:
        raise Refused(reason)


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u(size, n):
    return n.to_bytes(size, "big")


def num(b, least=0):
    """A decimal number below 2^63 without sign and leading zeros."""
    need(re.fullmatch(rb"0|[1-9][0-9]{0,18}", b), "number is not canonical")
    need(least <= int(b) < 1 << 63, "number is out of range")
    return int(b)


def b64(b):
    """Canonical base64: encoding what was read gives the same text."""
    try:
        raw = base64.b64decode(b, validate=True)
    except ValueError:
        raise Refused("base64 is malformed") from None
    need(base64.b64encode(raw) == b, "base64 is not canonical")
    return raw


def h32(b):
    raw = b64(b)
    need(len(raw) == 32, "hash is not 32 bytes")
    return raw


def text_lines(b):
    """The lines of a text whose last one ends like all others."""
    need(b.endswith(b"\n"), "last line has no newline")
    return b[:-1].split(b"\n")


def ascending(items, what):
    need(all(a < b for a, b in zip(items, items[1:])), what + " do not ascend")


# Ed25519: RFC 8032. Points are extended coordinates (X, Y, Z, T).

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def point_add(a, b):
    A, B = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    C, E = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = B - A, E - C, E + C, B + A
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_mul(n, a):
    r = (0, 1, 1, 0)
    while n:
        if n & 1:
            r = point_add(r, a)
        a = point_add(a, a)
        n >>= 1
    return r


def point_decode(b):
    """The point, or None. As in Go and most others, y is taken modulo P."""
    n = int.from_bytes(b, "little")
    sign, y = n >> 255, (n & ((1 << 255) - 1)) % P
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * ROOT % P
    if (x * x - xx) % P:
        return None
    if x & 1 != sign:
        x = -x % P
    return x, y, 1, x * y % P


def point_encode(a):
    z = pow(a[2], -1, P)
    x, y = a[0] * z % P, a[1] * z % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = point_decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def ed25519(key, message, sig):
    if len(key) != 32 or len(sig) != 64:
        return False
    a = point_decode(key)
    s = int.from_bytes(sig[32:], "little")
    if a is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(sig[:32] + key + message).digest(), "little") % L
    minus_a = (-a[0] % P, a[1], a[2], -a[3] % P)
    return point_encode(point_add(point_mul(s, BASE), point_mul(k, minus_a))) == sig[:32]


# ML-DSA-44: FIPS 204. A polynomial is a list of 256 integers.

Q = 8380417
K_ROWS = L_COLS = 4
TAU, GAMMA1, GAMMA2, BETA, OMEGA = 39, 1 << 17, (Q - 1) // 88, 78, 80
ZETAS = [pow(1753, int(f"{i:08b}"[::-1], 2), Q) for i in range(256)]


def ntt(w):
    w, k, size = list(w), 0, 128
    while size >= 1:
        for start in range(0, 256, 2 * size):
            k += 1
            for j in range(start, start + size):
                t = ZETAS[k] * w[j + size] % Q
                w[j + size], w[j] = (w[j] - t) % Q, (w[j] + t) % Q
        size //= 2
    return w


def ntt_inverse(w):
    w, k, size = list(w), 256, 1
    while size < 256:
        for start in range(0, 256, 2 * size):
            k -= 1
            for j in range(start, start + size):
                t = w[j]
                w[j] = (t + w[j + size]) % Q
                w[j + size] = (w[j + size] - t) * ZETAS[k] % Q
        size *= 2
    f = pow(256, -1, Q)
    return [c * f % Q for c in w]


def bit_unpack(b, bits):
    n, mask = int.from_bytes(b, "little"), (1 << bits) - 1
    return [(n >> (bits * i)) & mask for i in range(256)]


def sample_ntt(seed):
    """RejNTTPoly."""
    size, shake = 1024, hashlib.shake_128(seed)
    while True:
        b, out = shake.digest(size), []
        for i in range(0, size - 2, 3):
            c = b[i] | b[i + 1] << 8 | (b[i + 2] & 0x7F) << 16
            if c < Q:
                out.append(c)
            if len(out) == 256:
                return out
        size *= 2


def sample_in_ball(seed):
    size, shake = 256, hashlib.shake_256(seed)
    while True:
        b, c, at = shake.digest(size), [0] * 256, 8
        signs = int.from_bytes(b[:8], "little")
        for i in range(256 - TAU, 256):
            while at < size and b[at] > i:
                at += 1
            if at >= size:
                break
            j, at = b[at], at + 1
            c[i] = c[j]
            c[j] = -1 if signs & 1 else 1
            signs >>= 1
        else:
            return c
        size *= 2


def unpack_hint(b):
    """HintBitUnpack: one set of positions per row, or None if not canonical."""
    rows, at = [], 0
    for i in range(K_ROWS):
        end = b[OMEGA + i]
        row = list(b[at:end])
        if end < at or end > OMEGA or any(x >= y for x, y in zip(row, row[1:])):
            return None
        rows.append(set(row))
        at = end
    return None if any(b[at:OMEGA]) else rows


def use_hint(hint, r):
    r0 = r % (2 * GAMMA2)
    if r0 > GAMMA2:
        r0 -= 2 * GAMMA2
    r1, r0 = (0, r0 - 1) if r - r0 == Q - 1 else ((r - r0) // (2 * GAMMA2), r0)
    if hint:
        return (r1 + 1) % 44 if r0 > 0 else (r1 - 1) % 44
    return r1


def ml_dsa_44(key, message, sig):
    if len(key) != 1312 or len(sig) != 2420:
        return False
    rho = key[:32]
    t1 = [bit_unpack(key[32 + 320 * i : 352 + 320 * i], 10) for i in range(K_ROWS)]
    challenge, hint = sig[:32], unpack_hint(sig[32 + 576 * L_COLS :])
    z = [[GAMMA1 - c for c in bit_unpack(sig[32 + 576 * i : 608 + 576 * i], 18)] for i in range(L_COLS)]
    if hint is None or any(abs(c) >= GAMMA1 - BETA for p in z for c in p):
        return False
    tr = hashlib.shake_256(key).digest(64)
    mu = hashlib.shake_256(tr + b"\x00\x00" + message).digest(64)
    c, z, packed = ntt(sample_in_ball(challenge)), [ntt(p) for p in z], b""
    for r in range(K_ROWS):
        t, row = ntt([x << 13 for x in t1[r]]), [sample_ntt(rho + bytes((s, r))) for s in range(L_COLS)]
        w = ntt_inverse([(sum(row[s][i] * z[s][i] for s in range(L_COLS)) - c[i] * t[i]) % Q for i in range(256)])
        n = sum(use_hint(i in hint[r], w[i]) << 6 * i for i in range(256))
        packed += n.to_bytes(192, "little")
    return hashlib.shake_256(mu + packed).digest(32) == challenge


# Keys, notes and checkpoints: c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature.

SPACES = set("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}
LOG, WITNESS = "log", "witness"
KINDS = {1: (32, {LOG}), 4: (32, {WITNESS}), 6: (1312, {LOG, WITNESS})}


def key_name(b):
    try:
        s = b.decode()
    except UnicodeDecodeError:
        raise Refused("name is not UTF-8") from None
    need(0 < len(b) <= 255 and "+" not in s and not SPACES & set(s), "name is no key name")
    need(all(unicodedata.category(c) != "Cc" for c in s), "name has a control character")
    return b


class Key:
    def __init__(self, vkey):
        parts = vkey.split(b"+", 2)
        need(len(parts) == 3, "vkey is malformed")
        self.name, raw = key_name(parts[0]), b64(parts[2])
        need(raw and raw[0] in KINDS, "vkey is of an unknown type")
        self.kind, self.public = raw[0], raw[1:]
        size, self.roles = KINDS[self.kind]
        need(len(self.public) == size, "vkey has the wrong size")
        self.id = H(self.name, b"\n", raw)[:4]
        need(parts[1] == self.id.hex().encode(), "vkey has the wrong key ID")

    def verify(self, checkpoint, sig):
        """Whether sig is the key's signature of that checkpoint, and its time."""
        if self.kind == 1:
            return ed25519(self.public, checkpoint.text, sig), None
        time = int.from_bytes(sig[:8], "big")
        if len(sig) < 8 or time >= 1 << 63:
            return False, None
        if self.kind == 4:
            return ed25519(self.public, b"cosignature/v1\ntime %d\n" % time + checkpoint.text, sig[8:]), time
        message = b"subtree/v1\n\0" + u(1, len(self.name)) + self.name + u(8, time)
        message += u(1, len(checkpoint.origin)) + checkpoint.origin + u(8, 0) + u(8, checkpoint.size) + checkpoint.root
        return ml_dsa_44(self.public, message, sig[8:]), time


class Checkpoint:
    """A note whose text is a checkpoint, with its signatures: none is verified."""

    def __init__(self, note):
        need(len(note) <= 256 << 10, "note is too large")
        try:
            note.decode()
        except UnicodeDecodeError:
            raise Refused("note is not UTF-8") from None
        need(not any(c < 0x20 and c != 0x0A for c in note), "note has a control character")
        text, empty, sigs = note.rpartition(b"\n\n")
        need(empty, "note has no empty line")
        self.text = text + b"\n"
        need(len(self.text) <= 8 << 10, "checkpoint is too large")
        lines = text.split(b"\n")
        need(len(lines) >= 3 and all(lines), "checkpoint has too few lines, or an empty one")
        self.origin, self.size, self.root = key_name(lines[0]), num(lines[1]), h32(lines[2])
        need(self.size > 0 or self.root == H(), "root of the empty tree is wrong")
        self.sigs = [self.signature(line) for line in text_lines(sigs)]
        need(len(self.sigs) <= 64, "note has too many signatures")

    @staticmethod
    def signature(line):
        parts = line.split(b" ")
        need(len(parts) == 3 and parts[0] == "—".encode(), "signature line is malformed")
        name, raw = key_name(parts[1]), b64(parts[2])
        need(len(raw) >= 5, "signature is too short")
        return name, raw[:4], raw[4:]


# Policies: c2sp.org/tlog-policy.


class Policy:
    def __init__(self, b):
        need(len(b) <= 512 << 10, "policy is too large")
        self.logs, self.witnesses, self.groups, self.quorum, self.parent = [], {}, {}, None, {}
        for line in text_lines(b):
            need(not any(c < 0x20 and c != 9 or c == 0x7F for c in line), "policy has a control character")
            words = [w for w in re.split(rb"[ \t]+", line) if w]
            if words and not words[0].startswith(b"#"):
                self.statement(words[0], words[1:])
        need(self.quorum is not None, "policy has no quorum")
        self.check_operators()

    def statement(self, keyword, args):
        if keyword == b"log":
            need(len(args) in (1, 2) and len(self.logs) < 64, "log line is malformed, or one too many")
            self.logs.append(self.key(args[0], LOG))
        elif keyword == b"witness":
            need(len(args) in (2, 3) and len(self.witnesses) < 64, "witness line is malformed, or one too many")
            self.fresh(args[0])
            self.witnesses[args[0]] = self.key(args[1], WITNESS)
        elif keyword == b"group":
            need(len(args) >= 3 and len(self.groups) < 64, "group line is malformed, or one too many")
            name, members = args[0], args[2:]
            self.fresh(name)
            threshold = {b"all": len(members), b"any": 1}.get(args[1]) or num(args[1], 1)
            need(threshold <= len(members), "threshold is above the number of members")
            for m in members:
                need(m in self.witnesses or m in self.groups, "member is not defined")
                need(m not in self.parent, "member is in a group already")
                self.parent[m] = name
            self.groups[name] = (threshold, members)
        elif keyword == b"quorum":
            need(len(args) == 1 and self.quorum is None, "quorum is malformed, or a second one")
            self.quorum = args[0]
            need(self.quorum == b"none" or self.quorum in self.witnesses or self.quorum in self.groups, "quorum is not defined")
        else:
            raise Refused("unknown keyword")

    def fresh(self, name):
        need(name != b"none" and name not in self.witnesses and name not in self.groups, "name is taken")

    def key(self, vkey, role):
        k = Key(vkey)
        need(role in k.roles, "key is not of a type for its role")
        for other in [*self.logs, *self.witnesses.values()]:
            need(k.public != other.public, "public key appears twice")
            need((k.name, k.id) != (other.name, other.id), "name and key ID appear twice")
        return k

    def check_operators(self):
        by_operator = {}
        for name, k in self.witnesses.items():
            need(all(k.name != log.name for log in self.logs), "witness has the name of a log")
            by_operator.setdefault(k.name, []).append(name)
        for names in by_operator.values():
            parents = {self.parent.get(n) for n in names}
            together = len(parents) == 1 and None not in parents and self.groups[min(parents)][0] == 1
            need(len(names) == 1 or together, "one operator's keys are not in one group with any")

    def satisfied(self, have, name=None):
        name = self.quorum if name is None else name
        if name == b"none" and name == self.quorum:
            return True
        if name in self.witnesses:
            return name in have
        threshold, members = self.groups[name]
        return sum(self.satisfied(have, m) for m in members) >= threshold

    def verify(self, note):
        """The checkpoint, its cosignatures by name, and since when a quorum vouches."""
        c, signed, cosigned = Checkpoint(note), False, {}
        names = {(k.name, k.id): (k, name) for name, k in self.witnesses.items()}
        names |= {(k.name, k.id): (k, None) for k in self.logs if k.name == c.origin}
        for name, key_id, sig in c.sigs:
            k, witness = names.get((name, key_id), (None, None))
            if k is None:
                continue
            ok, time = k.verify(c, sig)
            need(ok, "a signature is false")
            if witness is None:
                signed = True
            elif time and witness not in cosigned:
                cosigned[witness] = time
        need(signed, "not signed by a log of the policy")
        have, since = set(), None
        for witness in sorted(cosigned, key=cosigned.get, reverse=True):
            if self.satisfied(have):
                break
            have.add(witness)
            since = cosigned[witness]
        need(self.satisfied(have), "cosigned by no quorum")
        return c, {w: cosigned[w] for w in self.witnesses if w in cosigned}, since


# Proofs: c2sp.org/tlog-proof, RFC 9162 section 2.1.3.2.


class Proof:
    def __init__(self, b):
        head, empty, self.note = b.partition(b"\n\n")
        need(empty, "proof has no checkpoint")
        lines = head.split(b"\n")
        need(lines.pop(0) == b"c2sp.org/tlog-proof@v1", "not a tlog-proof")
        self.extra = None
        if lines and lines[0].startswith(b"extra "):
            self.extra = b64(lines.pop(0)[6:])
            need(0 < len(self.extra) <= 16 << 10, "extra is empty or too large")
        need(lines and lines[0].startswith(b"index "), "proof has no index")
        self.index = num(lines.pop(0)[6:])
        self.hashes = [h32(line) for line in lines]
        need(len(self.hashes) <= 63, "proof has too many hashes")
        Checkpoint(self.note)

    def verify(self, policy):
        c, cosigned, since = policy.verify(self.note)
        fn, sn, r = self.index, c.size - 1, H(b"\0", self.extra)
        need(fn <= sn, "index is beyond the size")
        for p in self.hashes:
            need(sn, "proof has too many hashes")
            if fn & 1 or fn == sn:
                r = H(b"\1", p, r)
                while fn and not fn & 1:
                    fn, sn = fn >> 1, sn >> 1
            else:
                r = H(b"\1", r, p)
            fn, sn = fn >> 1, sn >> 1
        need(sn == 0 and r == c.root, "proof does not lead to the root")
        return c, cosigned, since


# Leaves: SPEC 2.1, and the keys of the index under which each stands: SPEC 2.5.

NAME = rb"[A-Za-z0-9\-._/:]{1,128}"
SOURCE = rb"[a-z0-9][a-z0-9\-._]{0,63}"
NONE = bytes(32)


def name(b):
    need(re.fullmatch(NAME, b), "name is malformed")
    return b


def source_id(b):
    need(re.fullmatch(SOURCE, b), "source is malformed")
    return b


def vkey(b):
    parts = b.split(b"+", 2)
    need(len(parts) == 3 and re.fullmatch(rb"[!-~]+", parts[0]), "vkey is malformed")
    raw = b64(parts[2])
    need(2 <= len(raw) and parts[1] == H(parts[0], b"\n", raw)[:4].hex().encode(), "vkey is empty, or of another ID")
    return b


def words(b, count):
    parts = b.split(b" ")
    need(len(parts) == count, "line has another number of values")
    return parts


class Lines:
    """The lines of a leaf, taken from the front."""

    def __init__(self, b):
        need(len(b) <= 16384, "leaf is too large")
        self.rest = text_lines(b)

    def whole(self):
        need(self.rest, "leaf lacks a line")
        return self.rest.pop(0)

    def has(self, key):
        return bool(self.rest) and self.rest[0].startswith(key + b" ")

    def take(self, key):
        need(self.has(key), "leaf lacks a line")
        return self.rest.pop(0)[len(key) + 1 :]

    def repeated(self, key, least, most, read):
        items = []
        while self.has(key):
            items.append(read(self.take(key)))
        need(least <= len(items) <= most, "leaf has too few or too many lines of a kind")
        ascending(items, "lines")
        return items

    def range(self):
        first, end = map(num, words(self.take(b"range"), 2))
        need(first < end, "range is empty")
        return first, end

    def tags(self, least):
        def tag(line):
            field, value = words(line, 2)
            need(num(field, 1) <= 32767, "field is out of range")
            return num(field), h32(value)

        tags = self.repeated(b"tag", least, 256, tag)
        need(sum(field == 2 for field, _ in tags) <= 250, "too many persons")
        return tags


class Leaf:
    def __init__(self, b):
        lines = Lines(b)
        need(lines.whole() == self.magic, "leaf is of another kind")
        self.read(lines)
        need(not lines.rest, "leaf has a line too many")

    def log_and_received(self, lines):
        self.log, self.received = name(lines.take(b"log")), num(lines.take(b"received"))


class Event(Leaf):
    magic = b"idlog-event/v1"

    def read(self, lines):
        self.log, self.source = name(lines.take(b"log")), source_id(lines.take(b"source"))
        self.received = num(lines.take(b"received"))
        need(lines.take(b"assurance") in (b"signed", b"pulled", b"pushed", b"unauthenticated"), "assurance is unknown")
        num(lines.take(b"keys"), 1)
        self.fields, self.tags = h32(lines.take(b"fields")), lines.tags(0)
        self.persons = [value for field, value in self.tags if field == 2]

    def under(self):
        return [*self.tags, (5, H(b"idlog/source/v1\0", self.source))]


class Subject(Leaf):
    magic = b"idlog-subject/v1"

    def read(self, lines):
        self.log_and_received(lines)
        num(lines.take(b"keys"), 1)
        self.named = []
        if lines.has(b"commit"):
            h32(lines.take(b"commit"))
            self.etags = [h32(lines.take(b"etag"))]
            return
        self.named = lines.repeated(b"link" if lines.has(b"link") else b"unlink", 2, 16, h32)
        h32(lines.take(b"fields"))
        self.etags = lines.repeated(b"etag", 2, 16, h32)

    def under(self):
        return [(0x8001, e) for e in self.etags] + [(0x8002, h) for h in self.named]


class Keys(Leaf):
    magic = b"idlog-keys/v1"

    def read(self, lines):
        def commit(line):
            field, source, commitment = words(line, 3)
            need(num(field, 1) <= 32767, "field is out of range")
            h32(commitment)
            return num(field), source_id(source)

        self.log_and_received(lines)
        num(lines.take(b"keys"), 1)
        h32(lines.take(b"vrf"))
        lines.repeated(b"commit", 0, 64, commit)

    def under(self):
        return [(0xFF02, NONE)]


class Erasure(Leaf):
    magic = b"idlog-erasure/v1"

    def read(self, lines):
        self.log_and_received(lines)
        h32(lines.take(b"fields"))
        self.range, self.enrolments, self.tags = None, [], []
        if lines.has(b"range"):
            self.range = lines.range()
        else:
            self.enrolments, self.tags = lines.repeated(b"enrolment", 1, 16, h32), lines.tags(1)

    def under(self):
        return [(0x8003, h) for h in self.enrolments] + self.tags + [(0xFF03, NONE)]


class Loss(Leaf):
    magic = b"idlog-loss/v1"

    def read(self, lines):
        self.log_and_received(lines)
        h32(lines.take(b"fields"))
        lines.range()

    def under(self):
        return [(0xFF03, NONE)]


class Shard(Leaf):
    magic = b"idlog-shard/v1"

    def read(self, lines):
        self.log_and_received(lines)
        kind = lines.whole()
        if kind == b"seal":
            name(lines.take(b"next"))
            lines.repeated(b"key", 1, 8, vkey)
            return
        need(kind == b"genesis", "shard is neither opened nor closed")
        name(lines.take(b"mapfn"))
        num(lines.take(b"keys"), 1)
        vkey(lines.take(b"ticket"))
        if lines.has(b"previous"):
            origin, size, root = words(lines.take(b"previous"), 3)
            name(origin), num(size), h32(root)
        if lines.has(b"reason"):
            name(lines.take(b"reason"))

    def under(self):
        return [(0xFF04, NONE)]


class Root(Leaf):
    magic = b"tlog-index-root/v1"

    def read(self, lines):
        self.origin, self.n, self.log_root = name(lines.whole()), num(lines.whole()), h32(lines.whole())
        need(lines.whole() == b"idlog-mapfn/1", "map function is unknown")
        self.keys, self.map_root = num(lines.whole()), h32(lines.whole())
        num(lines.whole())

    def under(self):
        return [(0xFF01, NONE)]


LEAVES = {c.magic: c for c in (Event, Subject, Keys, Erasure, Loss, Shard, Root)}


def parse_leaf(b):
    kind = LEAVES.get(b.partition(b"\n")[0])
    need(kind, "leaf is of no kind")
    return kind(b)


def map_key(field, value):
    return H(b"idlog/mapkey/v1\0", u(2, field), value)


def map_keys(entry):
    """MapFn: the keys under which an entry stands, ascending."""
    try:
        under = parse_leaf(entry).under()
    except Refused:
        under = [(0xFF00, NONE)]
    return sorted({map_key(*u) for u in under})


def check_family(leaf, checkpoint):
    shard = checkpoint.origin.removeprefix(leaf.log + b"/")
    need(shard != checkpoint.origin and shard and b"/" not in shard, "leaf is of another log")


# The verifiable index: SPEC 2.12.


class Tree:
    """A tree of RFC 6962 that grows to the right by perfect subtrees."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def append(self, hash, height=0):
        self.size += 1 << height
        while self.peaks and self.peaks[-1][0] == height:
            hash, height = H(b"\1", self.peaks.pop()[1], hash), height + 1
        self.peaks.append((height, hash))

    def fill(self, to, hashes):
        """Append the subtrees that make up the leaves up to `to`, and take them from hashes."""
        need(self.size <= to, "tree is larger already")
        while self.size < to:
            height = (to - self.size).bit_length() - 1
            if self.size:
                height = min(height, (self.size & -self.size).bit_length() - 1)
            need(hashes, "a hash is missing")
            self.append(hashes.pop(0), height)

    def root(self):
        if not self.peaks:
            return H()
        (_, hash), *others = reversed(self.peaks)
        for _, left in others:
            hash = H(b"\1", left, hash)
        return hash


def key_bit(key, depth):
    return key[depth // 8] >> (7 - depth % 8) & 1


def head_hash(n, root):
    return H(b"\5", u(8, n), root)


def map_root(heads):
    """The root of the map of keys to head hashes."""
    if not heads:
        return H(b"\4")
    if len(heads) == 1:
        ((key, head),) = heads.items()
        return H(b"\2", key, head)
    d = next(d for d in range(256) if len({key_bit(k, d) for k in heads}) == 2)
    left, right = ({k: h for k, h in heads.items() if key_bit(k, d) == side} for side in (0, 1))
    return H(b"\3", u(1, d), map_root(left), map_root(right))


def check_path(key, terminal, head, steps, root):
    """Whether the key is in the map. No terminal: the map is empty."""
    if terminal is None:
        need(not steps and root == map_root({}), "the map is not empty")
        return False
    h, above = H(b"\2", terminal, head), 256
    for depth, sibling in steps:
        need(0 <= depth < above, "depths do not descend")
        need(key_bit(key, depth) == key_bit(terminal, depth), "the key is not on the way to the terminal key")
        h, above = H(b"\3", u(1, depth), *((sibling, h) if key_bit(key, depth) else (h, sibling))), depth
    need(h == root, "the way does not lead to the map root")
    return terminal == key


def check_page(n, root, start, postings, left, right, size):
    """Whether those are the postings of the list (n, root), from number start on."""
    need(n >= 1 and start + len(postings) <= n, "page is outside of the list")
    ascending([i for i, _ in postings], "postings")
    need(all(0 <= i < size for i, _ in postings), "posting is of no entry of the index")
    tree, left, right = Tree(), list(left), list(right)
    tree.fill(start, left)
    for i, leaf in postings:
        tree.append(H(b"\0", u(8, i), leaf))
    tree.fill(n, right)
    need(not left and not right and tree.root() == root, "page is not of the list")


# Index proofs: SPEC 2.13.


class Answer:
    def __init__(self, query):
        self.field, self.value = num(query[0], 1), h32(query[1])
        need(self.field <= 65535, "field is out of range")
        self.key = map_key(self.field, self.value)
        self.terminal = self.head = self.n = None
        self.steps, self.postings = [], []  # a posting is index, leaf hash and entry or None

    def verify(self, root):
        present = check_path(self.key, self.terminal, self.head, self.steps, root.map_root)
        need(present == (self.n is not None), "answer says the contrary of its way")
        if not present:
            return
        postings = [(i, leaf) for i, leaf, _ in self.postings]
        check_page(self.n, self.root, self.start, postings, self.left, self.right, root.n)
        for _, _, entry in self.postings:
            need(entry is None or self.key in map_keys(entry), "entry does not belong under the key")

    def lines(self):
        query = b"query %d %s " % (self.field, base64.b64encode(self.value))
        if self.n is None:
            return [query + b"absent"]
        out = [query + b"present %d from %d" % (self.n, self.start)]
        for i, leaf, entry in self.postings:
            out.append(b"%s %d %s" % (b"posting" if entry is None else b"entry", i, base64.b64encode(leaf)))
        return out


class IndexProof:
    def __init__(self, b):
        need(len(b) <= 64 << 20, "index proof is too large")
        head, empty, self.note = b.partition(b"\n\n")
        need(empty, "index proof has no checkpoint")
        self.rest = [line.split(b" ") for line in head.split(b"\n")]
        need(self.rest.pop(0) == [b"tlog-index-proof/v1"], "not an index proof")
        self.answers, count = [], 0
        while self.next() == b"query":
            self.answers.append(self.answer())
            count += len(self.answers[-1].postings)
        need(1 <= len(self.answers) <= 4096 and count <= 131072, "no answers, or too many, or too many postings")
        ascending([(a.field, a.value) for a in self.answers], "queries")
        at, mode, root = self.take(b"root", 3)
        need(mode in (b"root", b"strict"), "mode is unknown")
        self.at, self.strict, self.root = num(at), mode == b"strict", b64(root)
        need(0 < len(self.root) <= 16384, "root leaf is empty or too large")
        self.hashes = self.repeated(b"hash")
        need(not self.rest, "index proof has a line too many")
        Checkpoint(self.note)

    def next(self):
        return self.rest[0][0] if self.rest else None

    def take(self, word, count):
        need(self.next() == word and len(self.rest[0]) == 1 + count, "index proof lacks a line")
        return self.rest.pop(0)[1:]

    def repeated(self, word):
        hashes = []
        while self.next() == word:
            hashes.append(h32(self.take(word, 1)[0]))
        return hashes

    def answer(self):
        a = Answer(self.take(b"query", 2))
        if self.next() == b"empty":
            self.take(b"empty", 0)
            return a
        present = self.next() == b"present"
        if present:
            self.take(b"present", 0)
            a.terminal = a.key
        else:
            a.terminal, a.head = map(h32, self.take(b"absent", 2))
            need(a.terminal != a.key, "an absent key is its own terminal key")
        while self.next() == b"step":
            depth, sibling = self.take(b"step", 2)
            a.steps.append((num(depth), h32(sibling)))
        depths = [d for d, _ in a.steps]
        ascending(depths[::-1], "depths from below")
        need(all(d <= 255 for d in depths), "depth is out of range")
        if present:
            n, root, start, count = self.take(b"list", 4)
            a.n, a.root, a.start, count = num(n), h32(root), num(start), num(count)
            need(count <= 131072, "too many postings")
            a.head, a.left = head_hash(a.n, a.root), self.repeated(b"left")
            a.postings = [self.posting() for _ in range(count)]
            a.right = self.repeated(b"right")
        return a

    def posting(self):
        if self.next() == b"entry":
            i, entry = self.take(b"entry", 2)
            entry = b64(entry)
            need(0 < len(entry) <= 65535, "entry is empty or too large")
            return num(i), H(b"\0", entry), entry
        i, leaf = self.take(b"posting", 2)
        return num(i), h32(leaf), None

    def verify(self, policy):
        """The lines of the verdict."""
        c, cosigned, since = policy.verify(self.note)
        root = Root(self.root)
        need(root.origin == c.origin, "root leaf is of another origin")
        need(root.n <= self.at < c.size, "root leaf stands in the wrong place")
        known = {}
        for a in self.answers if self.strict else []:
            for i, leaf, _ in a.postings:
                need(known.setdefault(i, leaf) == leaf, "two leaf hashes for one entry")
                need(i < root.n, "entry is beyond the root leaf's")
        tree, hashes = Tree(), list(self.hashes)
        for i in sorted(known):
            tree.fill(i, hashes)
            tree.append(known[i])
        tree.fill(root.n, hashes)
        need(tree.root() == root.log_root, "hashes do not give the root that the root leaf names")
        tree.fill(self.at, hashes)
        tree.append(H(b"\0", self.root))
        tree.fill(c.size, hashes)
        need(not hashes and tree.root() == c.root, "hashes do not give the checkpoint's root")
        for a in self.answers:
            a.verify(root)
        mode = b"strict" if self.strict else b"root"
        out = [b"log %s size %d" % (c.origin, c.size), b"root %d entries %d keys %d %s" % (self.at, root.n, root.keys, mode)]
        out += [b"witness %s at %d" % item for item in cosigned.items()]
        out.append(b"since " + (b"-" if since is None else b"%d" % since))
        return out + [line for a in self.answers for line in a.lines()]


# Disclosures: SPEC 2.2, 2.3, 2.7.

INT = rb"0|-?[1-9][0-9]{0,18}"
MANDATORY = {
    b"class.activity_id": b"i", b"class.class_uid": b"i", b"class.schema": b"s", b"mapper": b"s", b"outcome.status": b"e",
    b"schema": b"s", b"source.native_id": b"s", b"source.native_type": b"s", b"times.received": b"t",
}


def check_value(v):
    need(0 < len(v) <= 262144, "value is empty or too large")
    kind, data = v[:1], v[1:]
    if kind == b"s":
        try:
            data.decode()
        except UnicodeDecodeError:
            raise Refused("value is not UTF-8") from None
    elif kind in (b"i", b"t", b"e"):
        need(re.fullmatch(INT, data) and -(1 << 63) <= int(data) < 1 << 63, "value is no int64")
        need(kind != b"e" or int(data) >= 0, "enum is negative")
    elif kind == b"b":
        need(data in (b"0", b"1"), "value is no truth value")
    elif kind == b"h":
        need(len(data) == 40 and data[0] < 0x80, "value is no length and hash")
    else:
        need(kind == b"x", "value is of an unknown kind")


class Field:
    def __init__(self, line):
        parts = line.split(b" ")
        need(len(parts) >= 4, "line is malformed")
        self.path, owners, self.state, first, *last = parts
        need(len(self.path) <= 128, "path is too long")
        for segment in self.path.split(b"."):
            need(re.fullmatch(rb"[a-z][a-z0-9_]{0,31}|0|[1-9][0-9]{0,3}", segment), "path is malformed")
        self.owners = [] if owners == b"-" else [num(o) for o in owners.split(b",")]
        ascending(self.owners, "owners")
        need(all(o < 250 for o in self.owners), "owner is out of range")
        self.value = self.erased_at = None
        if self.state == b"withheld":
            need(not last, "line is malformed")
            self.commitment = h32(first)
        elif self.state == b"erased":
            need(len(last) == 1, "line is malformed")
            self.commitment, self.erased_at = h32(first), num(last[0])
        else:
            need(self.state == b"shown" and len(last) == 1, "line is malformed")
            salt, self.value = h32(first), b64(last[0])
            check_value(self.value)
            self.commitment = H(b"idlog/field/v1\0", salt, u(2, len(self.path)), self.path, u(4, len(self.value)), self.value)


def cut_proofs(b):
    """A proof has two empty lines; a third ends it."""
    while True:
        end = 0
        for _ in range(3):
            i = b.find(b"\n\n", end)
            if i < 0:
                yield b
                return
            end = i + 2
        need(end < len(b), "nothing follows the empty line")
        yield b[: end - 1]
        b = b[end:]


class Disclosure:
    def __init__(self, b):
        need(len(b) <= 8 << 20, "disclosure is too large")
        head, empty, rest = b.partition(b"\n\n")
        lines = head.split(b"\n")
        need(empty and lines.pop(0) == b"idlog-disclosure/v1", "not a disclosure with a proof")
        need(1 <= len(lines) <= 2048, "disclosure has no fields, or too many")
        self.fields = [Field(line) for line in lines]
        ascending([f.path for f in self.fields], "paths")
        self.proof, *self.erasures = [Proof(p) for p in cut_proofs(rest)]
        need(all(p.extra is not None for p in (self.proof, *self.erasures)), "proof has no leaf")
        ascending([p.index for p in self.erasures], "erasures")

    def verify(self, policy):
        event = Event(self.proof.extra)
        checkpoint, cosigned, since = self.proof.verify(policy)
        check_family(event, checkpoint)
        digest = b"".join(
            u(2, len(f.path)) + f.path + u(1, len(f.owners)) + bytes(f.owners) + f.commitment for f in self.fields
        )
        need(H(b"idlog/fields/v1\0", u(2, len(self.fields)), digest) == event.fields, "fields are not the leaf's")
        self.check_fields(event)
        for f in self.fields:
            if f.state == b"erased" and not self.erased(f, event, checkpoint, policy):
                f.state = b"withheld"
        return event, checkpoint, cosigned, since

    def check_fields(self, event):
        by_path = {f.path: f for f in self.fields}
        for f in self.fields:
            need(all(o < len(event.persons) for o in f.owners), "owner is no person of the event")
            if f.value is not None:
                need((f.value[:1] == b"h") == (f.path == b"raw"), "kind h stands not at raw alone")
        for path, kind in MANDATORY.items():
            need(path in by_path, "a mandatory field is missing")
            need(by_path[path].value is None or by_path[path].value[:1] == kind, "a mandatory field is of another kind")
        need(b"raw" not in by_path or b"raw_media_type" in by_path, "raw has no media type")
        schema, received = by_path[b"schema"].value, by_path[b"times.received"].value
        need(schema in (None, b"sidlog.event.v1"), "schema is unknown")
        need(received is None or int(received[1:]) // 10**9 == event.received, "times.received is not the leaf's")

    def erased(self, field, event, checkpoint, policy):
        for p in self.erasures:
            if p.index == field.erased_at:
                try:
                    erasure = Erasure(p.extra)
                    its_checkpoint, _, _ = p.verify(policy)
                    check_family(erasure, its_checkpoint)
                except Refused:
                    return False
                if erasure.log != event.log:
                    return False
                if erasure.range:
                    first, end = erasure.range
                    return its_checkpoint.origin == checkpoint.origin and first <= self.proof.index < end
                return any((2, event.persons[o]) in erasure.tags for o in field.owners)
        return False


# The program.


def judge(name, receipt, policy):
    """The lines of the verdict on a receipt that is verified."""
    policy = Policy(policy)
    if name.endswith(".tlog-index-proof"):
        return [b"verified", *IndexProof(receipt).verify(policy)]
    if name.endswith(".tlog-proof"):
        fields, proof = [], Proof(receipt)
        need(proof.extra is not None, "proof has no leaf")
        event = Event(proof.extra)
        checkpoint, cosigned, since = proof.verify(policy)
        check_family(event, checkpoint)
    else:
        d = Disclosure(receipt)
        event, checkpoint, cosigned, since = d.verify(policy)
        fields, proof = d.fields, d.proof
    out = [b"verified", b"log %s size %d" % (checkpoint.origin, checkpoint.size)]
    out.append(b"entry %d source %s received %d" % (proof.index, event.source, event.received))
    out += [b"witness %s at %d" % item for item in cosigned.items()]
    out.append(b"since " + (b"-" if since is None else b"%d" % since))
    return out + [b"field %s %s" % (f.path, f.state) for f in fields]


def accepted(parse, *args):
    try:
        parse(*args)
    except Refused:
        return False
    return True


def map_vectors(hold, mapfn, trie, data):
    """Hold MapFn and the index to mapfn.json and trie.json."""

    def raw(case, what):
        return base64.b64decode(case.get(what, ""))

    for k in mapfn["keys"]:
        hold("mapfn.json", f"field {k['field']}", map_key(k["field"], raw(k, "value")) == raw(k, "key"))
    for s in mapfn["sources"]:
        hold("mapfn.json", s["source"], H(b"idlog/source/v1\0", s["source"].encode()) == raw(s, "value"))
    for e in mapfn["entries"]:
        under = [(x["field"], raw(x, "value")) for x in e["under"]]
        want = [raw(x, "key") for x in e["under"]]
        hold("mapfn.json", e["name"], map_keys(data(e)) == want and [map_key(*x) for x in under] == want)

    def path(p, root):
        """Whether the key is present, or None if the path does not hold."""
        steps = [(s["depth"], raw(s, "sibling")) for s in p.get("steps", [])]
        try:
            return check_path(raw(p, "key"), raw(p, "terminal") if "terminal" in p else None, raw(p, "head"), steps, root)
        except Refused:
            return None

    for h in trie["heads"]:
        hold("trie.json", f"head {h['n']}", head_hash(h["n"], raw(h, "root")) == raw(h, "hash"))
    for m in trie["maps"]:
        root, lists, heads = raw(m, "root"), {}, {}
        for x in m["lists"]:
            lists[raw(x, "key")] = postings = [(p["index"], raw(p, "leaf")) for p in x["postings"]]
            tree = Tree()
            for i, leaf in postings:
                tree.append(H(b"\0", u(8, i), leaf))
            heads[raw(x, "key")] = head_hash(len(postings), tree.root())
            hold("trie.json", m["name"], tree.root() == raw(x, "root") and heads[raw(x, "key")] == raw(x, "hash"))
        hold("trie.json", m["name"], map_root(heads) == root)
        for p in m["paths"]:
            hold("trie.json", m["name"], path(p, root) == p["present"] == (raw(p, "key") in lists))
        for p in m["pages"]:
            postings, sides = lists[raw(p, "key")], [[base64.b64decode(h) for h in p.get(s, [])] for s in ("left", "right")]
            tree = Tree()
            for i, leaf in postings:
                tree.append(H(b"\0", u(8, i), leaf))
            page = postings[p["start"] : p["start"] + p["count"]]
            hold("trie.json", m["name"], accepted(check_page, len(postings), tree.root(), p["start"], page, *sides, m["size"]))
    for p in trie["refused"]:
        hold("trie.json", p["name"], path(p, raw(p, "root")) is None)


def vectors(directory):
    """Hold the parsers and the judgement to the vectors of the repository."""

    def read(file):
        with open(os.path.join(directory, file), encoding="utf-8") as f:
            return json.load(f)

    def data(case):
        return base64.b64decode(case["bytes"]) if "bytes" in case else case.get("input", "").encode()

    wrong = count = 0

    def hold(file, name, good):
        nonlocal wrong, count
        count += 1
        if not good:
            wrong += 1
            print(f"{file}: {name}: judged otherwise")

    parsers = {"checkpoint.json": Checkpoint, "policy.json": Policy, "proof.json": Proof, "leaf.json": parse_leaf}
    for file, parse in {**parsers, "index-proof.json": IndexProof}.items():
        for case in read(file):
            hold(file, case["name"], accepted(parse, data(case)) == case["accept"])
    for case in read("index-verify.json"):
        said = None
        try:
            said = [line.decode() for line in IndexProof(data(case)).verify(Policy(case["policy"].encode()))]
        except Refused:
            pass
        hold("index-verify.json", case["name"], said == case.get("verdict"))
    map_vectors(hold, read("mapfn.json"), read("trie.json"), data)
    for case in read("disclosure-verify.json"):
        states = None
        try:
            d = Disclosure(data(case))
            d.verify(Policy(case["policy"].encode()))
            states = {f.path.decode(): f.state.decode() for f in d.fields if f.state != b"shown"}
        except Refused:
            pass
        hold("disclosure-verify.json", case["name"], states == (case.get("states", {}) if case["accept"] else None))
    print(f"{count} vectors, {wrong} judged otherwise")
    return 1 if wrong else 0


def main(args):
    if len(args) == 2 and args[0] == "--vectors":
        return vectors(args[1])
    if len(args) != 2 or not args[0].endswith((".tlog-proof", ".idlog-disclosure", ".tlog-index-proof")):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(args[0], "rb") as receipt, open(args[1], "rb") as policy:
            out = judge(args[0], receipt.read(), policy.read())
    except OSError as e:
        print(e, file=sys.stderr)
        return 2
    except Refused as e:
        print(f"refused: {e}")
        return 3
    sys.stdout.buffer.write(b"\n".join(out) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
