"""Random numbers by counters: the published ones, the same by every way, and uniform."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.counters import keys_of, plain_uniforms, rounds, uniforms
from evoopt.training.native import cuda, cuda_philox, philox
from tests.chance import uniform

from .cuda_on_cpu import compile_for_a_gpu, launch

CPU = torch.device("cpu")
KEYS = keys_of([0, 5, 2**63 - 1, 2**40 + 3], CPU)
SOURCE = cuda.source("philox", torch.float32, cuda_philox.BEFORE)


def by_cuda_on_cpu(keys: Tensor, step: int | Tensor, tensor: int, shape: tuple[int, ...]) -> Tensor:
    out, how = cuda_philox.launch(keys, step, tensor, shape)
    out.fill_(-1)
    if out.numel():
        launch(SOURCE, "uniforms", how)
    return out


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_the_words_are_those_that_are_published_with_it(
    counter: list[int], key: list[int], words: list[int]
) -> None:
    found = rounds([torch.tensor(n) for n in counter], [torch.tensor(n) for n in key])
    assert [int(word) for word in found] == words


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (4, 1), (5, 7), (33, 2, 16), (3000,)], ids=str)
@pytest.mark.parametrize("keys", [KEYS, KEYS[:1], KEYS[:0]], ids=len)
def test_every_way_gives_the_same_bits(keys: Tensor, shape: tuple[int, ...]) -> None:
    expected = plain_uniforms(keys, 2**31 - 1, 3, shape)
    assert expected.shape == (len(keys), *shape)
    for way in (uniforms, philox.uniforms, by_cuda_on_cpu):
        assert torch.equal(way(keys, 2**31 - 1, 3, shape), expected)
    on_device = torch.tensor([2**31 - 1])
    for by_tensor in (uniforms, by_cuda_on_cpu):
        assert torch.equal(by_tensor(keys, on_device, 3, shape), expected)


def test_a_number_depends_on_its_key_and_place_alone() -> None:
    place = 7, 1, (20, 50)
    whole = uniforms(KEYS, *place)
    assert torch.equal(uniforms(KEYS[2:3], *place)[0], whole[2])
    assert torch.equal(uniforms(KEYS, 7, 1, (11,)), whole.flatten(1)[:, :11])
    others = [
        whole[1],
        whole[2],
        uniforms(KEYS[:1], 8, 1, place[2])[0],
        uniforms(KEYS[:1], 7, 2, place[2])[0],
    ]
    for other in others:
        assert (other == whole[0]).float().mean() < 0.01


def test_numbers_are_uniform_and_never_one() -> None:
    drawn = uniforms(keys_of(range(40), CPU), 3, 0, (250,))
    assert 0 <= float(drawn.min()) < float(drawn.max()) < 1
    assert uniform(drawn.flatten().tolist(), 0, 1)
    neighbours = torch.corrcoef(torch.stack([drawn.flatten()[:-1], drawn.flatten()[1:]]))
    assert abs(float(neighbours[0, 1])) < 0.05


@pytest.mark.parametrize(
    ("keys", "step", "shape"),
    [
        (KEYS.int(), 0, (3,)),
        (KEYS[None], 0, (3,)),
        (KEYS.expand(2, 4).T[:, 0][::2], 0, (3,)),
        (KEYS, 0, (2**31,)),
        (KEYS, -1, (3,)),
        (KEYS, torch.tensor([0, 1]), (3,)),
        (KEYS, torch.tensor([0.0]), (3,)),
    ],
    ids=["type", "dimensions", "not contiguous", "too many", "negative step", "two steps", "type of step"],
)
def test_what_does_not_fit_is_refused_before_anything_is_launched(
    keys: Tensor, step: int | Tensor, shape: tuple[int, ...]
) -> None:
    with pytest.raises(EvooptError, match=r"must be|too many"):
        cuda_philox.launch(keys, step, 0, shape)


def test_it_compiles_for_a_gpu_where_torch_brings_a_compiler() -> None:
    compile_for_a_gpu(SOURCE, "uniforms")


@pytest.mark.cuda
def test_a_device_draws_the_same_bits() -> None:
    keys = KEYS.cuda()
    assert cuda_philox.suits(keys)
    for way in (uniforms, plain_uniforms):
        drawn = way(keys, 11, 1, (33, 7))
        assert drawn.is_cuda
        assert torch.equal(drawn.cpu(), uniforms(KEYS, 11, 1, (33, 7)))
