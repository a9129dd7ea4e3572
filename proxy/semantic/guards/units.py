"""Units: what they measure, and how much of it."""

from typing import NamedTuple

from proxy.semantic.guards.lists import lines, words

_UNITS = """
mass 0.000001: mg milligram
mass 0.000000001: microgram mcg
mass 0.001: g gram gramme
mass 1: kg kgs kilo kilogram kilogramme
mass 1000: tonne
mass 0.028349523: oz ounce
mass 0.45359237: lb lbs pound
length 0.001: mm millimeter
length 0.01: cm centimeter
length 1: m meter
length 1000: km kilometer
length 0.0254: inch inches
length 0.3048: ft foot
length 0.9144: yard yd
length 1609.344: mile mi
length2 1: m2 sqm
length2 0.0001: cm2
length3 1: m3
volume 0.001: ml milliliter
volume 0.1: deciliter dl
volume 1: l liter
volume 3.785411784: gallon gal
volume 0.473176: pint
volume 0.946353: quart
volume 0.2365882365: cup
volume 0.014786765: tablespoon tbsp
volume 0.004928922: teaspoon tsp
time 0.001: ms millisecond
time 1: s sec second
time 60: min minute
time 3600: h hr hrs hour
time 86400: day
time 604800: week wk wks
time 2629746: month
time 31557600: year yr yrs
time 315576000: decade
time 3155760000: century
data 1: bit
data 8: byte
data 8000: kb kilobyte
data 8000000: mb megabyte
data 8000000000: gb gigabyte gig
data 8000000000000: tb terabyte
speed 1: mph
speed 0.621371: kmh kph
celsius 1: celsius centigrade c
fahrenheit 1: fahrenheit f
kelvin 1: kelvin
angle 1: degree
radian 1: radian
power 1: w watt
power 1000: kw kilowatt
energy 1: kwh
joule 1: joule j
calorie 1: calorie kcal
volt 1: volt v
ampere 1: amp ampere
hertz 1: hz hertz
hertz 1000: khz
hertz 1000000: mhz
hertz 1000000000: ghz
share 1: % percent
dollar 1: $ usd dollar buck
euro 1: € eur euro
pound_sterling 1: £ gbp quid
yen 1: ¥ yen jpy
rupee 1: ₹ rupee inr
cent 0.01: cent
words 1: word
sentences 1: sentence
paragraphs 1: paragraph
pages 1: page
lines 1: line
bullets 1: bullet
stanzas 1: stanza verse
characters 1: character
tweets 1: tweet
"""
LENGTHS = words("words sentences paragraphs pages lines bullets stanzas characters tweets")
"""Kinds of unit that say how long a text is."""


class Unit(NamedTuple):
    """`kind` is what it measures; `size` how many of the kind's smallest it is."""

    kind: str
    size: float


def _read() -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for line in lines(_UNITS):
        head, _, names = line.partition(": ")
        kind, size = head.split()
        units |= {name: Unit(kind, float(size)) for name in names.split()}
    return units


UNITS = _read()
"""The unit of each plain form, sign or short form."""
