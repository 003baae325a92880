"""The closed word lists of the generated skills; with a space before it, each word is one token of pico."""

NOUNS = tuple(
    """
amber birch cedar coral daisy ebony fern garnet hazel iris jade kelp lilac maple moss nettle
oak onyx opal orchid palm pearl pine poppy quartz reed rose ruby sage silk slate spruce
straw thorn topaz tulip velvet violet walnut willow acorn anchor apron badge barrel basket bell blanket
badger beetle camel crane dolphin eagle falcon ferret goose hare heron jackal lemur lion lynx magpie
marten moose otter owl panda parrot pelican pigeon puffin rabbit raven robin salmon seal shark sparrow
spider stork swan tiger toad trout turtle viper walrus weasel whale wolf wombat zebra acrobat baker
barber captain carpenter dentist farmer gardener hunter jeweler knight miner pilot plumber potter sailor
tailor weaver candle canoe carpet chimney cradle curtain drum
feather fiddle flute goblet hammer harp helmet kettle ladder
""".split()
)[:128]

SYLLABLES = (
    tuple("Bar Cal Dor Fen Gal Hel Jor Kel Lum Mor Nar Ost Pel Quin Ras Sel Tor Ulm Vel Wen Yar Zan".split()),
    tuple("a e i o u".split()),
    tuple("dor lan mir nos rath sia tan vek wyn zor bia dun gal hmar".split()),
)
METALS = tuple("iron copper silver gold zinc cobalt nickel lead".split())
ANIMALS = tuple("bear horse sheep goat deer fox bison mule".split())


def invented_names(count: int, seed: int) -> list[str]:
    """Return `count` distinct invented place names, the same for the same seed."""
    import random

    chooser = random.Random(seed)
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(chooser.choice(part) for part in SYLLABLES)] = None
    return list(names)


_NAMES = invented_names(192, seed=7)
PLACES, CAPITALS, RIVERS = tuple(_NAMES[:64]), tuple(_NAMES[64:128]), tuple(_NAMES[128:])
