"""What serving costs over years, rented or bought. Arithmetic, no facts: every price and share is given.

    capital               = machines * (1 + network share)
    depreciation per year = capital * (1 - residual share) / life                      straight line
    owned per year        = depreciation + capital * maintenance share + running       power or colocation, staff
    useful hour           = owned per year / (8760 * utilization)
    break-even            = owned per year / (8760 * rent per hour)                    as a utilization

Utilization is duty: the share of all hours in which the machines are wanted. Headroom under load is not part of it: a
plan has bought that already. The conventions are worked by hand in docs/method/cost.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HOURS_PER_YEAR = 8760
MONTHS_PER_YEAR = 12
KILO = 1000
LONGEST_SEARCH_MONTHS = 600


@dataclass(frozen=True)
class Ownership:
    """Machines of one's own.

    Attributes:
        machines_usd: what all of them cost to buy.
        network_share: switches, cables and racks, over `machines_usd`.
        life_years: after which they are sold for `residual_share` of their capital and bought anew.
        maintenance_share: of capital, every year.
        running_usd_per_year: power or colocation, and staff.
    """

    machines_usd: float
    network_share: float
    life_years: float
    residual_share: float
    maintenance_share: float
    running_usd_per_year: float

    def __post_init__(self) -> None:
        if not self.life_years > 0:
            raise ValueError(f"Machines that live {self.life_years} years cannot be written off; give more than 0.")
        if min(self.machines_usd, self.network_share, self.maintenance_share, self.running_usd_per_year) < 0:
            raise ValueError("Nothing that is paid for machines is below zero.")
        if not 0 <= self.residual_share <= 1:
            raise ValueError(f"A residual share lies between 0 and 1, not {self.residual_share}.")

    @property
    def capital_usd(self) -> float:
        """Machines and their network.

        >>> EIGHT_H100.capital_usd
        319200.0
        """
        return self.machines_usd + self.machines_usd * self.network_share

    @property
    def depreciation_usd_per_year(self) -> float:
        """Straight line over the life, down to the residual value."""
        return self.capital_usd * (1 - self.residual_share) / self.life_years

    @property
    def upkeep_usd_per_year(self) -> float:
        """Maintenance, and what runs whether anybody asks or not."""
        return self.capital_usd * self.maintenance_share + self.running_usd_per_year

    @property
    def usd_per_year(self) -> float:
        """All of it in a mean year.

        >>> EIGHT_H100.usd_per_year
        114600.0
        """
        return self.depreciation_usd_per_year + self.upkeep_usd_per_year

    @property
    def usd_per_hour(self) -> float:
        """A mean hour of a year, used or not."""
        return self.usd_per_year / HOURS_PER_YEAR

    def cash_usd(self, months: float) -> float:
        """What has left the purse after so many months: purchases, less what worn-out machines brought, and upkeep.

        Raises:
            ValueError: months below zero.

        >>> EIGHT_H100.cash_usd(0), EIGHT_H100.cash_usd(48), EIGHT_H100.cash_usd(60)
        (319200.0, 458400.0, 812400.0)
        """
        if months < 0:
            raise ValueError(f"{months} months have not passed yet.")
        renewals = max(math.ceil(months / (self.life_years * MONTHS_PER_YEAR)) - 1, 0)
        bought = self.capital_usd * (1 + renewals * (1 - self.residual_share))
        return bought + self.upkeep_usd_per_year * months / MONTHS_PER_YEAR

    def cost_usd(self, years: float) -> float:
        """The same when what is left after `years` is sold for what it is still worth on the straight line."""
        return self.usd_per_year * years


EIGHT_H100 = Ownership(
    machines_usd=285_000,
    network_share=0.12,
    life_years=4,
    residual_share=0,
    maintenance_share=0.04,
    running_usd_per_year=22_032,
)
"""The worked example of docs/method/cost.md: one 8-GPU server at 10.2 kW in colocation."""


def colocation_usd_per_year(provisioned_watts: float, usd_per_kilowatt_month: float) -> float:
    """Colocation is billed on provisioned power, electricity included.

    >>> colocation_usd_per_year(10_200, 180)
    22032.0
    """
    return provisioned_watts * usd_per_kilowatt_month * MONTHS_PER_YEAR / KILO


def own_room_usd_per_year(machine_watts: float, pue: float, usd_per_kilowatt_hour: float) -> float:
    """Electricity of machines that draw so much all year in a room of one's own; the room's rent is not in it.

    >>> round(own_room_usd_per_year(10_200, 1.4, 0.10), 2)
    12509.28
    """
    return machine_watts * pue * usd_per_kilowatt_hour * HOURS_PER_YEAR / KILO


def useful_hour_usd(usd_per_year: float, utilization: float) -> float:
    """What an hour costs in which the machines are wanted.

    >>> round(useful_hour_usd(EIGHT_H100.usd_per_year / 8, 0.7), 2)
    2.34
    """
    if not 0 < utilization <= 1:
        raise ValueError(f"A utilization is above 0 and at most 1, not {utilization}.")
    return usd_per_year / (HOURS_PER_YEAR * utilization)


def break_even_utilization(owned_usd_per_year: float, rent_usd_per_hour: float) -> float:
    """The share of hours from which owning costs less than renting by the hour; above 1, it never does.

    >>> round(break_even_utilization(EIGHT_H100.usd_per_year / 8, 3.20), 2)
    0.51
    """
    return math.inf if rent_usd_per_hour <= 0 else owned_usd_per_year / (HOURS_PER_YEAR * rent_usd_per_hour)


@dataclass(frozen=True)
class Rent:
    """Machines of somebody else's.

    Attributes:
        usd_per_hour: of all of them.
        term_years: committed to and paid for in every hour; 0 = paid by the hour, in those hours that are used.
    """

    usd_per_hour: float
    term_years: int = 0

    def paid_usd(self, months: float, utilization: float) -> float:
        """What has been paid after so many months, as the months go by.

        >>> Rent(25.6).paid_usd(12, 0.5), Rent(12.0, term_years=1).paid_usd(6, 0.5)
        (112128.0, 52560.0)
        """
        return self._billed(utilization) * self.usd_per_hour * HOURS_PER_YEAR * months / MONTHS_PER_YEAR

    def cost_usd(self, years: float, utilization: float) -> float:
        """What `years` of use cost: a term that has begun is paid to its end.

        >>> Rent(1.0, term_years=3).cost_usd(1, 1.0), Rent(1.0, term_years=3).cost_usd(4, 0.2)
        (26280.0, 52560.0)
        """
        paid = math.ceil(years / self.term_years) * self.term_years if self.term_years else years
        return self._billed(utilization) * self.usd_per_hour * HOURS_PER_YEAR * paid

    def _billed(self, utilization: float) -> float:
        """The share of all hours that is paid for."""
        if not 0 < utilization <= 1:
            raise ValueError(f"A utilization is above 0 and at most 1, not {utilization}.")
        return 1.0 if self.term_years else utilization


def break_even_month(owned: Ownership, rent: Rent, utilization: float) -> int | None:
    """The first month at whose end owning has taken no more cash than renting; None within 50 years.

    It can be lost again when machines are renewed at the end of their life.

    >>> break_even_month(EIGHT_H100, Rent(8 * 3.20), 0.7), break_even_month(EIGHT_H100, Rent(8 * 3.20), 0.3)
    (32, None)
    """
    months = range(1, LONGEST_SEARCH_MONTHS + 1)
    return next((m for m in months if owned.cash_usd(m) <= rent.paid_usd(m, utilization)), None)
