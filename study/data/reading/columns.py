"""The meaning of a file's columns, by the names that vendors give them."""

import re
import unicodedata
from collections.abc import Sequence

DATE_COLUMN = "Date"
BAR_COLUMNS = ("Open", "High", "Low", "Close", "Volume")
OPEN, HIGH, LOW, CLOSE, VOLUME = range(len(BAR_COLUMNS))
"""Position of each column in an array of bars, shape (n_bars, 5)."""
PRICES = slice(OPEN, VOLUME)

NEEDS_VOLUME = (
    "An index or a pair of currencies has none: take a fund or a future on it, such as SPY or ES, "
    "or a vendor that gives the volume of its members."
)
"""Remedy for an instrument without volume, of which every tier has inputs."""

ADJUSTED_CLOSE = "Adj Close"
ADJUSTED_VOLUME = "Adj Volume"
SYMBOL = "Symbol"

NAMES: dict[str, tuple[str, ...]] = {
    DATE_COLUMN: (
        "date", "datetime", "datum", "fecha", "data", "dtyyyymmdd", "tradedate", "tradingday",
        "observationdate", "day", "timestamp", "time", "gmttime", "localtime", "opentime",
        "exchangedate", "dates", "windowstart", "tsevent", "unix", "t",
    ),
    "Open": (
        "open", "openprice", "openingprice", "eroeffn", "eroeffnung", "eroeffnungskurs", "erster",
        "first", "pxopen", "ouv", "ouverture", "apertura", "abertura", "o",
    ),
    "High": (
        "high", "highprice", "hoch", "tageshoch", "max", "plushaut", "maximo", "massimo", "maxima",
        "pxhigh", "h",
    ),
    "Low": (
        "low", "lowprice", "tief", "tagestief", "min", "plusbas", "minimo", "minima", "pxlow", "l",
    ),
    "Close": (
        "close", "closelast", "closeprice", "closingprice", "schluss", "schlusskurs", "cloture",
        "cierre", "chiusura", "settle", "settlementprice", "last", "lastprice", "latest", "zuletzt",
        "dernier", "ultimo", "price", "pxlast", "c",
    ),
    "Volume": (
        "volume", "vol", "totalvolume", "numberofshares", "stuecke", "volumen", "volumefrom",
        "tickvol", "tickvolume", "pxvolume", "v",
    ),
    ADJUSTED_CLOSE: ("adjclose", "adjustedclose", "adjustedclosingprice", "adjustmentclose"),
    ADJUSTED_VOLUME: ("adjvolume", "adjustedvolume", "adjustmentvolume"),
    SYMBOL: (
        "ticker", "symbol", "tic", "code", "instrument", "contract", "asset", "security", "isin",
        "tscode", "actsymbol", "stockcode", "securitycode", "securityid", "instrumentid", "permno",
        "permco", "sid", "gvkey", "figi", "stock", "pair", "coin", "name",
    ),
}  # fmt: skip
"""Accepted names of each column, the preferred ones first: letters and digits in lower case.

They are those of Yahoo and yfinance, Nasdaq.com, Investing.com (English, German, French, Spanish,
Italian, Portuguese), Stooq, MetaTrader 4 and 5, TradingView, Barchart, Alpha Vantage, Tiingo, EOD
Historical Data, Polygon, Binance, CryptoDataDownload, Interactive Brokers, Dukascopy, NSE India,
J-Quants, Quandl, Euronext, Nasdaq Nordic, ariva.de, Bloomberg and LSEG (Refinitiv)."""

INDEX_KEYS = ("", "index", "unnamed0", "level0")
"""Names that pandas gives a first column that has none."""

_OF_A_CURRENCY = re.compile(r"volume[ _]*[( _][A-Z]{2,6}\)?", re.IGNORECASE)
"""``Volume BTC`` and ``Volume USD`` of CryptoDataDownload: the base currency stands first."""
_AVERAGES = ("ma", "ema", "sma", "avg")

_TRANSLITERATED = str.maketrans(
    {"\u00e4": "ae", "\u00f6": "oe", "\u00fc": "ue", "\u00df": "ss"},
)
"""German letters; other accents are dropped."""
_NUMBERING = re.compile(r"\d+[a-z]?\.\s")
"""``1. open`` of Alpha Vantage."""


def find_columns(column: str, names: Sequence[str]) -> list[int]:
    """Return the positions of the columns that could be ``column``, the preferred ones first.

    Args:
        column: a key of NAMES.
        names: of all columns, as the file has them.
    """
    return find_names(NAMES[column], names) + (
        [at for at, name in enumerate(names) if _is_volume_of_a_currency(name)]
        if column == "Volume"
        else []
    )


def find_names(accepted: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the positions of the columns with accepted names, in the order of ``accepted``."""
    keys = [column_key(name) for name in names]
    return [at for each in accepted for at, key in enumerate(keys) if key == each]


def like_volume(names: Sequence[str]) -> list[str]:
    """Return the names that mean a volume in a way that is not known: ``Volume (000s)``."""
    known = {names[at] for at in find_columns("Volume", names)}
    keys = {name: column_key(name) for name in names if name not in known}
    return [
        name
        for name, key in keys.items()
        if (key.startswith("vol") or "volume" in key) and "volatil" not in key
    ]


def is_date_name(name: str) -> bool:
    """Could a column of this name hold dates?"""
    return column_key(name) in NAMES[DATE_COLUMN]


def column_key(name: str) -> str:
    """Return the letters and digits of a name in lower case, without a number in front."""
    name = _NUMBERING.sub("", name.strip().lower(), count=1)
    name = unicodedata.normalize("NFKD", name.translate(_TRANSLITERATED))
    return re.sub(r"[^0-9a-z]", "", name)


def _is_volume_of_a_currency(name: str) -> bool:
    match = _OF_A_CURRENCY.fullmatch(name.strip())
    return match is not None and column_key(name).removeprefix("volume") not in _AVERAGES
