"""How words from outside are written where something reads them: a shell, YAML, Kubernetes, a comment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import yaml

from gpuplan.deploy.command import Command
from gpuplan.deploy.errors import CannotDeploy
from optimizer.engines.launch import HEAD_ADDRESS

LONGEST_LABEL = 63
"""Source: RFC 1123, which Kubernetes holds names and label values to."""
HASH_LETTERS = 8
ROOM_FOR_SUFFIX = 20


def speakable(words: Iterable[str]) -> None:
    """Refuse what no file and no argv can hold.

    Raises:
        CannotDeploy: a word has a zero byte, or letters that are no Unicode text.
    """
    for word in words:
        if "\0" in word:
            raise CannotDeploy(f"{word[:80]!r} has a zero byte, which no command can hold; rename it.")
        try:
            word.encode()
        except UnicodeEncodeError:
            raise CannotDeploy(f"{word[:80]!r} is no Unicode text, which no file can hold; rename it.") from None


def dns_name(text: str, identity: str = "") -> str:
    """A name that Kubernetes, Docker and DNS take, the same for the same thing and another for another.

    Args:
        text: what people call it.
        identity: what else makes it another thing.

    >>> dns_name("meta-llama/Llama-3.3-70B-Instruct")
    'llama-3-3-70b-instruct-a86f05bd'
    """
    digest = blake2b(f"{text}\\0{identity}".encode("utf-8", "surrogatepass"), digest_size=HASH_LETTERS // 2).hexdigest()
    slug = re.sub(r"[^a-z0-9]+", "-", text.rsplit("/", 1)[-1].lower()).strip("-")
    slug = slug[: LONGEST_LABEL - HASH_LETTERS - 1 - ROOM_FOR_SUFFIX].strip("-")
    return f"{slug}-{digest}" if slug[:1].isalpha() else f"model-{slug}-{digest}".replace("--", "-")


def shell_words(command: Command, *, environment: Mapping[str, str] | None = None) -> str:
    """A command as one line of a POSIX shell; HEAD_ADDRESS is left to a variable of that name."""
    settings = [f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
    words = (shell_address(word) if is_address else shlex.quote(word) for word, is_address in command.tagged())
    return " ".join([*settings, *words])


def shell_address(word: str) -> str:
    """`"$HEAD_ADDRESS"` and, quoted, what stands behind it."""
    return f'"${{{HEAD_ADDRESS}}}"' + shlex.quote(word.removeprefix(HEAD_ADDRESS)).removesuffix("''")


def comment(text: str) -> str:
    r"""Text behind `#`, on one line whatever it holds.

    >>> comment("a\nb")
    '# a\\nb'
    """
    return "# " + "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def yaml_text(*documents: Any, comments: Sequence[str] = ()) -> str:
    """YAML documents, the comments above them; loading them gives the same values back."""
    head = "".join(f"{comment(each)}\n" for each in comments)
    return head + "---\n".join(
        yaml.dump(each, Dumper=_Plain, sort_keys=False, allow_unicode=False, default_flow_style=False, width=1 << 20)
        for each in documents
    )


class _Plain(yaml.SafeDumper):
    """YAML without anchors, long texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(dumper: Any, text: str) -> Any:
    """A block for our own scripts, which are plain; quotes for whatever else has line breaks."""
    plain = all(each == "\n" or " " <= each <= "~" for each in text) and not re.search(r"[ \t]\n", text)
    style = "|" if "\n" in text.strip("\n") and plain else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Plain.add_representer(str, _text_node)


def dollars_doubled(value: Any) -> Any:
    """The same structure with `$$` for every `$`: Kubernetes and Compose read `$(X)` and `${X}` in words.

    Sources: Kubernetes API, Container.args ("Double $$ are reduced to a single $"); Compose specification,
    interpolation.
    """
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {name: dollars_doubled(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [dollars_doubled(each) for each in value]
    return value
