"""A module's forward pass as a line of steps, each from one tensor to one tensor, with nothing about it changed.

The forward pass of one module is traced (torch.fx) with everything inside it left whole, and cut wherever exactly one
tensor is live. A step that is the plain call of a submodule is that submodule; any other is a `fx.GraphModule` over
the submodules that it calls. The steps in a row compute what the module computes, operation by operation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import get_notrace_functions
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn import functional

from suite.layers.model import kernel_convolutions

Size = tuple[int, ...]
OF_MODULE = "of the module"  # stands for `training=self.training` in a graph


class Uncuttable(Exception):
    """The reason, as the end of a sentence, why a module's forward pass is no line of steps."""


@dataclass(frozen=True)
class Step:
    """One step of a line.

    Attributes:
        name: unique in its line, without dots; made of the submodule's name in the model where the step is one.
        inputs, outputs: sizes of the tensors in and out, batch first.
    """

    name: str
    module: nn.Module
    inputs: Size
    outputs: Size

    @property
    def stride(self) -> int:
        """How many times smaller the map becomes, rounded (a convolution without padding takes off a rim: 1)."""
        if not (is_map(self.inputs) and is_map(self.outputs)):
            return 1
        return min(round(before / after) for before, after in zip(self.inputs[2:], self.outputs[2:], strict=True))


def is_map(size: Size) -> bool:
    """Whether a tensor of this size is a feature map: 4-D, and not pooled to a point."""
    return len(size) == 4 and max(size[2:]) > 1


def output_size(module: nn.Module, size: Size) -> Size | None:
    """The size of what a module in evaluation mode makes of a tensor of `size`; None: no single tensor.

    Computes no values and draws nothing.
    """
    state = {}
    for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
        state[name] = torch.empty_like(tensor, device="meta")
    with torch.no_grad():
        out = functional_call(module, state, torch.empty(size, device="meta"))
    return tuple(out.shape) if isinstance(out, Tensor) else None


def list_steps(model: nn.Module, size: Size) -> list[Step]:
    """The model's steps for an input of `size`; submodules that shrink the map are opened where that says more.

    Raises:
        Uncuttable: the forward pass can't be traced, or differs between training and evaluation mode beyond what its
            submodules do.
    """
    return list(_iterate_steps(model, size, ""))


def _iterate_steps(module: nn.Module, size: Size, prefix: str) -> Iterator[Step]:
    for name, piece, inputs, outputs in _iterate_pieces(module, size):
        step = Step(prefix + name, piece, inputs, outputs)
        if step.stride > 1 or type(piece) is nn.Sequential or _is_classifier(step):
            yield from _open_step(step)
        else:
            yield step


def _is_classifier(step: Step) -> bool:
    """Whether a step makes or takes pooled features, rather than maps or a transformer's tokens."""
    return not is_map(step.outputs) and all(len(size) in {2, 4} for size in (step.inputs, step.outputs))


def _open_step(step: Step) -> list[Step]:
    """What a step is made of, or the step itself.

    A shrinking step stays whole if it is a block (its inside is no line), or a downsampling unit: one shrinking
    operation with nothing but 1 x 1 convolutions, normalisation and activations around it.
    """
    if isinstance(step.module, fx.GraphModule) or not list(step.module.children()):
        return [step]
    try:
        inner = list(_iterate_steps(step.module, step.inputs, f"{step.name}_"))
    except Uncuttable:
        return [step]
    is_wrapper = len(inner) == 1 and not isinstance(inner[0].module, fx.GraphModule)
    shrinking = sum(part.stride > 1 for part in inner)
    further = any(part.stride == 1 and kernel_convolutions(part.module) for part in inner)
    if is_wrapper or shrinking != 1 or further or not is_map(step.outputs):
        return inner
    return [step]


class _OneLevel(fx.Tracer):
    """Traces one module's own forward pass, of its first argument, and leaves its submodules whole."""

    proxy_buffer_attributes = True  # or tracing would count batches in the batch norms whose own pass it runs

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]


@dataclass(frozen=True)
class Segment:
    """Part of a module's graph from one point where a single value is live to the next.

    Attributes:
        start, end: the values that are live before and after.
        nodes: what is computed between them, in order; the last use of `start` and the making of `end` included.
    """

    start: fx.Node
    nodes: list[fx.Node]
    end: fx.Node

    def called_module(self) -> str | None:
        """The target, if the segment is the plain call of one submodule."""
        node = self.nodes[0]
        if len(self.nodes) == 1 and node.op == "call_module" and node.args == (self.start,) and not node.kwargs:
            return str(node.target)
        return None


def cut_segments(module: nn.Module) -> list[Segment]:
    """One module's own forward pass, cut, or Uncuttable as from `list_steps`."""
    graph, training = _trace_module(module, training=False), _trace_module(module, training=True)
    for node, twin in zip(graph.nodes, training.nodes, strict=False):
        if node.target is twin.target is functional.dropout:
            _forget_mode(node, twin)
    if str(graph) != str(training):
        raise Uncuttable("its own forward pass differs between training and evaluation mode")
    (start,) = graph.find_nodes(op="placeholder")
    end = graph.output_node().args[0]
    if not isinstance(end, fx.Node):
        raise Uncuttable("its forward pass returns no single tensor")
    # Parameters read directly (get_attr) are copied to where they are used, so they are never live.
    nodes = [node for node in graph.nodes if node.op not in {"placeholder", "get_attr", "output"}]
    return list(iterate_between(start, nodes, end))


def _iterate_pieces(module: nn.Module, size: Size) -> Iterator[tuple[str, nn.Module, Size, Size]]:
    """(name, module, size in, size out) of every step of one module's own forward pass."""
    begun: Segment | None = None
    for segment in cut_segments(module):
        if begun:
            segment = Segment(begun.start, begun.nodes + segment.nodes, segment.end)
        name, piece = as_module(module, segment)
        outputs = output_size(piece, size)
        if outputs is None:  # no single tensor: it goes on
            begun = segment
            continue
        yield name, piece, size, outputs
        begun, size = None, outputs
    if begun:
        raise Uncuttable("its forward pass returns no single tensor")


def _forget_mode(node: fx.Node, twin: fx.Node) -> None:
    """Tracing fixes `functional.dropout(training=self.training)`; `as_module` makes an nn.Dropout of one so marked."""
    if (node.kwargs.get("training"), twin.kwargs.get("training")) == (False, True):
        for each in (node, twin):
            each.kwargs = {**each.kwargs, "training": OF_MODULE}


def _trace_module(module: nn.Module, *, training: bool) -> fx.Graph:
    was, module.training = module.training, training
    try:
        return _OneLevel(autowrap_functions=tuple(get_notrace_functions())).trace(module)
    except Exception as error:  # tracing runs the model's code on stand-ins for tensors: it may fail in any way
        raise Uncuttable(f"its forward pass can't be traced ({first_sentence(error)})") from error
    finally:
        module.training = was


def first_sentence(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0].rstrip(".")


def iterate_between(start: fx.Node, nodes: list[fx.Node], end: fx.Node) -> Iterator[Segment]:
    """The segments of `nodes` that compute `end` from `start`; other values may be read only if nothing makes them."""
    last_use = dict.fromkeys([start, *nodes], -1)
    for i, node in enumerate(nodes):
        for value in last_use.keys() & node.all_input_nodes:
            last_use[value] = i
    last_use[end] = len(nodes)
    live, computed = {start}, []
    for i, node in enumerate(nodes):
        computed.append(node)
        live = {value for value in (*live, node) if last_use[value] > i}
        if len(live) == 1 and start not in live:
            (reached,) = live
            yield Segment(start, computed, reached)
            start, computed = reached, []


def as_module(module: nn.Module, segment: Segment) -> tuple[str, nn.Module]:
    """A name and a module that computes a segment of `module`'s own forward pass.

    Raises:
        Uncuttable: dropout by function sits beside a second path.
    """
    target = segment.called_module()
    if target is not None:
        return target.replace(".", "_"), module.get_submodule(target)
    if any(node.kwargs.get("training") == OF_MODULE for node in segment.nodes):
        node = segment.nodes[0]
        rate = node.kwargs.get("p", node.args[-1])
        if len(segment.nodes) > 1 or node.args[0] is not segment.start or not isinstance(rate, int | float):
            raise Uncuttable("its own forward pass has dropout beside a second path")
        return str(node), nn.Dropout(float(rate))
    graph = fx.Graph()
    copies = {segment.start: graph.placeholder("x")}
    for node in segment.nodes:
        for attribute in node.all_input_nodes:
            if attribute.op == "get_attr" and attribute not in copies:
                copies[attribute] = graph.node_copy(attribute)
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[segment.end])
    return segment.end.name, fx.GraphModule(module, graph)
