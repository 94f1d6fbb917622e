"""A root says which leaves there are and in which order; nothing else has it."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.merkle import (
    EMPTY_ROOT,
    Inclusion,
    MerkleTree,
    inclusion_of,
    is_included,
    leaf_hash,
    node_hash,
    root_of,
)

# Certificate Transparency's own test vectors (RFC 9162 has the same tree as RFC 6962): leaves, and the root over the first n.
LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
LEAVES.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def plain_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 9162 (2.1.1), word by word."""
    if len(leaves) < 2:
        return leaf_hash(leaves[0]) if leaves else sha256(b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(plain_root(leaves[:split]), plain_root(leaves[split:]))


@pytest.mark.parametrize("count", ROOTS)
def test_the_roots_are_those_of_certificate_transparency(count: int) -> None:
    assert root_of(LEAVES[:count]).hex() == ROOTS[count]


@given(leaves=st.lists(st.binary(max_size=3), max_size=70), cut=st.integers(0, 70))
def test_a_tree_that_grows_in_pieces_is_the_tree_of_the_definition(leaves: list[bytes], cut: int) -> None:
    hashes = [leaf_hash(leaf) for leaf in leaves]
    tree = MerkleTree()
    tree.add(b"".join(hashes[:cut]))

    grown = MerkleTree(count=tree.count, peaks=tree.peaks)
    grown.add(b"".join(hashes[cut:]))

    assert grown.root() == plain_root(leaves)
    assert grown.count == len(leaves)


@given(count=st.integers(1, 70), data=st.data())
def test_a_leaf_is_included_at_its_place_and_at_no_other(count: int, data: st.DataObject) -> None:
    leaves = [bytes([number]) for number in range(count)]
    hashes, root = [leaf_hash(leaf) for leaf in leaves], root_of(leaves)
    index, other = (data.draw(st.integers(0, count - 1)) for _ in range(2))
    found = inclusion_of(index=index, count=count, hashes=hashes)

    assert is_included(leaf=hashes[index], inclusion=found, root=root)
    assert is_included(leaf=hashes[index], inclusion=Inclusion(other, count, found.path), root=root) == (other == index)
    assert not is_included(leaf=leaf_hash(b"another"), inclusion=found, root=root)
    assert (
        not is_included(leaf=hashes[index], inclusion=Inclusion(index, count, found.path[1:]), root=root) or count == 1
    )


def test_a_node_is_no_leaf_so_that_an_inner_part_of_the_tree_cannot_stand_for_an_event() -> None:
    one, two = leaf_hash(b"one"), leaf_hash(b"two")

    assert root_of([one + two]) != root_of([b"one", b"two"])
    assert sha256(one + two).digest() != root_of([b"one", b"two"])


def test_the_last_leaf_twice_is_another_tree() -> None:
    assert root_of([b"a", b"b", b"c"]) != root_of([b"a", b"b", b"c", b"c"])


def test_no_leaf_at_all_has_a_root_of_its_own() -> None:
    assert root_of([]) == EMPTY_ROOT != root_of([b""])
