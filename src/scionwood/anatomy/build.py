"""Building a model to look at: from a config, on the meta device, with example inputs; nothing is allocated and nothing downloaded."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from scionwood.anatomy.examples import example_inputs
from scionwood.anatomy.reasons import first_line, silence, why_not_built, why_not_exported
from scionwood.errors import AnatomyError, nearest

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from transformers import PretrainedConfig

__all__ = ["Model", "check_family", "from_config", "from_factory", "from_module", "shapes_of", "shapes_with"]


@dataclasses.dataclass(frozen=True)
class Model:
    """A module with example inputs, ready to be traced.

    Attributes:
        module: the module; without storage when it was built from a config.
        inputs: example inputs, by position and by name; only the check of the symmetry looks at their values.
        program: the module in evaluation mode, exported for these inputs.
        constants: the values of buffers that no checkpoint stores (rotary frequencies), by name, where they are known.
        config: the config it was built from, or nothing.
        source: how to name it in messages.
        rebuild: makes the module anew with weights of its own, on the CPU, in evaluation mode.
    """

    module: nn.Module
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    program: ExportedProgram
    constants: Mapping[str, Tensor]
    config: Any
    source: str
    rebuild: Callable[[], nn.Module]


MOST_BLOCKS = 10_000
MOST_CONSTANT_BYTES = 2**31


def from_config(
    config: Mapping[str, Any] | PretrainedConfig, source: str = "config", *, length: int | None = None
) -> Model:
    """Build the model that a transformers config describes, on the meta device.

    The class is the first of ``architectures`` that transformers has, else the family's base model. Configs that would run code of
    their own are refused. Example texts are of ``length`` tokens, where it is given.

    Raises:
        AnatomyError: the family is unknown, asks for remote code, or cannot be built with these sizes.
    """
    from transformers import PretrainedConfig

    settings = config if isinstance(config, PretrainedConfig) else _settings(dict(config), source)
    settings = copy.deepcopy(settings)
    for part in _caching(settings):
        part.use_cache = False
    model_class = _model_class(settings, source)

    def build() -> nn.Module:
        return model_class(copy.deepcopy(settings)).eval()

    blocks = getattr(settings, "num_hidden_layers", 1)
    if isinstance(blocks, int) and not 1 <= blocks <= MOST_BLOCKS:
        raise AnatomyError(
            f"{source}: num_hidden_layers is {blocks}",
            hint=f"a model has at least one block; every block is looked at, and more than {MOST_BLOCKS:,} are too many",
        )
    try:
        with torch.device("meta"), silence():
            module = build()
    except AnatomyError:
        raise
    except Exception as error:
        raise AnatomyError(
            f"{source}: {model_class.__name__} cannot be built from this config: "
            f"{why_not_built(error, settings.to_dict())}",
            hint="check the sizes: head counts must divide widths, and every size the family needs must be there",
        ) from error
    constants = _constants(module)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    _without_storage(module, mode)
    failures: list[str] = []
    for inputs in example_inputs(module, settings, length):
        try:
            with mode:
                program = export(module, (), {name: _ghost(tensor) for name, tensor in inputs.items()})
        except Exception as error:  # noqa: BLE001 - any failure means: try the next kind of input
            failure = f"with {', '.join(inputs)}: {why_not_exported(error)}"
            if failure not in failures:
                failures.append(failure)
            continue
        return Model(module, ((), inputs), program, constants, settings, source, build)
    heads, groups = (getattr(settings, name, None) for name in ("num_attention_heads", "num_key_value_heads"))
    if isinstance(heads, int) and isinstance(groups, int) and heads % groups:
        raise AnatomyError(
            f"{source}: num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({groups})",
            hint="every head of keys and values serves as many heads of queries",
        )
    raise AnatomyError(
        f"{source}: {model_class.__name__} takes none of the example inputs scionwood knows to make",
        problems=failures,
        hint="give a factory instead: package.module:function, returning the module and its example inputs",
    )


def _ghost(tensor: Tensor) -> Tensor:
    """A tensor of the same form that holds nothing, made under a fake mode."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")


def _without_storage(module: nn.Module, mode: FakeTensorMode) -> None:
    """Put a module from the meta device onto a CPU that allocates nothing.

    On the meta device, the small constants that a forward makes (a list used as an index) lose their values; here they keep them.
    """
    memo: dict[int, Tensor] = {}
    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for name, tensor in store.items():
                if tensor is None or not tensor.is_meta:
                    continue
                if id(tensor) not in memo:
                    with mode:
                        ghost = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
                    is_parameter = isinstance(tensor, nn.Parameter)
                    memo[id(tensor)] = (
                        nn.Parameter(ghost, requires_grad=tensor.requires_grad) if is_parameter else ghost
                    )
                cast("dict[str, Any]", store)[name] = memo[id(tensor)]


def check_family(config: Mapping[str, Any], source: str) -> str:
    """Return the family that a config names, provided that transformers has it.

    Raises:
        AnatomyError: it names none, an unknown one, or asks for code of its own.
    """
    from transformers import CONFIG_MAPPING

    family = config.get("model_type")
    if not isinstance(family, str) or family not in CONFIG_MAPPING:
        if "auto_map" in config:
            raise AnatomyError(
                f"{source}: the config asks for code of its own (auto_map), which scionwood does not run",
                hint="import the model's class yourself and give a factory: package.module:function",
            )
        known = sorted(CONFIG_MAPPING.keys())
        if family is None:
            raise AnatomyError(
                f"{source}: the config names no model_type", hint="a transformers config.json says which family it is"
            )
        raise AnatomyError(f"{source}: transformers knows no model_type {family!r}{nearest(str(family), known)}")
    return family


def shapes_of(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """The tensors of the model that a config describes, by name; nothing, where none can be built.

    >>> sizes = {"vocab_size": 8, "hidden_size": 4, "intermediate_size": 6, "num_attention_heads": 2}
    >>> len(shapes_of({"model_type": "llama", "num_hidden_layers": 1} | sizes))
    11
    >>> shapes_of({"model_type": "llama", "num_hidden_layers": 1, "layer_types": []} | sizes)
    """
    try:
        settings = _settings(dict(config), "config")
        model_class = _model_class(settings, "config")
        with torch.device("meta"), silence():
            module = model_class(settings)
    except Exception:  # noqa: BLE001 - a model may refuse its sizes with any kind of error
        return None
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def shapes_with(model: Model, path: Sequence[str], value: Any) -> dict[str, tuple[int, ...]] | None:
    """The tensors that a model would have with one setting of its config changed, by name; nothing, where there is no such model.

    Args:
        model: built from a config.
        path: where the setting stands: ``("text_config", "vocab_size")``.
        value: what it becomes.
    """
    config = copy.deepcopy(model.config)
    part: Any = config
    for name in path[:-1]:
        part = part.get(name) if isinstance(part, dict) else getattr(part, name, None)
    if isinstance(part, dict):
        part[path[-1]] = value
    elif part is not None:
        setattr(part, path[-1], value)
    try:
        with torch.device("meta"), silence():
            state = type(model.module)(config).state_dict(keep_vars=True)
    except Exception:  # noqa: BLE001 - a model may refuse its sizes with any kind of error
        return None
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _settings(config: dict[str, Any], source: str) -> PretrainedConfig:
    from transformers import CONFIG_MAPPING, PretrainedConfig

    family = check_family(config, source)
    try:
        kind = CONFIG_MAPPING[family]
        with silence():
            settings = kind.from_dict(kind._decode_special_floats(config))
    except Exception as error:
        raise AnatomyError(
            f"{source}: the config of a {family} is not valid: {why_not_built(error, config)}"
        ) from error
    assert isinstance(settings, PretrainedConfig)
    return settings


def _model_class(settings: PretrainedConfig, source: str) -> type[nn.Module]:
    import transformers
    from transformers import AutoModel

    for name in settings.architectures or ():
        found = getattr(transformers, str(name), None)
        if isinstance(found, type) and issubclass(found, nn.Module):
            return found
    try:
        return cast("Any", AutoModel._model_mapping[type(settings)])
    except KeyError:
        raise AnatomyError(f"{source}: transformers has no model for {type(settings).__name__}") from None


def _caching(settings: Any) -> list[Any]:
    """The parts of a config that ask for a cache: an output that says nothing about the weights."""
    parts = (settings, *(getattr(settings, name, None) for name in getattr(settings, "sub_configs", ())))
    return [part for part in parts if getattr(part, "use_cache", None) is True]


@contextlib.contextmanager
def _without_cache(module: nn.Module) -> Iterator[None]:
    """A module of transformers gives no cache for as long."""
    changed = [part for inner in module.modules() for part in _caching(getattr(inner, "config", None))]
    try:
        for part in changed:
            part.use_cache = False
        yield
    finally:
        for part in changed:
            part.use_cache = True


def _constants(module: nn.Module) -> dict[str, Tensor]:
    """Give buffers that no checkpoint stores their values: the model's own initialisation sets them."""
    from transformers import PreTrainedModel

    stored = set(module.state_dict(keep_vars=True))
    found: dict[str, Tensor] = {}
    for path, part in module.named_modules():
        own = {
            name: buffer
            for name, buffer in part.named_buffers(recurse=False)
            if f"{path}.{name}".lstrip(".") not in stored
        }
        if not own or sum(buffer.nbytes for buffer in own.values()) > MOST_CONSTANT_BYTES:
            continue
        copied = copy.copy(part)
        copied._buffers = {
            name: torch.full_like(b, -1, device="cpu") if name in own and b is not None else b
            for name, b in part._buffers.items()
        }
        owners = [
            parent
            for prefix, parent in module.named_modules()
            if isinstance(parent, PreTrainedModel) and path.startswith(prefix)
        ]
        with contextlib.suppress(Exception), torch.no_grad(), silence():
            owners[-1]._init_weights(copied)
            for name in own:
                value = copied._buffers[name]
                if value is not None and not bool((value == -1).all()):
                    found[f"{path}.{name}".lstrip(".")] = value
    return found


def from_module(module: nn.Module, inputs: object, source: str | None = None) -> Model:
    """Wrap a module of any kind with its example inputs: a tensor, a tuple (by position) or a dict (by name).

    It is looked at in evaluation mode, and left in the mode it was in.

    Raises:
        AnatomyError: the module cannot be exported.
    """
    if isinstance(inputs, Mapping):
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {str(name): value for name, value in inputs.items()}
    else:
        args, kwargs = (tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)), {}
    stored = set(module.state_dict(keep_vars=True))
    constants = {name: buffer for name, buffer in module.named_buffers() if name not in stored}
    modes = {part: part.training for part in module.modules()}
    named = source or type(module).__name__
    try:
        module.eval()
        with _without_cache(module):
            program = export(module, args, kwargs)
    except Exception as error:
        raise AnatomyError(
            f"{named} cannot be exported: {why_not_exported(error)}",
            hint="give example inputs that its forward takes; control flow must not depend on the values of tensors",
        ) from error
    finally:
        for part, mode in modes.items():
            part.training = mode
    return Model(module, (args, kwargs), program, constants, None, named, lambda: copy.deepcopy(module).eval())


def export(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """Export a module's graph for these inputs; nothing is computed."""
    with silence(), _without_shortcuts(), torch.no_grad():
        return torch.export.export(module, args, kwargs, strict=False)


def from_factory(name: str) -> Model:
    """Call ``package.module:function``; it returns a module and its example inputs. The current directory is importable.

    Raises:
        AnatomyError: the module cannot be imported, lacks the function, or the function returns something else.
    """
    path, _, attribute = name.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        home = importlib.import_module(path)
    except ImportError as error:
        raise AnatomyError(
            f"{name}: cannot import {path!r}: {error}",
            hint=f"write {path.removesuffix('.py')}:{attribute}"
            if path.endswith(".py")
            else "run from the folder that holds the package",
        ) from error
    except (Exception, SystemExit) as error:
        raise AnatomyError(
            f"{name}: {path!r} fails when imported: {type(error).__name__}: {first_line(error)}"
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    factory = getattr(home, attribute, None)
    if not callable(factory):
        public = [n for n, value in vars(home).items() if callable(value) and not n.startswith("_")]
        raise AnatomyError(f"{name}: {path!r} has no function {attribute!r}{nearest(attribute, public)}")
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise AnatomyError(f"{name}: the factory failed: {type(error).__name__}: {first_line(error)}") from error
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module)):
        raise AnatomyError(
            f"{name}: the factory returned a {type(made).__name__}, not a module and its example inputs",
            hint="return (module, example_inputs), the inputs as a tuple or a dict",
        )
    model = from_module(made[0], made[1], name)

    def again() -> nn.Module:
        return cast("Any", factory)()[0].eval()

    return dataclasses.replace(model, rebuild=again)


def _unconverted(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    return self


@contextlib.contextmanager
def _without_shortcuts() -> Iterator[None]:
    """What runs otherwise in evaluation, or fails on tensors that hold nothing, and has no bearing on axes.

    PyTorch's own transformer layers run as one operation; some forwards convert modules of theirs to the type they have.
    """
    enabled, convert = torch.backends.mha.get_fastpath_enabled(), nn.Module._apply
    torch.backends.mha.set_fastpath_enabled(False)
    nn.Module._apply = _unconverted
    try:
        yield
    finally:
        nn.Module._apply = convert
        torch.backends.mha.set_fastpath_enabled(enabled)
