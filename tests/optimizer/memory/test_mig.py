"""MIG profiles by NVIDIA's own names, as its user guide lists them."""

import pytest

from gpu_db.load import load_gpus
from optimizer.memory.mig import CannotShare, mig_profile

GUIDE = {
    "A30 24GB": "1g.6gb 2g.12gb 4g.24gb",
    "A100 SXM 40GB": "1g.5gb 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb",
    "A100 SXM 80GB": "1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb",
    "H100 SXM 80GB": "1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb",
    "H100 NVL 94GB": "1g.12gb 1g.24gb 2g.24gb 3g.47gb 4g.47gb 7g.94gb",
    "GH200 96GB": "1g.12gb 1g.24gb 2g.24gb 3g.48gb 4g.48gb 7g.96gb",
    "H200 SXM 141GB": "1g.18gb 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb",
    "B200 SXM 180GB": "1g.23gb 1g.45gb 2g.45gb 3g.90gb 4g.90gb 7g.180gb",
    "RTX PRO 6000 Blackwell Server 96GB": "1g.24gb 2g.48gb 4g.96gb",
    "RTX PRO 5000 Blackwell 48GB": "1g.24gb 2g.48gb",
}
"""Source: NVIDIA Multi-Instance GPU User Guide, "Supported MIG Profiles" and "Supported GPUs" (most instances of each),
docs.nvidia.com/datacenter/tesla/mig-user-guide, read 2026-11-22."""

SLICES = {"A30": 4, "RTX PRO 6000": 4, "RTX PRO 5000": 2}
"""Most instances by the guide, where they are not seven."""


@pytest.mark.parametrize(("card", "profile"), [(card, name) for card, names in GUIDE.items() for name in names.split()])
def test_every_profile_of_the_guide_is_its_part_of_the_card(card: str, profile: str) -> None:
    whole = load_gpus()[card]
    part = mig_profile(whole, profile)
    gb = int(profile.split(".")[1].removesuffix("gb"))
    assert part.memory_marketed_bytes == pytest.approx(gb * 1e9, rel=0.04)
    slices = next((count for name, count in SLICES.items() if card.startswith(name)), 7)
    compute = int(profile[0]) / slices
    assert part.flop_per_second["bf16"] == pytest.approx(whole.flop_per_second["bf16"] * compute)
    assert part.name == f"{card} MIG {profile}"


@pytest.mark.parametrize(
    ("card", "profile", "said"),
    [
        ("H100 SXM 80GB", "3g.20gb", "it has 1g.10gb"),
        ("H100 SXM 80GB", "half", "it has 1g.10gb"),
        ("H100 SXM 80GB", "5g.50gb", "it has 1g.10gb"),
        ("H100 SXM 80GB", "9" * 9999 + "g.1gb", "it has 1g.10gb"),
        ("L40S 48GB", "1g.6gb", "cannot be split by MIG"),
        ("MI300X 192GB", "1g.24gb", "cannot be split by MIG"),
        ("Jetson AGX Thor T5000 128GB", "1g.16gb", "are not published"),
    ],
)
def test_what_is_no_profile_is_refused(card: str, profile: str, said: str) -> None:
    with pytest.raises(CannotShare, match=said):
        mig_profile(load_gpus()[card], profile)


@pytest.mark.parametrize("profile", ["1g.34gb", "1g.67gb", "2g.67gb", "3g.135gb", "4g.135gb", "7g.269gb"])
def test_names_of_what_the_driver_leaves_are_understood(profile: str) -> None:
    # AWS's names on B300, of 269 GB that are left of 288 (sagemaker-hyperpod-cli, pull request 403).
    assert mig_profile(load_gpus()["B300 SXM 288GB"], profile).name.endswith(profile)
