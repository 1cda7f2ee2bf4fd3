"""The chat template of what is made: one of the models', a well-known one by name, or one given as text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint.strict_json import parse_json_object
from scionwood.errors import MethodError, nearest
from scionwood.verbs.tokenizer.vocabulary import SETTINGS, document

__all__ = ["TEMPLATES", "with_chat_template"]

TEMPLATE = "chat_template.jinja"

TEMPLATES = {
    "alpaca": (
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
        "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
        "{% elif message['role'] == 'assistant' %}{{ '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}"
        "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
    ),
    "chatml": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "exaone": (
        "{% for message in messages %}"
        "{% if loop.first and message['role'] != 'system' %}{{ '[|system|][|endofturn|]\\n' }}{% endif %}"
        "{{ '[|' + message['role'] + '|]' + message['content'] }}"
        "{{ '\\n' if message['role'] == 'user' else '[|endofturn|]\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
    ),
    "llama3": (
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
        "{{ message['content'] | trim }}{{ '<|eot_id|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
    ),
    "mistral": (
        "{{ bos_token }}{% set ns = namespace(system='') %}"
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\\n\\n' %}"
        "{% elif message['role'] == 'user' %}"
        "{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}{% set ns.system = '' %}"
        "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}"
        "{% endfor %}"
    ),
}
"""Templates that are known by a name, each after the published description of its format."""


def with_chat_template(checkpoint: Checkpoint, choice: str, models: Sequence[Checkpoint] = ()) -> Checkpoint:
    """Return a checkpoint whose tokenizer has another chat template.

    Args:
        checkpoint: what is made.
        choice: ``auto`` for the template that most of the models have (the first of them, where several are as many), a
            name out of ``TEMPLATES``, or a Jinja template.
        models: those that it is made from.

    Raises:
        MethodError: the choice is neither a name nor a template.

    >>> from scionwood.checkpoint import open
    >>> made = with_chat_template(open({}), "chatml")
    >>> b"<|im_start|>" in made.documents["chat_template.jinja"]
    True
    """
    if choice == "auto":
        held = [template for model in models if (template := _template_of(model))]
        template = Counter(held).most_common(1)[0][0] if held else None
        if template is None:
            return checkpoint
    else:
        template = TEMPLATES.get(choice)
        if template is None and "{" not in choice:
            near = nearest(choice, [*TEMPLATES, "auto"])
            raise MethodError(
                f"There is no chat template called {choice!r}{near}.",
                hint=f"Give auto, one of {', '.join(TEMPLATES)}, or a Jinja template.",
            )
        template = choice if template is None else template
    documents = {**checkpoint.documents, TEMPLATE: template.encode()}
    settings = document(checkpoint, SETTINGS)
    if settings is not None:
        # A template in two places would be read from the one or the other, by the reader's version.
        rest = parse_json_object(settings, f"The {SETTINGS} of {checkpoint.source}")
        if rest.pop("chat_template", None) is not None:
            documents[SETTINGS] = (json.dumps(rest, indent=2, ensure_ascii=False) + "\n").encode()
    return replace(checkpoint, documents=documents)


def _template_of(model: Checkpoint) -> str | None:
    """A model's own template, of the file for it, or of the tokenizer's settings."""
    text = document(model, TEMPLATE)
    if text is not None:
        return text.decode().strip()
    settings = document(model, SETTINGS)
    held: Any = None if settings is None else parse_json_object(settings, SETTINGS).get("chat_template")
    if isinstance(held, list):  # several of them, each with its name
        held = next((each.get("template") for each in held if each.get("name") == "default"), None)
    return held.strip() if isinstance(held, str) else None
