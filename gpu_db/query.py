"""Finding machines: a word that a person types -> the GPU they mean, and the offers that they allow."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from functools import cache

from gpu_db.errors import (
    AmbiguousGpu,
    UnknownBilling,
    UnknownGpu,
    UnknownInstanceType,
    UnknownProvider,
    UnknownRegion,
    UnknownRestriction,
)
from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus
from gpu_db.offer import BILLINGS, RESTRICTIONS, Offer, Restriction
from gpu_db.regions import REGION_CLASSES, is_everywhere, known_regions, region_words
from gpu_db.tables import read_table

STALE_DAYS = 60  # small clouds raised prices by 13 to 55 % between May and November 2026
STALE_DAYS_OF_LIST_PRICES = 180  # the lists of the four big ones stood still all that year
LIST_PRICE_PROVIDERS = frozenset({"aws", "azure", "gcp", "oci"})

_SHORT_SIZE = re.compile(r"(?<=[\s_-])(\d+)\s?g(?:ib)?(?![a-z0-9])")
_SXM = re.compile(r"(?<![a-z0-9])sxm\d(?![a-z0-9])")
_KIND_OF_MEMORY = re.compile(r"[\s_-](?:hbm\d\w?|gddr\d\w?)$")
_CLASS_WORDS = {"usa": "us", "europe": "eu", "apac": "asia", "ap": "asia"}
# A named provider is taken at its word. Terms that undercut its usual price by selling something else (a prepaid
# window, a queue, a part, a bulk) stay out until they are named themselves.
_LIFTED_BY_PROVIDER: frozenset[Restriction] = frozenset(RESTRICTIONS) - {
    "capacity-block",
    "flex-start",
    "part-only",
    "minimum-purchase",
}


def find_gpu(name: str) -> Gpu:
    """Return the one GPU that a name or alias means, without regard to case, spaces and dashes.

    Every alias of data/aliases.csv is understood (nvidia-smi, Kubernetes label, gpuhunt, SkyPilot, aiconfigurator,
    llm-d-planner, GKE). Where several GPUs share a word, its row with the naming system "short" decides: "H100" is the
    SXM module, "A100" the 80 GB SXM module.

    Raises:
        UnknownGpu: nothing has this name; the message names the nearest.
        AmbiguousGpu: several GPUs share it and none is what people usually mean.

    >>> find_gpu("nvidia h100 80gb hbm3").name, find_gpu("h100").name, find_gpu("A100-SXM4-40GB").name
    ('H100 SXM 80GB', 'H100 SXM 80GB', 'A100 SXM 40GB')
    """
    meant = _meant(name)
    if len(meant) > 1:
        raise AmbiguousGpu(name, meant)
    return load_gpus()[meant[0]]


def find_gpus(name: str) -> tuple[Gpu, ...]:
    """Return every GPU that a name covers: one for a full name, the whole family for a family's name.

    Raises:
        UnknownGpu: nothing has this name.

    >>> [gpu.name for gpu in find_gpus("H100")]
    ['H100 PCIe 80GB', 'H100 SXM 80GB', 'H100 NVL 94GB']
    >>> [gpu.name for gpu in find_gpus("RTX 4080")]
    ['RTX 4080 16GB']
    """
    key = gpu_key(name)
    full, short, family = _names_by_key()
    alone = full.get(key) or short.get(key, [])
    named = set(alone) if len(alone) == 1 else {*family.get(key, ()), *_alias_table().get(key, ())}
    if not named:
        raise _unknown_gpu(name)
    return tuple(gpu for word, gpu in load_gpus().items() if word in named)


def select_offers(
    offers: Iterable[Offer],
    *,
    gpus: Collection[str] | None = None,
    gpus_excluded: Collection[str] = (),
    providers: Collection[str] | None = None,
    instance_types: Collection[str] | None = None,
    regions: Collection[str] | None = None,
    billings: Collection[str] = ("on-demand",),
    allow: Collection[str] = frozenset(),
    since: date | None = None,
) -> tuple[Offer, ...]:
    """Return the offers that a question allows, in their order.

    Args:
        offers: where to choose from, usually `load_offers()` and the user's own.
        gpus: names or aliases; a family's name ("H100") covers all its forms. None = all.
        gpus_excluded: names or aliases never to use.
        providers: names; "shadeform" covers "shadeform:denvr". None = all.
        instance_types: what one asks the provider for. None = all.
        regions: a class ("us", "eu", "asia", "other"), a region ("us-east-1"), or a whole wording of the table. An
            offer that lists several regions answers for each of them; one that says "global", or names no region,
            answers every question. None = all.
        billings: ways of paying. Machines that the user owns are always offered: they are paid for.
        allow: restrictions to accept. Naming a provider accepts all of its restrictions except those that sell
            something else under its name: capacity-block, flex-start, part-only, minimum-purchase. Naming an instance
            type accepts whatever is restricted about it.
        since: leaves out prices that were read before this day, but not machines that the user owns. None = all.

    Raises:
        UnknownGpu, UnknownProvider, UnknownInstanceType, UnknownRegion, UnknownBilling, UnknownRestriction: a word
            that nothing in the tables answers to, with the nearest words.

    >>> from gpu_db.load import load_offers
    >>> found = select_offers(load_offers(), gpus=["MI355X"], regions=["eu"])
    >>> [(offer.provider, offer.instance_type, offer.price_usd_per_hour) for offer in found]
    [('oci', 'BM.GPU.MI355X.8', 68.8)]
    """
    known = tuple(offers)
    wanted_gpus = None if gpus is None else _gpu_names(gpus)
    unwanted_gpus = _gpu_names(gpus_excluded)
    wanted_providers = None if providers is None else _wanted_providers(known, providers)
    wanted_types = None if instance_types is None else _wanted_types(known, instance_types)
    wanted_regions = None if regions is None else _wanted_regions(known, regions)
    wanted_billings = {*_known_words(billings, BILLINGS, UnknownBilling, "billing kind"), "owned"}
    allowed = frozenset(_known_words(allow, RESTRICTIONS, UnknownRestriction, "restriction"))
    if wanted_providers is not None:
        allowed |= _LIFTED_BY_PROVIDER
    return tuple(
        offer
        for offer in known
        if offer.billing in wanted_billings
        and (wanted_gpus is None or offer.gpu in wanted_gpus)
        and offer.gpu not in unwanted_gpus
        and (wanted_providers is None or offer.provider in wanted_providers)
        and (wanted_types is None or offer.instance_type in wanted_types)
        and (wanted_regions is None or offer.region in wanted_regions)
        and (wanted_types is not None or allowed.issuperset(offer.restrictions))
        and (since is None or offer.as_of >= since or offer.billing == "owned")
    )


def override_offers(offers: Iterable[Offer], own: Sequence[Offer]) -> tuple[Offer, ...]:
    """Return the user's own offers, then all others that they do not replace.

    An own offer replaces those of the same provider, instance type, GPU, number of GPUs and billing whose region it
    answers for: one that it names, or any when it names none.
    """
    replaced: dict[tuple[str, ...], list[str]] = {}
    for offer in own:
        replaced.setdefault(_machine_key(offer), []).append(offer.region)
    kept = (
        o for o in offers if not any(_answers_for(region, o.region) for region in replaced.get(_machine_key(o), ()))
    )
    return (*own, *kept)


def _machine_key(offer: Offer) -> tuple[str, ...]:
    words = (offer.provider, offer.instance_type, offer.gpu, str(offer.gpu_count), offer.billing)
    return tuple(word.casefold() for word in words)


def _answers_for(own_region: str, region: str) -> bool:
    return is_everywhere(own_region) or bool(set(region_words(own_region)) & set(region_words(region)))


def staleness_warnings(offers: Iterable[Offer], today: date) -> tuple[str, ...]:
    """Return one sentence for each offer whose price was read too long ago to be trusted, with its date.

    Too long is more than 60 days, or more than 180 for the on-demand and reserved list prices of AWS, Azure, GCP and
    OCI. A price dated after `today` is named too.

    >>> from gpu_db.load import load_offers
    >>> lambda_h100 = [offer for offer in load_offers() if offer.instance_type == "gpu_8x_h100_sxm5"]
    >>> print(staleness_warnings(lambda_h100, date(2026, 11, 22))[0])
    The price of lambda gpu_8x_h100_sxm5 (on-demand, us/eu (uniform)) was read on 2026-09-20, 63 days ago: check it.
    """
    return tuple(dict.fromkeys(sentence for offer in offers if (sentence := _staleness(offer, today))))


def _staleness(offer: Offer, today: date) -> str:
    age_days = (today - offer.as_of).days
    what = f"The price of {offer.provider} {offer.instance_type} ({offer.billing}, {offer.region or 'any region'})"
    if age_days < 0:
        return f"{what} is dated {offer.as_of}, after today ({today}): check it."
    if offer.billing == "owned" or age_days <= stale_after_days(offer):
        return ""
    return f"{what} was read on {offer.as_of}, {age_days} days ago: check it."


def stale_after_days(offer: Offer) -> int:
    """Return how many days the price of an offer is trusted: longer for the list prices of the four big clouds."""
    is_list_price = offer.provider in LIST_PRICE_PROVIDERS and offer.billing != "spot" and not offer.restrictions
    return STALE_DAYS_OF_LIST_PRICES if is_list_price else STALE_DAYS


def _gpu_names(words: Collection[str]) -> set[str]:
    return {gpu.name for word in words for gpu in find_gpus(word)}


def _wanted_providers(offers: Sequence[Offer], words: Collection[str]) -> set[str]:
    providers = dict.fromkeys(offer.provider for offer in offers)
    wanted: set[str] = set()
    for word in words:
        key = word.strip().casefold()
        found = {provider for provider in providers if key in {provider.casefold(), provider.casefold().split(":")[0]}}
        if not found:
            raise UnknownProvider("provider", word, providers, f"The known ones are {', '.join(sorted(providers))}.")
        wanted |= found
    return wanted


def _wanted_types(offers: Sequence[Offer], words: Collection[str]) -> set[str]:
    types = dict.fromkeys(offer.instance_type for offer in offers)
    wanted: set[str] = set()
    for word in words:
        found = {kind for kind in types if kind.casefold() == word.strip().casefold()}
        if not found:
            raise UnknownInstanceType("instance type", word, types, "Write it as the provider does.")
        wanted |= found
    return wanted


def _wanted_regions(offers: Sequence[Offer], words: Collection[str]) -> set[str]:
    """Return the wordings of all offers that answer to at least one of the asked regions."""
    classes = {offer.region: offer.region_classes for offer in offers}
    known = {
        *known_regions(),
        *REGION_CLASSES,
        *_CLASS_WORDS,
        *(word for region in classes for word in region_words(region)),
    }
    wanted: set[str] = set()
    for word in words:
        key = word.strip().casefold()
        whole = {region for region in classes if region.casefold() == key}
        if key not in known and not whole and key != "any":
            raise UnknownRegion("region", word, known, f"Classes are {', '.join(REGION_CLASSES)}; or name one region.")
        key = _CLASS_WORDS.get(key, key)
        wanted |= whole | {
            region
            for region, its_classes in classes.items()
            if is_everywhere(region) or key == "any" or key in its_classes or key in region_words(region)
        }
    return wanted


def _known_words(
    words: Collection[str], known: Sequence[str], error: type[UnknownBilling | UnknownRestriction], kind: str
) -> set[str]:
    wanted = set()
    for word in words:
        key = word.strip().casefold()
        if key not in known:
            raise error(kind, word, known, f"Allowed are {', '.join(known)}.")
        wanted.add(key)
    return wanted


def gpu_key(name: str) -> str:
    """Return a name as it is compared: letters and digits only, lower case, without its vendor.

    A memory size may be written short ("80G"), the kind of memory may follow ("HBM3e"), sockets have numbers ("SXM5").

    >>> gpu_key("NVIDIA H100 SXM-80GB") == gpu_key("h100_sxm 80gb") == gpu_key("H100-SXM5-80G HBM3")
    True
    """
    words = _SHORT_SIZE.sub(r"\1gb", _KIND_OF_MEMORY.sub("", _SXM.sub("sxm", name.casefold())))
    key = re.sub(r"[^a-z0-9]", "", words)
    for vendor in ("nvidia", "amd", "intel", "instinct", "geforce", "radeon"):
        key = key.removeprefix(vendor) or key
    return key


def names_in(gpu: str, naming_system: str) -> tuple[str, ...]:
    """What one naming system calls a GPU; empty when that is not known.

    Args:
        gpu: its name here.
        naming_system: of data/aliases.csv: "gpu-feature-discovery" (Kubernetes label), "gke", "skypilot", ...

    >>> names_in("H100 SXM 80GB", "gpu-feature-discovery")
    ('NVIDIA-H100-80GB-HBM3',)
    """
    rows = read_table("aliases.csv", ("alias", "gpu", "naming_system"))
    return tuple(row["alias"] for row in rows if (row["gpu"], row["naming_system"]) == (gpu, naming_system))


def _meant(name: str) -> tuple[str, ...]:
    key = gpu_key(name)
    full, short, family = _names_by_key()
    if key in full:
        return tuple(full[key])
    shared = _alias_table().get(key, {})
    decided = tuple(gpu for gpu, systems in shared.items() if "short" in systems)
    meant = decided or tuple(shared) or tuple(short.get(key) or family.get(key) or ())
    if not meant:
        raise _unknown_gpu(name)
    return meant


@cache
def _names_by_key() -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[str]]]:
    """GPUs by their full name, by their name without memory size, and by every beginning of that."""
    full: dict[str, list[str]] = {}
    short: dict[str, list[str]] = {}
    family: dict[str, list[str]] = {}
    for gpu in load_gpus():
        words = _short(gpu).split()
        full.setdefault(gpu_key(gpu), []).append(gpu)
        short.setdefault(gpu_key("".join(words)), []).append(gpu)
        for key in {gpu_key("".join(words[:end])) for end in range(1, len(words) + 1)}:
            family.setdefault(key, []).append(gpu)
    return full, short, family


@cache
def _alias_table() -> dict[str, dict[str, set[str]]]:
    table: dict[str, dict[str, set[str]]] = {}
    for row in read_table("aliases.csv", ("alias", "gpu", "naming_system")):
        table.setdefault(gpu_key(row["alias"]), {}).setdefault(row["gpu"], set()).add(row["naming_system"])
    return table


def _short(name: str) -> str:
    return re.sub(r"\s*\([^()]*\)|\s\d+GB\b", "", name)


def _unknown_gpu(name: str) -> UnknownGpu:
    gpus = load_gpus()
    known = [*gpus, *(alias for gpu in gpus.values() for alias in gpu.aliases)]
    return UnknownGpu("GPU", name, known, f"`plan gpus` lists all {len(gpus)}.")
