"""Merkle trees as RFC 9162 (2.1) has them: SHA-256, leaves and nodes told apart, no leaf counted twice.

A leaf is SHA-256(0x00 || bytes), a node SHA-256(0x01 || left || right), the empty tree SHA-256 of nothing. A tree of n leaves
splits at the largest power of two below n, so that it grows at its end from one hash per set bit of n.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
LEAF = b"\x00"
NODE = b"\x01"
EMPTY_ROOT = sha256(b"").digest()


@dataclass(frozen=True)
class Inclusion:
    """The place of a leaf among so many, and the hashes beside its way up to the root, lowest first."""

    index: int
    count: int
    path: tuple[bytes, ...]


class MerkleTree:
    """A tree that grows leaf by leaf and keeps only its peaks: the roots of its whole subtrees, largest first."""

    def __init__(self, *, count: int = 0, peaks: bytes = b"") -> None:
        assert len(peaks) == HASH_BYTES * count.bit_count(), f"{count} leaves have {count.bit_count()} peaks"
        self.count = count
        self._peaks = [peaks[place : place + HASH_BYTES] for place in range(0, len(peaks), HASH_BYTES)]

    @property
    def peaks(self) -> bytes:
        """All that it takes to grow the tree further, beside `count`."""
        return b"".join(self._peaks)

    def add(self, hashes: bytes) -> None:
        """Add leaves by their hashes, one after another."""
        assert len(hashes) % HASH_BYTES == 0, "hashes of leaves have 32 bytes each"
        place, left = 0, len(hashes) // HASH_BYTES
        while left:
            # The largest subtree that is whole with what is given, and stands on a multiple of its size.
            size = 1 << (left.bit_length() - 1)
            if self.count:
                size = min(size, self.count & -self.count)
            end = place + size * HASH_BYTES
            self._add_whole(_root_of_whole(hashes[place:end]), size=size)
            place, left = end, left - size

    def root(self) -> bytes:
        """Return the hash over all leaves in their order."""
        if not self._peaks:
            return EMPTY_ROOT
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = node_hash(peak, node)
        return node

    def _add_whole(self, node: bytes, *, size: int) -> None:
        place = self.count // size
        while place & 1:
            node = node_hash(self._peaks.pop(), node)
            place >>= 1
        self._peaks.append(node)
        self.count += size


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(LEAF + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over two others."""
    return sha256(NODE + left + right).digest()


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over some leaves, given as their bytes."""
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf_hash(leaf))
    return tree.root()


def inclusion_of(*, index: int, count: int, hashes: Iterable[bytes]) -> Inclusion:
    """Return the way from one of `count` leaves to the root; `hashes` are those of all leaves, read once.

    Raises ValueError where there are not so many.
    """
    assert 0 <= index < count, f"there is no leaf {index} of {count}"
    spans = _beside(index, count)
    # Each subtree beside the way is a run of leaves: together they hold every leaf but the one.
    waiting = sorted((first, end, MerkleTree()) for first, end in spans)
    trees = {first: tree for first, _, tree in waiting}
    found = 0
    for place, leaf in enumerate(hashes):
        found += 1
        while waiting and place >= waiting[0][1]:
            waiting.pop(0)
        if waiting and place >= waiting[0][0]:
            waiting[0][2].add(leaf)
    if found != count:
        raise ValueError(f"there are {found} leaves, not {count}")
    return Inclusion(index=index, count=count, path=tuple(trees[first].root() for first, _ in spans))


def is_included(*, leaf: bytes, inclusion: Inclusion, root: bytes) -> bool:
    """Say whether a leaf, by its hash, stands at its place of a tree with that root (RFC 9162, 2.1.3.2)."""
    index, last, node = inclusion.index, inclusion.count - 1, leaf
    if not 0 <= index <= last:
        return False
    for beside in inclusion.path:
        if last == 0:
            return False
        if index & 1 or index == last:
            node = node_hash(beside, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, beside)
        index, last = index >> 1, last >> 1
    return last == 0 and node == root


def _beside(index: int, count: int) -> Sequence[tuple[int, int]]:
    """Return the runs of leaves, [first, end), under the nodes beside the way of a leaf, lowest first."""
    spans: list[tuple[int, int]] = []
    first, end = 0, count
    while end - first > 1:
        middle = first + (1 << ((end - first - 1).bit_length() - 1))
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((first, middle))
            first = middle
    return spans[::-1]


def _root_of_whole(level: bytes) -> bytes:
    """Return the root over a power of two of nodes."""
    while len(level) > HASH_BYTES:
        level = b"".join(
            sha256(NODE + level[place : place + 2 * HASH_BYTES]).digest()
            for place in range(0, len(level), 2 * HASH_BYTES)
        )
    return level
