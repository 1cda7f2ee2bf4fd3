"""The configurations that are compared, each as one would write it for mergekit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CONFIGURATIONS", "Configuration"]


@dataclass(frozen=True)
class Configuration:
    """One file, and how it is judged.

    ``$base``, ``$chat``, ``$code`` and ``$math`` are the models of the family, ``$adapter`` lies beside them. The
    reference is mergekit's run in float64; in float32 where that is another merge.
    """

    name: str
    text: str
    family: str = "float32"
    judged: Literal["exact", "drawn"] = "exact"
    tool: Literal["yaml", "multi", "pytorch"] = "yaml"
    flags: tuple[str, ...] = ()
    reference: Literal["float32", "float64"] = "float64"


def _listed(*names: str, **parameters: object) -> str:
    """The models of a file, each with the same parameters."""
    lines = ["models:"]
    for name in names:
        lines.append(f"- model: ${name}")
        if parameters:
            lines.append("  parameters:")
            lines += [f"    {key}: {value}" for key, value in parameters.items()]
    return "\n".join(lines) + "\n"


THREE = ("chat", "code", "math")

LINEAR = "merge_method: linear\n" + _listed(*THREE, weight=0.4)
LINEAR_SUM = LINEAR + "parameters: {normalize: false}\n"
UNEVEN = """
merge_method: linear
models:
- model: $chat
  parameters: {weight: 1.0}
- model: $code
  parameters: {weight: 0.3}
dtype: bfloat16
"""
GRADIENT = """
merge_method: linear
models:
- model: $chat
  parameters: {weight: [0.0, 0.3, 1.0]}
- model: $code
  parameters: {weight: [1.0, 0.7, 0.0]}
dtype: float32
out_dtype: bfloat16
"""
FALLING = """
merge_method: linear
models:
- model: $chat
  parameters: {weight: [{filter: mlp, value: 2}]}
- model: $code
  parameters: {weight: {filter: attn, value: [1, "3e0"]}}
parameters: {weight: "5e-1", normalize: off}
"""
MOVED = """
merge_method: linear
slices:
- sources: [{model: $chat, layer_range: [1, 3]}, {model: $code, layer_range: [0, 2]}]
  parameters: {weight: [{filter: layers.1, value: 3}, {value: [0.5, 1]}]}
- sources:
  - {model: $chat, layer_range: [0, 1]}
  - {model: $math, layer_range: [3, 4], parameters: {weight: [{filter: layers.3, value: 5}, {value: 1}]}}
  parameters: {weight: [{filter: layers.2.mlp, value: 3}, {filter: lm_head, value: 9}, {value: 2}]}
parameters: {normalize: [{filter: layers.2, value: false}, {value: true}]}
"""
FILTERS = """
merge_method: slerp
base_model: $base
models:
- model: $base
- model: $chat
parameters:
  t:
  - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
  - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
  - value: 0.5
dtype: bfloat16
"""
SLERP = "merge_method: slerp\nbase_model: $chat\n" + _listed("chat", "code") + "parameters: {t: 0.3}\n"
SLERP_OF_BASES = """
merge_method: slerp
slices:
- base_model: $code
  sources: [{model: $chat, layer_range: [0, 2]}, {model: $code, layer_range: [0, 2]}]
- base_model: $chat
  sources: [{model: $chat, layer_range: [2, 4]}, {model: $code, layer_range: [2, 4]}]
parameters: {t: 0.2}
"""
SLERP_OF_LAYERS = """
merge_method: slerp
base_model: $chat
slices:
- sources:
  - {model: $chat, layer_range: [0, 4]}
  - {model: $code, layer_range: [0, 4]}
parameters:
  t:
  - {filter: self_attn, value: [0, 1]}
  - value: 0.4
dtype: bfloat16
"""
TASK = "merge_method: task_arithmetic\nbase_model: $base\n"
TASK_INSIDE = TASK + _listed("base", *THREE, weight=0.5) + "dtype: float32\n"
TASK_LAMBDA = TASK + _listed(*THREE, weight=0.5) + "parameters: {lambda: 0.7, normalize: true}\n"
TASK_PER_MODEL = """
merge_method: task_arithmetic
base_model: $base
models:
- model: $chat
  parameters:
    weight:
    - {filter: mlp, value: 0.9}
    - value: 0.2
- model: $code
  parameters:
    weight: [0.1, 0.8]
"""
TIES = "merge_method: ties\nbase_model: $base\n"
TIES_PLAIN = TIES + _listed(*THREE, weight=1.0, density=0.5)
TIES_PER_MODEL = """
merge_method: ties
base_model: $base
models:
- model: $base
- model: $chat
  parameters: {density: [1, 0.7, 0.1], weight: 1.0}
- model: $code
  parameters: {density: 0.5, weight: [0, 0.3, 0.7, 1]}
- model: $math
  parameters:
    density: 0.33
    weight:
    - {filter: mlp, value: 0.5}
    - value: 0
parameters: {normalize: true, int8_mask: true}
dtype: float32
out_dtype: float16
"""
TIES_SUM = TIES + _listed(*THREE, weight=0.6, density=0.3) + "parameters: {normalize: false, lambda: 0.8}\n"
TIES_RESCALED = TIES + _listed(*THREE, weight=1.0, density=0.4) + "parameters: {rescale: true}\n"
TIES_SWITCHED = (
    TIES
    + _listed(*THREE, weight=[0.5, 1], density=0.4)
    + ("parameters: {normalize: [true, false, true], rescale: [{filter: mlp, value: [1, 0]}, {value: no}]}\n")
)
TIES_HALF = TIES_PLAIN + "dtype: bfloat16\n"
BREADCRUMBS = "merge_method: breadcrumbs\nbase_model: $base\n" + _listed(*THREE, weight=0.5, density=0.8, gamma=0.05)
BREADCRUMBS_RESCALED = """
merge_method: breadcrumbs
base_model: $base
models:
- model: $chat
  parameters: {weight: 0.5, density: 0.9, gamma: 0.01}
- model: $code
  parameters: {weight: 0.5, density: 0.4, gamma: 0.1}
- model: $math
  parameters: {weight: 0.5, density: 0.6, gamma: 0.5}
parameters: {rescale: true}
"""
BREADCRUMBS_TIES = (
    "merge_method: breadcrumbs_ties\nbase_model: $base\n"
    + _listed(*THREE, weight=0.5, density=0.6)
    + "dtype: bfloat16\n"
)
SCE = "merge_method: sce\nbase_model: $base\n" + _listed(*THREE) + "parameters: {select_topk: 0.4}\n"
RAM = "merge_method: ram\nbase_model: $base\n" + _listed(*THREE) + "parameters: {epsilon: 0.001}\n"
RAMPLUS = (
    "merge_method: ramplus_tl\nbase_model: $base\n"
    + _listed(*THREE)
    + "parameters: {epsilon: 0.001, r: 0.2, alpha: 0.3}\n"
)
STOCK = "merge_method: model_stock\nbase_model: $base\n" + _listed(*THREE)
STOCK_SWITCHED = STOCK + "parameters: {filter_wise: [true, false]}\n"
STOCK_ROWS = STOCK + "parameters: {filter_wise: true}\ndtype: bfloat16\n"
NUSLERP = """
merge_method: nuslerp
models:
- model: $chat
  parameters: {weight: 0.7}
- model: $code
  parameters: {weight: 0.4}
"""
NUSLERP_SWITCHED = NUSLERP + "parameters: {nuslerp_flatten: [false, true, false], nuslerp_row_wise: true}\n"
NUSLERP_OF_DELTAS = NUSLERP + "base_model: $base\n"
NUSLERP_ROWS = NUSLERP + "parameters: {nuslerp_flatten: false, nuslerp_row_wise: true}\ndtype: bfloat16\n"
NUSLERP_COLUMNS = NUSLERP + "parameters: {nuslerp_flatten: false, nuslerp_row_wise: false}\ndtype: float16\n"
MULTISLERP = "merge_method: multislerp\n" + _listed(*THREE, weight=0.5)
MULTISLERP_OF_DELTAS = (
    "merge_method: multislerp\nbase_model: $base\n" + _listed(*THREE, weight=0.5) + "dtype: float16\n"
)
KARCHER = "merge_method: karcher\n" + _listed(*THREE) + "parameters: {max_iter: 20, tol: 1e-7}\n"
KARCHER_COUNTED = "merge_method: karcher\n" + _listed(*THREE) + "parameters: {max_iter: [1, 2, 5, 7], tol: 1e-9}\n"
KARCHER_HALF = "merge_method: karcher\n" + _listed(*THREE) + "dtype: bfloat16\n"
NEARSWAP = "merge_method: nearswap\nbase_model: $base\n" + _listed("chat") + "parameters: {t: 0.001}\n"
ARCEE = "merge_method: arcee_fusion\nbase_model: $base\n" + _listed("chat")
PASSTHROUGH = "merge_method: passthrough\n" + _listed("chat") + "dtype: bfloat16\n"
FRANKENMERGE = """
merge_method: passthrough
slices:
- sources:
  - {model: $chat, layer_range: [0, 3]}
- sources:
  - model: $code
    layer_range: [1, 3]
    parameters:
      scale:
      - {filter: o_proj, value: 0.0}
      - {filter: down_proj, value: 0.0}
      - value: 1.0
- sources:
  - {model: $math, layer_range: [2, 4]}
dtype: bfloat16
"""
SLICES_OF_TIES = """
merge_method: ties
base_model: $base
slices:
- sources:
  - {model: $base, layer_range: [0, 2]}
  - model: $chat
    layer_range: [0, 2]
    parameters: {weight: 1.0, density: 0.5}
  - model: $code
    layer_range: [1, 3]
    parameters: {weight: 0.5, density: 0.5}
- sources:
  - {model: $base, layer_range: [2, 4]}
  - model: $math
    layer_range: [2, 4]
    parameters: {weight: 0.8, density: 0.7}
"""
SOME = "merge_method: linear\nbase_model: $code\n" + _listed("chat", "code", weight=0.5)
UNEQUAL = "merge_method: linear\n" + _listed("chat", "code", weight=0.5)
UNION = UNEQUAL + "tokenizer_source: union\n"
UNION_SLICES = """
merge_method: linear
tokenizer_source: union
slices:
- sources: [{model: $chat, layer_range: [0, 2]}, {model: $code, layer_range: [0, 2]}]
  parameters: {weight: [1, 2]}
- sources: [{model: $chat, layer_range: [2, 4]}, {model: $code, layer_range: [2, 4], parameters: {weight: 3}}]
parameters: {weight: 1}
"""
UNION_TIES = TIES_PLAIN + "tokenizer_source: union\n"
TOKENS = (
    UNION_TIES.replace("tokenizer_source: union\n", "")
    + """
tokenizer:
  source: union
  pad_to_multiple_of: 16
  tokens:
    chat0: {source: $chat, force: true}
    word7: {source: $code, force: true}
"""
)
ADAPTER = """
merge_method: linear
models:
- model: $base+$adapter
  parameters: {weight: 0.5}
- model: $chat
  parameters: {weight: 0.5}
dtype: float32
"""
PAIR = """
merge_method: linear
models:
- model: $chat
  parameters: {weight: [0, 0.5, 2]}
- model: $code
  parameters: {weight: [{filter: EncDecAttention, value: 3}, {filter: decoder, value: [1, 2]}, {value: 0.4}]}
"""
MODULES = """
merge_method: ties
base_model: $base
modules:
  encoder:
    models:
    - {model: $chat, parameters: {density: [0.2, 0.8]}}
    - model: $code
    parameters: {normalize: false, density: 0.5}
  decoder:
    models:
    - model: $chat
    - {model: $math, parameters: {weight: [{filter: EncDecAttention, value: 2}, {value: 0.5}]}}
    parameters: {density: 0.3}
  shared:
    models: [{model: $chat}, {model: $code}, {model: $math}]
parameters: {weight: [1, 0.5], normalize: true, density: 0.9}
"""
MODULES_SLICED = """
merge_method: linear
modules:
  encoder:
    slices:
    - sources: [{model: $chat, layer_range: [0, 2]}, {model: $code, layer_range: [1, 3]}]
    - sources: [{model: $code, layer_range: [1, 4]}, {model: $math, layer_range: [0, 3]}]
  decoder:
    slices:
    - sources: [{model: $chat, layer_range: [0, 2]}]
    - sources: [{model: $code, layer_range: [0, 2]}]
  shared:
    models: [{model: $chat}, {model: $code}]
parameters: {weight: [{filter: layers, value: 0.3}, {filter: attention, value: 1}, {value: [1, 3]}]}
dtype: bfloat16
"""
MODULES_INFERRED = """
merge_method: passthrough
modules:
  model.encoder.layers:
    slices:
    - sources: [{model: $chat, layer_range: [0, 2]}]
    - sources: [{model: $code, layer_range: [1, 2], parameters: {scale: [{filter: fc2, value: 0.5}, {value: 1}]}}]
  default: {models: [{model: $math}]}
  model.decoder.layers: {models: [{model: $code}]}
dtype: bfloat16
"""
DOCUMENTS = """
name: spoken
merge_method: slerp
base_model: $chat
models:
- model: $chat
- model: $code
parameters: {t: 0.5}
dtype: float32
---
merge_method: task_arithmetic
base_model: $base
models:
- model: spoken
  parameters: {weight: 0.6}
- model: $math
  parameters: {weight: 0.6}
dtype: float32
"""
RAW = """
merge_method: ties
base_model: $base/model.safetensors
models:
- model: $chat/model.safetensors
  parameters: {weight: 1.0, density: 0.5}
- model: $code/model.safetensors
  parameters: {weight: 0.5, density: 0.3}
"""
RAW_GRADIENT = """
merge_method: linear
models:
- model: $chat/model.safetensors
  parameters: {weight: [0.2, 0.8]}
- model: $code/model.safetensors
parameters: {weight: [{filter: mlp, value: [1, 2]}, {value: 0.5}]}
"""


def _drawn(method: str, **parameters: object) -> str:
    given = {"weight": 0.5, "density": 0.4} | parameters
    return f"merge_method: {method}\nbase_model: $base\n" + _listed(*THREE, **given)


CONFIGURATIONS = (
    Configuration("linear", LINEAR),
    Configuration("linear, a sum", LINEAR_SUM, "bfloat16"),
    Configuration("linear, uneven, half precision", UNEVEN, "bfloat16"),
    Configuration("linear, gradients, out_dtype", GRADIENT),
    Configuration("linear, float16", LINEAR, "float16"),
    Configuration("linear, filters that fall through", FALLING),
    Configuration("linear, slices, filters of layers", MOVED),
    Configuration("slerp", SLERP),
    Configuration("slerp, filters of gradients", FILTERS, "bfloat16"),
    Configuration("slerp, slices", SLERP_OF_LAYERS, "bfloat16"),
    Configuration("slerp, a base for each slice", SLERP_OF_BASES),
    Configuration("task arithmetic, base inside", TASK_INSIDE),
    Configuration("task arithmetic, base outside, lambda", TASK_LAMBDA, "float16"),
    Configuration("task arithmetic, filters per model", TASK_PER_MODEL),
    Configuration("TIES", TIES_PLAIN),
    Configuration("TIES, densities and weights per model", TIES_PER_MODEL),
    Configuration("TIES, a sum, lambda", TIES_SUM),
    Configuration("TIES, rescaled", TIES_RESCALED),
    Configuration("TIES, normalize and rescale along the layers", TIES_SWITCHED),
    Configuration("TIES, half precision", TIES_HALF, "bfloat16"),
    Configuration("TIES, float16", TIES_PLAIN, "float16"),
    Configuration("TIES, slices", SLICES_OF_TIES),
    Configuration("breadcrumbs", BREADCRUMBS),
    Configuration("breadcrumbs, densities per model, rescaled", BREADCRUMBS_RESCALED),
    Configuration("breadcrumbs with TIES, half precision", BREADCRUMBS_TIES, "bfloat16"),
    Configuration("SCE", SCE),
    Configuration("SCE, half precision", SCE, "bfloat16"),
    Configuration("RAM", RAM),
    Configuration("RAM+ with tensor-local scaling", RAMPLUS),
    Configuration("Model Stock", STOCK),
    Configuration("Model Stock, by rows along the layers", STOCK_SWITCHED),
    Configuration("Model Stock by rows, half precision", STOCK_ROWS, "bfloat16"),
    Configuration("NuSLERP", NUSLERP),
    Configuration("NuSLERP, three ways along the layers", NUSLERP_SWITCHED),
    Configuration("NuSLERP of deltas", NUSLERP_OF_DELTAS, "bfloat16"),
    Configuration("NuSLERP by rows, half precision", NUSLERP_ROWS, "bfloat16"),
    Configuration("NuSLERP by columns, float16", NUSLERP_COLUMNS, "float16"),
    Configuration("multislerp", MULTISLERP),
    Configuration("multislerp of deltas, float16", MULTISLERP_OF_DELTAS, "float16"),
    Configuration("karcher", KARCHER),
    Configuration("karcher, steps along the layers", KARCHER_COUNTED),
    Configuration("karcher, half precision", KARCHER_HALF, "bfloat16"),
    Configuration("nearswap", NEARSWAP),
    # Its importance is a difference that cancels: float32 and float64 select other elements.
    Configuration("arcee fusion", ARCEE, reference="float32"),
    Configuration("passthrough", PASSTHROUGH, "bfloat16"),
    Configuration("passthrough, layers of three models, scaled", FRANKENMERGE, "bfloat16"),
    Configuration("tied embeddings", LINEAR + "dtype: bfloat16\n", "tied"),
    Configuration("tied embeddings, TIES", TIES_PLAIN, "tied"),
    Configuration("a head in some models only", SOME, "some"),
    # mergekit refuses these unless it is told to; scionwood merges the rows that all have, and warns.
    Configuration("unequal vocabularies, cut", UNEQUAL, "words", flags=("--unsafe-truncate-embeddings",)),
    Configuration("unequal vocabularies, union", UNION, "words"),
    Configuration("unequal vocabularies, union, slices", UNION_SLICES, "words"),
    # A row that the base lacks is the average of the others': their deltas cancel, and rounding elects the sign.
    Configuration("unequal vocabularies, union, TIES", UNION_TIES, "words", reference="float32"),
    Configuration("unequal vocabularies, tokens of their own", TOKENS, "words", reference="float32"),
    Configuration("a model with an adapter", ADAPTER),
    Configuration("an encoder and a decoder", PAIR, "t5"),
    Configuration("modules, each by its own models", MODULES, "t5"),
    Configuration("modules, slices of both", MODULES_SLICED, "t5"),
    Configuration("modules that mergekit infers", MODULES_INFERRED, "bart"),
    Configuration("several documents", DOCUMENTS, tool="multi"),
    Configuration("raw checkpoints", RAW, tool="pytorch"),
    Configuration("raw checkpoints, gradients", RAW_GRADIENT, tool="pytorch"),
    Configuration("DARE, linear", _drawn("dare_linear"), judged="drawn"),
    Configuration("DARE, TIES, not rescaled", _drawn("dare_ties") + "parameters: {rescale: false}\n", judged="drawn"),
    Configuration("DELLA", _drawn("della", epsilon=0.2), judged="drawn"),
    Configuration("DELLA, linear", _drawn("della_linear"), judged="drawn"),
)
