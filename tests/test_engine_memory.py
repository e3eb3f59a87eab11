"""Memory that was given back is used again, and never while anything still refers to it."""

import gc

import numpy as np
import pytest
import torch

from snn_helpers.engine.cpu.memory import LINE, SMALL, Stock, empty


@pytest.fixture
def stock():
    return Stock(limit=4 * SMALL)


def kept_bytes(stock):
    return sum(size * len(buffers) for size, buffers in stock.kept.items())


def test_memory_comes_back_when_the_last_view_of_a_tensor_is_gone(stock):
    tensor = torch.from_numpy(stock.take((SMALL // 4,), np.float32))
    address, view = tensor.data_ptr(), tensor.view(2, -1)[1].numpy()
    del tensor
    gc.collect()
    other = torch.from_numpy(stock.take((SMALL // 4,), np.float32))
    assert other.data_ptr() != address
    del view
    gc.collect()
    assert kept_bytes(stock) == SMALL
    again = stock.take((2, SMALL // 2), np.uint8)
    assert again.ctypes.data == address
    assert again.shape == (2, SMALL // 2)
    assert kept_bytes(stock) == 0


def test_small_arrays_are_not_kept(stock):
    stock.take((SMALL - 1,), np.uint8)
    assert stock.kept == {}


def test_no_more_is_kept_than_the_limit_and_sizes_out_of_use_go(stock):
    for size in (SMALL, SMALL + 1, SMALL + 2):
        stock.take((size,), np.uint8)
    assert len(stock.kept) == 3
    stock.take((SMALL + 3,), np.uint8)
    assert [*stock.kept] == [SMALL + 3]
    stock.take((5 * SMALL,), np.uint8)
    assert kept_bytes(stock) <= stock.limit


@pytest.mark.parametrize("shape", [(3,), (2, 0, 5), (SMALL, 2)])
def test_tensors_start_on_a_cache_line(shape):
    tensor = empty(*shape)
    assert tensor.shape == shape
    assert tensor.dtype == torch.float32
    assert tensor.data_ptr() % LINE == 0 or tensor.numel() == 0
