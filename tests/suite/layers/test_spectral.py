"""DiffStride, fixed spectral and Hartley pooling against golden vectors (tests/golden) and their definition."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.utils.flop_counter import FlopCounterMode

from suite.layers.spectral import DiffStride, FixedSpectralPool, HartleyPool, project_strides

Case = dict[str, np.ndarray]

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "diffstride": lambda: DiffStride((2.0, 2.3)),
    "diffstride, shared": lambda: DiffStride(2.0, shared=True),
    "diffstride, no cropping": lambda: DiffStride((2.0, 3.7), smoothness=2.0, cropping=False),
    "fixed": lambda: FixedSpectralPool((2.0, 2.3)),
    "hartley": lambda: HartleyPool((2.0, 2.3)),
}
SIZES = [(16, 16), (15, 17), (17, 15), (12, 21), (9, 16)]


def golden(name: str) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    with np.load(Path(__file__).parents[2] / "golden" / f"golden_{name}.npz") as arrays:
        for key in arrays.files:
            case, array = key.rsplit("/", 1)
            cases.setdefault(case, {})[array] = arrays[key]
    return cases


DIFFSTRIDE, FIXED, HARTLEY = golden("diffstride"), golden("fixed_spectral"), golden("hartley")


def nchw(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.transpose(0, 3, 1, 2).copy())


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Section 5: rtol and an atol relative to the largest value."""
    assert actual.shape == expected.shape
    largest = expected.detach().abs().max().item()
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * largest)


def run(layer: nn.Module, x: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Output and input gradient of sum(output * weights)."""
    x = x.detach().clone().requires_grad_()
    y = layer(x)
    ((y if weights is None else y * weights).sum()).backward()
    assert x.grad is not None
    return y.detach(), x.grad


def layer_of(case: Case) -> DiffStride:
    upper = case.get("upper_limit_stride")
    return DiffStride(
        tuple(case["strides_init"].tolist()),
        float(case["smoothness_factor"]),
        bool(case["cropping"]),
        bool(case["shared_stride"]),
        float(case.get("lower_limit_stride", 1.0)),
        None if upper is None else float(upper),
    )


def hartley_to(x: Tensor, size: tuple[int, int]) -> HartleyPool:
    """The layer that takes `x` to `size`: its stride lies well within those that do."""
    height, width = (max(1.0, side / (out + 0.5)) for side, out in zip(x.shape[-2:], size, strict=True))
    return HartleyPool((height, width))


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> nn.Module:
    return LAYERS[request.param]()


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


class TestGolden:
    def test_all_cases_are_there(self) -> None:
        assert (len(DIFFSTRIDE), len(FIXED), len(HARTLEY)) == (10, 5, 4)

    @pytest.mark.parametrize("name", DIFFSTRIDE)
    def test_diffstride(self, name: str) -> None:
        case = DIFFSTRIDE[name]
        layer = layer_of(case)
        y, grad_input = run(layer, nchw(case["input"]), nchw(case["w"]))
        assert_close(y, nchw(case["output"]))
        assert_close(grad_input, nchw(case["grad_input"]))
        assert layer.strides.grad is not None
        expected = torch.from_numpy(case["grad_strides"])
        torch.testing.assert_close(layer.strides.grad, expected, rtol=1e-4, atol=1e-7)
        # The original keeps the variable unclipped beside the clipped value that it uses.
        used = np.broadcast_to(case["strides"].clip(layer.lower, layer.upper), 2)
        assert layer.effective_strides == pytest.approx(tuple(used), rel=1e-7)

    @pytest.mark.parametrize("name", FIXED)
    def test_fixed(self, name: str) -> None:
        case = FIXED[name]
        layer = FixedSpectralPool(tuple(case["strides_init"].tolist()))
        y, grad_input = run(layer, nchw(case["input"]), nchw(case["w"]))
        assert_close(y, nchw(case["output"]))
        assert_close(grad_input, nchw(case["grad_input"]))

    @pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-13)])
    @pytest.mark.parametrize("name", HARTLEY)
    def test_hartley(self, name: str, dtype: torch.dtype, tolerance: float) -> None:
        case = HARTLEY[name]
        x, weights = nchw(case["input"]).to(dtype), nchw(case["w"]).to(dtype)
        layer = hartley_to(x, tuple(case["out_size"].tolist()))
        y, grad_input = run(layer, x, weights)
        assert_close(y, nchw(case["output"]).to(dtype), tolerance)
        assert_close(grad_input, nchw(case["grad_input"]).to(dtype), tolerance)
        constant = layer(torch.full_like(x, 1.7))
        assert_close(constant, nchw(case["const_input_1p7_output"]).to(dtype), tolerance)


class TestDefinition:
    """The text of docs/papers.md, section 3, written out with numpy."""

    @pytest.mark.parametrize("size", [*SIZES, (32, 28), (7, 11)])
    @pytest.mark.parametrize("strides", [(1.0, 1.0), (2.0, 2.0), (1.3, 4.9), (30.0, 2.5)])
    @pytest.mark.parametrize("cropping", [True, False])
    def test_diffstride_in_numpy(self, size: tuple[int, int], strides: tuple[float, float], cropping: bool) -> None:
        height, width = size
        smoothness = 3.5
        x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        used = [max(s, n / (n - smoothness)) for s, n in zip(strides, size, strict=True)]
        rows = [i + height % 2 if i < height // 2 else height - 1 - i for i in range(height)]
        reach = [smoothness + max(height / used[0], 2) / 2, smoothness + max(width / used[1], 2) / 2 + 1]
        row_mask = ((reach[0] - np.array(rows)) / smoothness).clip(0, 1)
        column_mask = ((reach[1] - np.arange(width // 2 + 1)) / smoothness).clip(0, 1)
        spectrum = np.fft.rfft2(x.numpy()) * np.outer(row_mask, column_mask)
        if cropping:
            spectrum = spectrum[..., row_mask > 0, :][..., column_mask > 0]
        expected = torch.from_numpy(np.fft.irfft2(spectrum))
        layer = DiffStride(strides, smoothness, cropping).double()
        assert_close(layer(x), expected, 1e-7)  # the initial strides are float32
        if cropping:
            kept = [math.ceil(reach[0]), math.ceil(reach[1])]
            even, odd = 2 * min(height // 2, kept[0]), min(height // 2, kept[0] - 1) + min(height // 2 + 1, kept[0])
            assert expected.shape[-2:] == (odd if height % 2 else even, 2 * (min(width // 2 + 1, kept[1]) - 1))

    @pytest.mark.parametrize("size, out", [((15, 17), (8, 6)), ((16, 12), (16, 5)), ((8, 9), (1, 9)), ((6, 6), (5, 6))])
    def test_hartley_in_numpy(self, size: tuple[int, int], out: tuple[int, int]) -> None:
        def hartley(a: np.ndarray) -> np.ndarray:
            transform = np.fft.fft2(a)
            return transform.real - transform.imag

        x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        centred = np.fft.fftshift(hartley(x.numpy()), axes=(-2, -1))
        top, left = (n // 2 - m // 2 for n, m in zip(size, out, strict=True))
        kept = np.fft.ifftshift(centred[..., top : top + out[0], left : left + out[1]], axes=(-2, -1))
        y = hartley_to(x, out)(x)
        assert_close(y, torch.from_numpy(hartley(kept) / math.prod(size)), 1e-12)
        assert_close(y.mean((-2, -1)), x.mean((-2, -1)), 1e-12)

    def test_odd_hartley_pooling_is_fourier_cropping(self) -> None:
        x = torch.randn(1, 2, 14, 15)
        spectrum = torch.fft.rfft2(x)[..., :4]
        kept = torch.cat([spectrum[..., :3, :], spectrum[..., -2:, :]], dim=-2)
        assert_close(hartley_to(x, (5, 7))(x), torch.fft.irfft2(kept, s=(5, 7)) * 5 * 7 / (14 * 15))

    def test_a_constant_grows_by_the_ratio_of_areas(self) -> None:
        y = DiffStride(2.0)(torch.full((1, 1, 32, 32), 3.0))
        assert_close(y, torch.full((1, 1, 24, 24), 3.0 * 32 * 32 / (24 * 24)))
        assert_close(FixedSpectralPool(2)(torch.ones(1, 1, 32, 32)), torch.full((1, 1, 16, 16), 4.0))

    @pytest.mark.parametrize("layer", [FixedSpectralPool(1), HartleyPool(1)])
    def test_nothing_to_crop_is_the_identity(self, layer: nn.Module) -> None:
        x = torch.randn(2, 3, 16, 16)
        assert torch.equal(layer(x), x)

    def test_stride_1_keeps_the_size_of_even_maps_but_still_masks(self) -> None:
        x = torch.randn(2, 3, 16, 16)
        layer = DiffStride(1.0)
        assert layer(x).shape == x.shape and not torch.allclose(layer(x), x, atol=1e-2)
        assert layer.effective_strides == pytest.approx((16 / 12, 16 / 12))
        assert FixedSpectralPool(1)(torch.randn(1, 1, 15, 17)).shape == (1, 1, 14, 17)  # even downward, rows alone

    def test_sizes_of_the_published_network(self) -> None:
        sizes = [32]
        for stride in (1.0, 2.0, 2.0, 2.0):  # docs/papers.md, section 3: first row
            sizes.append(DiffStride(stride)(torch.zeros(1, 1, sizes[-1], sizes[-1])).shape[-1])
        assert sizes[1:] == [32, 24, 20, 18]


class TestGradients:
    @pytest.mark.parametrize("size", [(8, 8), (7, 9), (9, 6)])
    @pytest.mark.parametrize("name", LAYERS)
    def test_gradcheck(self, name: str, size: tuple[int, int]) -> None:
        torch.manual_seed(0)
        layer = LAYERS[name]().double()
        x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
        assert gradcheck(layer, (x,))

    @pytest.mark.parametrize("cropping", [True, False])
    @pytest.mark.parametrize("shared", [True, False])
    def test_gradcheck_of_the_strides(self, shared: bool, cropping: bool) -> None:
        torch.manual_seed(0)
        layer = DiffStride(2.3, smoothness=2.0, shared=shared, cropping=cropping).double()
        with torch.no_grad():  # away from the kinks and from the limits
            layer.strides.copy_(torch.tensor([2.3] if shared else [2.37, 2.71]))
        x = torch.randn(2, 2, 13, 14, dtype=torch.float64)

        def of_strides(strides: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(layer, {"strides": strides}, (x,))
            return out

        assert gradcheck(of_strides, (layer.strides,))

    def test_two_uses_of_one_layer_add_their_stride_gradients(self) -> None:
        torch.manual_seed(0)
        main, shortcut = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
        layer = DiffStride(2.0)
        apart = []
        for x in (main, shortcut):
            layer(x).square().sum().backward()
            apart.append(layer.strides.grad)
            layer.strides.grad = None
        (layer(main).square().sum() + layer(shortcut).square().sum()).backward()
        torch.testing.assert_close(layer.strides.grad, apart[0] + apart[1])

    def test_an_input_without_gradient(self) -> None:
        x = torch.randn(2, 3, 16, 16)
        layer, again = DiffStride(2.0), DiffStride(2.0)
        layer(x).square().sum().backward()
        again(x.clone().requires_grad_()).square().sum().backward()
        one, other = layer.strides.grad, again.strides.grad
        assert one is not None and other is not None and torch.equal(one, other)

    def test_a_frozen_stride_gets_none(self) -> None:
        layer = DiffStride(2.0).requires_grad_(False)
        _, grad = run(layer, torch.randn(1, 2, 16, 16))
        assert grad.abs().sum() > 0 and layer.strides.grad is None

    def test_the_effective_stride_is_differentiable_for_a_penalty(self) -> None:
        layer = DiffStride((1.0, 4.0))
        (1 / layer.strides_for(16, 16).prod()).backward()
        assert layer.strides.grad is not None
        minimum = 16 / 12
        assert layer.strides.grad.tolist() == pytest.approx([-1 / (minimum**2 * 4), -1 / (minimum * 16)])

    def test_second_derivatives_are_refused(self, layer: nn.Module) -> None:
        x = torch.randn(1, 1, 16, 16, requires_grad=True)
        (grad,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            grad.sum().backward()


class TestStrides:
    def test_learned_strides_stay_within_their_limits(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(DiffStride((1.6, 2.9), lower=1.5, upper=3.0), DiffStride(2.0, shared=True))
        optimizer = torch.optim.SGD(model.parameters(), lr=100.0)
        optimizer.register_step_post_hook(lambda *_: project_strides(model))
        moved = set()
        for step in range(8):
            optimizer.zero_grad()
            sign = 1 if step % 2 else -1
            (sign * model(torch.randn(2, 3, 24, 24)).square().mean()).backward()
            optimizer.step()
            first, second = model[0].strides, model[1].strides
            assert first.min() >= 1.5 and first.max() <= 3.0 and second.min() >= 1.0
            assert all(1.5 <= stride <= 3.0 for stride in model[0].effective_strides)
            moved |= set(first.tolist())
        assert {1.5, 3.0} <= moved  # they did run into both limits

    def test_at_a_limit_the_gradient_passes_beyond_it_stops(self) -> None:
        torch.manual_seed(0)
        x = torch.randn(2, 3, 32, 32)
        at, beyond = DiffStride((2.0, 3.0), lower=2.0, upper=3.0), DiffStride((1.5, 3.7), lower=2.0, upper=3.0)
        for layer in (at, beyond):
            layer(x).square().sum().backward()
            assert layer.effective_strides == (2.0, 3.0)
        assert at.strides.grad.abs().min() > 0 and beyond.strides.grad.tolist() == [0, 0]

    def test_a_small_input_does_not_change_the_layer(self) -> None:
        x = torch.randn(1, 1, 32, 32)
        layer = DiffStride(1.2)
        before = layer(x)
        layer(torch.randn(1, 1, 6, 8))
        assert layer.effective_strides == pytest.approx((3.0, 2.0))
        assert torch.equal(layer.strides, torch.tensor([1.2, 1.2])) and torch.equal(layer(x), before)

    def test_shared_takes_the_larger_minimum(self) -> None:
        layer = DiffStride(1.0, shared=True)
        layer(torch.randn(1, 1, 8, 32))
        assert layer.strides.shape == (1,) and layer.effective_strides == (2.0, 2.0)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_diverged_strides_do_not_crash(self, value: float) -> None:
        layer = DiffStride(2.0)
        with torch.no_grad():
            layer.strides.fill_(value)
        y, _ = run(layer, torch.randn(1, 1, 16, 16))
        assert y.isnan().all() == math.isnan(value)


class TestArguments:
    @pytest.mark.parametrize(
        "build, message",
        [
            (lambda: DiffStride(0.5), "strides have to be one or two numbers of at least 1, got 0.5"),
            (lambda: DiffStride((2.0, math.nan)), "at least 1"),
            (lambda: DiffStride((2.0, 2.0, 2.0)), "one or two numbers"),  # type: ignore[arg-type]
            (lambda: DiffStride(2.0, smoothness=0.0), "smoothness has to be a positive number, got 0"),
            (lambda: DiffStride((2.0, 3.0), shared=True), "a shared stride needs equal initial values"),
            (lambda: DiffStride(2.0, lower=0.5), "the lower limit of a stride has to be at least 1, got 0.5"),
            (lambda: DiffStride(2.0, lower=3.0, upper=2.0), "the upper limit 2.0 is below the lower limit 3.0"),
            (lambda: FixedSpectralPool(0.9), "FixedSpectralPool: strides have to be"),
            (lambda: HartleyPool(0), "HartleyPool: strides have to be"),
            (lambda: DiffStride(2.0)(torch.zeros(1, 1, 4, 8)), "a 4x8 map is too small.*larger than the smoothness 4"),
            (lambda: DiffStride(2.0, 0.5)(torch.zeros(1, 1, 4, 1)), "the width at least 2"),
            (lambda: FixedSpectralPool(2)(torch.zeros(1, 1, 1, 4)), "a 1x4 map is too small"),
            (lambda: HartleyPool(2)(torch.zeros(1, 1, 8, 1)), "a 8x1 map is too small to shrink"),
            (lambda: HartleyPool(2)(torch.zeros(8, 8)), r"takes a floating-point \(batch"),
            (lambda: DiffStride(2.0)(torch.zeros(1, 1, 8, 8, dtype=torch.int64)), "got torch.int64"),
        ],
    )
    def test_illegal_ones_are_refused_with_a_sentence(self, build: Callable[[], object], message: str) -> None:
        with pytest.raises(ValueError, match=message) as refused:
            build()
        assert "\n" not in str(refused.value)


class TestExecution:
    @pytest.mark.parametrize("size", SIZES)
    def test_any_size_and_a_batch_of_one(self, layer: nn.Module, size: tuple[int, int]) -> None:
        torch.manual_seed(0)
        x = torch.randn(3, 2, *size)
        y, grad = run(layer, x)
        alone, grad_alone = run(layer, x[1:2])
        assert y.isfinite().all() and grad.isfinite().all()
        assert_close(alone, y[1:2])
        assert_close(grad_alone, grad[1:2])

    @pytest.mark.parametrize("size", SIZES)
    def test_meta_has_the_shape(self, layer: nn.Module, size: tuple[int, int]) -> None:
        expected = layer(torch.randn(2, 3, *size)).shape
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            out = copy.deepcopy(layer).to("meta")(torch.empty(2, 3, *size))
        assert out.shape == expected and out.is_meta
        assert counter.get_total_flops() == 0  # FFTs are no multiply-accumulates of ours

    @pytest.mark.parametrize("name", LAYERS)
    def test_built_on_meta(self, name: str) -> None:
        with torch.device("meta"):
            layer = LAYERS[name]()
            out = layer(torch.empty(2, 3, 32, 32))
            out.sum().backward() if out.requires_grad else None
        assert out.shape == LAYERS[name]()(torch.empty(2, 3, 32, 32)).shape

    def test_meta_uses_the_initial_strides(self) -> None:
        layer = DiffStride(2.0)
        with torch.no_grad():
            layer.strides.fill_(3.0)
        x = torch.empty(1, 1, 32, 32)
        assert layer(x).shape[-1] == 20
        assert layer.to("meta")(x.to("meta")).shape[-1] == 24 and layer.effective_strides == (2.0, 2.0)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_low_precision_is_transformed_in_float32(self, layer: nn.Module, dtype: torch.dtype) -> None:
        x = torch.randn(2, 3, 16, 16).to(dtype)
        y, grad = run(layer, x)
        assert y.dtype == grad.dtype == dtype
        assert torch.equal(y, layer(x.float()).to(dtype))

    def test_bf16_autocast(self, layer: nn.Module) -> None:
        torch.manual_seed(0)
        conv = nn.Conv2d(3, 4, 3, padding=1)
        x = torch.randn(2, 3, 16, 16)
        with torch.autocast("cpu", torch.bfloat16):
            features = conv(x).detach().requires_grad_()
            y = layer(features)
            y.sum().backward()  # within the region: the stride gradient must not fall to bf16 either
        stride_grads = [parameter.grad.clone() for parameter in layer.parameters()]
        layer.zero_grad()
        exact = features.detach().float()
        expected, _ = run(layer, exact)
        assert features.dtype == y.dtype == torch.bfloat16
        assert torch.equal(y, expected.bfloat16())
        for grad, parameter in zip(stride_grads, layer.parameters(), strict=True):
            torch.testing.assert_close(grad, parameter.grad, rtol=1e-5, atol=1e-5)

    def test_channels_last(self, layer: nn.Module) -> None:
        torch.manual_seed(0)
        x = torch.randn(2, 3, 16, 18)
        y, grad = run(layer, x)
        last, grad_last = run(layer, x.to(memory_format=torch.channels_last))
        assert last.is_contiguous(memory_format=torch.channels_last) and y.is_contiguous()
        assert_close(last, y)
        assert_close(grad_last, grad)

    def test_a_strided_view(self, layer: nn.Module) -> None:
        x = torch.randn(2, 3, 18, 16).transpose(-1, -2)
        assert_close(layer(x), layer(x.contiguous()))

    def test_deterministic_and_alike_on_one_and_two_threads(
        self, layer: nn.Module, threads: Callable[[int], None]
    ) -> None:
        torch.manual_seed(0)
        x = torch.randn(16, 8, 16, 16)
        results = []
        for count in (1, 1, 2, 2):
            threads(count)
            layer.zero_grad()
            y, grad = run(layer, x)
            results.append([y, grad, *(parameter.grad.clone() for parameter in layer.parameters())])
        for one, same in (results[:2], results[2:]):
            assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
        for one_thread, two_threads in zip(results[0], results[2], strict=True):
            assert_close(one_thread, two_threads)

    def test_saved_copied_and_pickled(self, layer: nn.Module) -> None:
        x = torch.randn(2, 3, 16, 16)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.25)
        y = layer(x)
        stored = io.BytesIO()
        torch.save(layer.state_dict(), stored)
        stored.seek(0)
        fresh = copy.deepcopy(layer)
        with torch.no_grad():
            for parameter in fresh.parameters():
                parameter.zero_()
        fresh.load_state_dict(torch.load(stored, weights_only=True))
        assert torch.equal(fresh(x), y)
        assert torch.equal(pickle.loads(pickle.dumps(layer))(x), y)
        assert set(layer.state_dict()) == ({"strides"} if isinstance(layer, DiffStride) else set())

    def test_the_input_is_left_as_it_was(self, layer: nn.Module) -> None:
        x = torch.randn(2, 3, 16, 16)
        before = x.clone()
        run(layer, x)
        layer(x)
        assert torch.equal(x, before)
