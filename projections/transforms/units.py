"""Units of measure and their exact factors: by definition (SI, the international yard and pound), never measured.

Names are those of Akeneo's measurement families; symbols and English names are understood as well.
"""

from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """A unit: `amount * factor + offset` is the amount in the base unit of its kind."""

    name: str
    kind: str
    symbol: str
    factor: Fraction
    offset: Fraction


_TABLE = """
length
  KILOMETER km 1000 kilometre
  METER m 1 metre
  DECIMETER dm 0.1 decimetre
  CENTIMETER cm 0.01 centimetre
  MILLIMETER mm 0.001 millimetre
  MICROMETER µm 0.000001 um micrometre
  INCH in 0.0254 inches "
  FEET ft 0.3048 foot ft.
  YARD yd 0.9144
  MILE mi 1609.344
mass
  TON t 1000 tonne metric_ton
  KILOGRAM kg 1 kilogramme
  GRAM g 0.001 gramme gr
  MILLIGRAM mg 0.000001 milligramme
  MICROGRAM µg 0.000000001 ug mcg
  POUND lb 0.45359237 lbs pounds
  OUNCE oz 0.028349523125 ounces
  STONE st 6.35029318
area
  SQUARE_KILOMETER km² 1000000 km2
  HECTARE ha 10000
  SQUARE_METER m² 1 m2 sqm
  SQUARE_DECIMETER dm² 0.01 dm2
  SQUARE_CENTIMETER cm² 0.0001 cm2
  SQUARE_MILLIMETER mm² 0.000001 mm2
  SQUARE_INCH in² 0.00064516 in2 sq_in
  SQUARE_FOOT ft² 0.09290304 ft2 sq_ft sqft
  SQUARE_YARD yd² 0.83612736 yd2
  ACRE ac 4046.8564224
volume
  CUBIC_METER m³ 1000 m3
  HECTOLITER hl 100
  LITER l 1 litre L
  DECILITER dl 0.1 dL
  CENTILITER cl 0.01 cL
  MILLILITER ml 0.001 mL millilitre cc
  CUBIC_DECIMETER dm³ 1 dm3
  CUBIC_CENTIMETER cm³ 0.001 cm3 ccm
  CUBIC_MILLIMETER mm³ 0.000001 mm3
  CUBIC_INCH in³ 0.016387064 in3
  CUBIC_FOOT ft³ 28.316846592 ft3
  GALLON gal 3.785411784 us_gal
  QUART qt 0.946352946
  PINT pt 0.473176473
  OUNCE_FLUID fl_oz 0.0295735295625 floz us_fl_oz
  IMPERIAL_GALLON imp_gal 4.54609
  IMPERIAL_PINT imp_pt 0.56826125
  IMPERIAL_OUNCE_FLUID imp_fl_oz 0.0284130625
temperature
  KELVIN K 1
  CELSIUS °C 1+273.15 degree_celsius
  FAHRENHEIT °F 5/9+45967/180 degree_fahrenheit
duration
  DAY d 86400 days
  HOUR h 3600 hours hr
  MINUTE min 60 minutes
  SECOND s 1 seconds sec
  MILLISECOND ms 0.001
speed
  METER_PER_SECOND m/s 1
  KILOMETER_PER_HOUR km/h 5/18 kmh kph
  MILE_PER_HOUR mph 0.44704
power
  MEGAWATT MW 1000000
  KILOWATT kW 1000
  WATT W 1
  MILLIWATT mW 0.001
energy
  KILOWATT_HOUR kWh 3600000
  WATT_HOUR Wh 3600
  KILOJOULE kJ 1000
  JOULE J 1
  KILOCALORIE kcal 4184
  CALORIE cal 4.184
pressure
  BAR bar 100000
  MILLIBAR mbar 100
  MEGAPASCAL MPa 1000000
  KILOPASCAL kPa 1000
  HECTOPASCAL hPa 100
  PASCAL Pa 1
voltage
  KILOVOLT kV 1000
  VOLT V 1
  MILLIVOLT mV 0.001
current
  AMPERE A 1
  MILLIAMPERE mA 0.001
charge
  AMPEREHOUR Ah 3600
  MILLIAMPEREHOUR mAh 3.6
resistance
  MEGAOHM MΩ 1000000
  KILOHM kΩ 1000
  OHM Ω 1
frequency
  GIGAHERTZ GHz 1000000000
  MEGAHERTZ MHz 1000000
  KILOHERTZ kHz 1000
  HERTZ Hz 1
force
  KILONEWTON kN 1000
  NEWTON N 1
angle
  DEGREE ° 1 deg
binary
  TERABYTE TB 8000000000000
  GIGABYTE GB 8000000000
  MEGABYTE MB 8000000
  KILOBYTE KB 8000 kB
  BYTE B 8
  BIT b 1
  GIBIBYTE GiB 8589934592
  MEBIBYTE MiB 8388608
brightness
  LUMEN lm 1
luminance
  CANDELA_PER_SQUARE_METER cd/m² 1 nit
proportion
  PERCENT % 0.01 pct
  PER_MILLE ‰ 0.001
count
  PIECE pcs 1 piece pc pieces unit
  DOZEN dz 12 dozen
"""


def _number(text: str) -> Fraction:
    return Fraction(text)


def _parsed() -> tuple[dict[str, Unit], dict[str, Unit]]:
    units: dict[str, Unit] = {}
    spelt: dict[str, Unit] = {}
    kind = ""
    for line in _TABLE.splitlines():
        if not line.startswith(" "):
            kind = line
            continue
        name, symbol, factor, *others = line.split()
        scale, _, offset = factor.partition("+")
        unit = Unit(name, kind, symbol.replace("_", " "), _number(scale), _number(offset or "0"))
        units[name] = unit
        for each in (name, name.lower(), name.title(), symbol, symbol.replace("_", " "), *others):
            spelt[each] = unit
    return units, spelt


UNITS, _SPELT = _parsed()
"""Every unit, by its name."""

KINDS = tuple(dict.fromkeys(unit.kind for unit in UNITS.values()))

_LOWER = {name.lower(): unit for name, unit in _SPELT.items()}
_CLASHING = {name.lower() for name, unit in _SPELT.items() if _LOWER[name.lower()] is not unit}
"""Spellings that only case tells apart: `mW` and `MW`, `b` and `B`."""


def find_unit(text: str) -> Unit | None:
    """The unit of a name or a symbol, whatever its case unless case tells units apart; None if there is none."""
    text = text.strip()
    unit = _SPELT.get(text)
    if unit is not None or text.lower() in _CLASHING:
        return unit
    return _LOWER.get(text.lower().replace(" ", "_")) or _LOWER.get(text.lower())
