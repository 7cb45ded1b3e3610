"""Writers of the files that vendors give, each from one frame of bars."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

Writer = Callable[[pd.DataFrame, Path], Path]
"""Writes bars (index of days, columns Open High Low Close Volume) into a folder."""


def bars_of(days: pd.DatetimeIndex, seed: int = 0) -> pd.DataFrame:
    """Return bars with prices of two decimals around 950, below and above 1,000."""
    opens = [round(900 + 97.31 * ((at * 7 + seed) % 11) / 5 + 0.13, 2) for at in range(len(days))]
    frame = pd.DataFrame({"Open": opens}, index=days)
    frame["High"] = (frame["Open"] + 12.34).round(2)
    frame["Low"] = (frame["Open"] - 23.45).round(2)
    frame["Close"] = (frame["Open"] + [(at % 5) - 2.5 for at in range(len(days))]).round(2)
    frame["Volume"] = [3_392_940_000.0 + 1_000_000 * (at % 13) for at in range(len(days))]
    return frame


def text(
    suffix: str,
    header: str | None,
    row: Callable[[pd.Timestamp, pd.Series], str],
    *,
    newest_first: bool = False,
    below: str = "",
    encoding: str = "utf-8",
) -> Writer:
    """Return a writer of lines: a header, a row per bar, and what stands below."""

    def write(bars: pd.DataFrame, folder: Path) -> Path:
        lines = [row(pd.Timestamp(str(day)), bar) for day, bar in bars.iterrows()]
        lines = lines[::-1] if newest_first else lines
        path = folder / f"file{suffix}"
        path.write_text("\n".join([*([] if header is None else [header]), *lines, below]), encoding)
        return path

    return write


def comma(value: float, decimals: int = 2) -> str:
    return f"{value:.{decimals}f}".replace(".", ",")


def thousands(value: float) -> str:
    return f"{value:,.2f}"


def german(value: float) -> str:
    return thousands(value).translate(str.maketrans(",.", ".,"))


def epoch(day: pd.Timestamp, scale: int, hour: int = 0) -> int:
    return (int(day.timestamp()) + hour * 3600) * scale


def plain(bar: pd.Series, separator: str = ",") -> str:
    return separator.join(f"{bar[name]:.2f}" for name in ("Open", "High", "Low", "Close"))


def dated(form: str) -> Writer:
    """Return a writer of a plain file whose dates are written by ``strftime``."""
    return text(
        ".csv",
        "Date,Open,High,Low,Close,Volume",
        lambda day, bar: f'"{day.strftime(form)}",{plain(bar)},{bar["Volume"]:.0f}',
    )


def yfinance(
    order: Sequence[str], *, ticker_first: bool = False, index_row: bool = True, corner: str = ""
) -> Writer:
    """Return a writer of columns of two levels, as ``to_csv`` of pandas writes them."""

    def write(bars: pd.DataFrame, folder: Path) -> Path:
        full = bars.assign(**{"Adj Close": bars["Close"] * 0.5})[list(order)]
        levels = [["Price" if corner == "" else corner, *order], ["Ticker", *["SPY"] * len(order)]]
        levels = levels[::-1] if ticker_first else levels
        head = [",".join(level) for level in levels]
        if index_row:
            head.append("Date" + "," * len(order))
        rows = [f"{day:%Y-%m-%d},{','.join(map(repr, bar))}" for day, *bar in full.itertuples()]
        path = folder / "yf.csv"
        path.write_text("\n".join([*head, *rows, ""]))
        return path

    return write


def parquet(shape: Callable[[pd.DataFrame], pd.DataFrame]) -> Writer:
    """Return a writer of a frame that ``shape`` makes of the bars."""

    def write(bars: pd.DataFrame, folder: Path) -> Path:
        path = folder / "file.parquet"
        shape(bars).to_parquet(path)
        return path

    return write


def two_tickers(bars: pd.DataFrame) -> pd.DataFrame:
    return pd.concat({"QQQ": bars * 0.5, "SPY": bars}, axis=1).swaplevel(axis=1)


def long_index(bars: pd.DataFrame) -> pd.DataFrame:
    both = pd.concat({"QQQ": bars * 0.5, "SPY": bars}, names=["symbol", "timestamp"])
    return both.rename(columns=str.lower)


ONE: dict[str, Writer] = {
    "stooq": dated("%Y-%m-%d"),
    "iso with time": dated("%Y-%m-%d 00:00:00"),
    "iso with zone": dated("%Y-%m-%dT00:00:00-05:00"),
    "compact": dated("%Y%m%d"),
    "slashes, year first": dated("%Y/%m/%d"),
    "Excel US": dated("%-m/%-d/%Y"),
    "Excel US, short year": dated("%-m/%-d/%y"),
    "Google, with time": dated("%-m/%-d/%Y 16:00:00"),
    "12-hour clock": dated("%m/%d/%Y 4:00 PM"),
    "UK": dated("%d/%m/%Y"),
    "German": dated("%d.%m.%Y"),
    "German, short year": dated("%d.%m.%y"),
    "Dutch": dated("%d-%m-%Y"),
    "year first, short year": dated("%y-%m-%d"),
    "Yahoo page": dated("%b %-d, %Y"),
    "Yahoo page, padded": dated("%b %d, %Y"),
    "full name": dated("%B %-d, %Y"),
    "NSE": dated("%d-%b-%Y"),
    "Excel d-mmm-yy": dated("%-d-%b-%y"),
    "with weekday": dated("%a, %d %b %Y"),
    "Nasdaq": text(
        ".csv",
        "Date,Close/Last,Volume,Open,High,Low",
        lambda day, bar: (
            f"{day:%m/%d/%Y},${bar['Close']:.2f},{bar['Volume']:.0f},${bar['Open']:.2f},"
            f"${bar['High']:.2f},${bar['Low']:.2f}"
        ),
        newest_first=True,
    ),
    "Investing": text(
        ".csv",
        '"Date","Price","Open","High","Low","Vol.","Change %"',
        lambda day, bar: (
            f'"{day:%m/%d/%Y}","{thousands(bar["Close"])}","{thousands(bar["Open"])}",'
            f'"{thousands(bar["High"])}","{thousands(bar["Low"])}","{bar["Volume"] / 1e9:.2f}B",'
            '"-0.16%"'
        ),
        newest_first=True,
        encoding="utf-8-sig",
    ),
    "Investing, German": text(
        ".csv",
        '"Datum","Zuletzt","Er\u00f6ffn.","Hoch","Tief","Vol.","+/- %"',
        lambda day, bar: (
            f'"{day:%d.%m.%Y}","{german(bar["Close"])}","{german(bar["Open"])}",'
            f'"{german(bar["High"])}","{german(bar["Low"])}","{comma(bar["Volume"] / 1e9)}B",'
            '"-0,16%"'
        ),
        newest_first=True,
        encoding="utf-8-sig",
    ),
    "Investing, Spanish": text(
        ".csv",
        '"Fecha","\u00daltimo","Apertura","M\u00e1ximo","M\u00ednimo","Vol.","% var."',
        lambda day, bar: (
            f'"{day:%d.%m.%Y}","{german(bar["Close"])}","{german(bar["Open"])}",'
            f'"{german(bar["High"])}","{german(bar["Low"])}","{comma(bar["Volume"] / 1e9)}B",'
            '"-0,16%"'
        ),
        newest_first=True,
    ),
    "Nasdaq Nordic": text(
        ".csv",
        "sep=;\nDate;Bid;Ask;Opening price;High price;Low price;Closing price;Average price;"
        "Total volume;Turnover;Trades;",
        lambda day, bar: (
            f"{day:%Y-%m-%d};1,00;2,00;{plain(bar, ';').replace('.', ',')};3,00;"
            f"{bar['Volume']:.0f};4,00;5;"
        ),
        newest_first=True,
    ),
    "Euronext": text(
        ".csv",
        '"Historical Data"\n"From 2014-11-25 to 2016-02-04"\nUS0000000000\n'
        'Date;Open;High;Low;Last;Close;"Number of Shares";"Number of Trades";Turnover;vwap',
        lambda day, bar: (
            f"{day:%d/%m/%Y};{bar['Open']:.2f};{bar['High']:.2f};{bar['Low']:.2f};1;"
            f"{bar['Close']:.2f};{bar['Volume']:.0f};5;6;7"
        ),
        newest_first=True,
    ),
    "Dukascopy": text(
        ".csv",
        "Gmt time,Open,High,Low,Close,Volume",
        lambda day, bar: f"{day:%d.%m.%Y} 00:00:00.000,{plain(bar)},{bar['Volume']:.4f}",
    ),
    "Dukascopy, local time": text(
        ".csv",
        "Local time,Open,High,Low,Close,Volume",
        lambda day, bar: f"{day:%d.%m.%Y} 02:00:00.000 GMT+0200,{plain(bar)},{bar['Volume']:.4f}",
    ),
    "Kibot": text(
        ".txt", None, lambda day, bar: f"{day:%m/%d/%Y},{plain(bar)},{bar['Volume']:.0f}"
    ),
    "Kraken": text(
        ".csv", None, lambda day, bar: f"{epoch(day, 1)},{plain(bar)},{bar['Volume']:.8f},1234"
    ),
    "CoinMarketCap": text(
        ".csv",
        "timeOpen;timeClose;timeHigh;timeLow;name;open;high;low;close;volume;marketCap;timestamp",
        lambda day, bar: (
            f'"{day:%Y-%m-%dT00:00:00.000Z}";"{day:%Y-%m-%dT23:59:59.999Z}";"x";"y";"2781";'
            f'{plain(bar, ";")};{bar["Volume"]};1;"{day:%Y-%m-%dT23:59:59.999Z}"'
        ),
        newest_first=True,
        encoding="utf-8-sig",
    ),
    "ariva": text(
        ".csv",
        "Datum;Erster;Hoch;Tief;Schlusskurs;Stuecke;Volumen",
        lambda day, bar: (
            f"{day:%Y-%m-%d};"
            + ";".join(german(bar[name]) for name in ("Open", "High", "Low", "Close"))
            + f";{german(bar['Volume'])};{german(bar['Volume'] * 1000)}"
        ),
        newest_first=True,
        encoding="latin-1",
    ),
    "semicolons": text(
        ".csv",
        "Date;Open;High;Low;Close;Volume",
        lambda day, bar: f"{day:%d.%m.%Y};{plain(bar, ';').replace('.', ',')};{bar['Volume']:.0f}",
    ),
    "semicolons, no header": text(
        ".txt",
        None,
        lambda day, bar: f"{day:%Y%m%d} 170000;{plain(bar, ';')};{bar['Volume']:.0f}",
    ),
    "tabs": text(
        ".tsv",
        "Date\tOpen\tHigh\tLow\tClose\tVolume",
        lambda day, bar: f"{day:%b %d, %Y}\t{plain(bar, chr(9))}\t{bar['Volume']:,.0f}",
    ),
    "TradingView": text(
        ".csv",
        "time,open,high,low,close,Volume,Volume MA",
        lambda day, bar: f"{epoch(day, 1, 14)},{plain(bar)},{bar['Volume']:.0f},NaN",
    ),
    "Binance": text(
        ".csv",
        None,
        lambda day, bar: (
            f"{epoch(day, 1000)},{plain(bar)},{bar['Volume']},{epoch(day, 1000, 23)},1,2,3,4,0"
        ),
    ),
    "Binance since 2025": text(
        ".csv",
        None,
        lambda day, bar: (
            f"{epoch(day, 10**6)},{plain(bar)},{bar['Volume']},{epoch(day, 10**6, 23)},1,2,3,4,0"
        ),
    ),
    "Alpha Vantage": text(
        ".csv",
        "timestamp,1. open,2. high,3. low,4. close,5. adjusted close,6. volume",
        lambda day, bar: f"{day:%Y-%m-%d},{plain(bar)},{bar['Close'] / 2:.2f},{bar['Volume']:.0f}",
        newest_first=True,
    ),
    "Polygon": text(
        ".csv",
        "ticker,volume,open,close,high,low,window_start,transactions",
        lambda day, bar: (
            f"SPY,{bar['Volume']:.0f},{bar['Open']:.2f},{bar['Close']:.2f},{bar['High']:.2f},"
            f"{bar['Low']:.2f},{epoch(day, 10**9, 5)},100"
        ),
    ),
    "MetaTrader 4": text(
        ".csv",
        None,
        lambda day, bar: f"{day:%Y.%m.%d},00:00,{plain(bar)},{bar['Volume']:.0f}",
    ),
    "MetaTrader 5": text(
        ".csv",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>",
        lambda day, bar: (
            f"{day:%Y.%m.%d}\t00:00:00\t{plain(bar, chr(9))}\t12\t{bar['Volume']:.0f}\t5"
        ),
    ),
    "Stooq bulk": text(
        ".us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
        lambda day, bar: f"SPY.US,D,{day:%Y%m%d},000000,{plain(bar)},{bar['Volume']:.0f},0",
    ),
    "Metastock": text(
        ".prn.txt",
        "<TICKER>,<DTYYYYMMDD>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
        lambda day, bar: f"SPY,{day:%Y%m%d},{plain(bar)},{bar['Volume']:.0f}",
    ),
    "symbol first, no header": text(
        ".txt", None, lambda day, bar: f"SPY,{day:%Y%m%d},{plain(bar)},{bar['Volume']:.0f}"
    ),
    "LEAN": text(
        ".csv",
        None,
        lambda day, bar: (
            f"{day:%Y%m%d} 00:00,"
            + ",".join(f"{bar[name] * 10_000:.0f}" for name in ("Open", "High", "Low", "Close"))
            + f",{bar['Volume']:.0f}"
        ),
    ),
    "CryptoDataDownload": text(
        ".csv",
        "https://www.example.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD",
        lambda day, bar: (
            f"{epoch(day, 1)},{day:%Y-%m-%d 00:00:00},BTC/USD,{plain(bar)},{bar['Volume']},1.0"
        ),
        newest_first=True,
    ),
    "Barchart": text(
        ".csv",
        "Symbol,Time,Open,High,Low,Latest,Change,%Change,Volume",
        lambda day, bar: f"SPY,{day:%m/%d/%Y},{plain(bar)},-1.5,-0.16%,{bar['Volume']:.0f}",
        newest_first=True,
        below='"Downloaded from Barchart.com as of 11-27-2026 04:15pm CST"\n',
    ),
    "Tiingo": text(
        ".csv",
        "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,"
        "splitFactor",
        lambda day, bar: (
            f"{day:%Y-%m-%d},{bar['Close']},{bar['High']},{bar['Low']},{bar['Open']},"
            f"{bar['Volume']},1.0,2.0,0.5,1.0,7,0.0,1.0"
        ),
    ),
    "EOD Historical Data": text(
        ".csv",
        "Date,Open,High,Low,Close,Adjusted_close,Volume",
        lambda day, bar: f"{day:%Y-%m-%d},{plain(bar)},{bar['Close'] / 2},{bar['Volume']:.0f}",
    ),
    "NSE India": text(
        ".csv",
        '"DATE ","SERIES ","OPEN ","HIGH ","LOW ","PREV. CLOSE ","LTP ","CLOSE ","VOLUME "',
        lambda day, bar: (
            f'"{day:%d-%b-%Y}","EQ","{thousands(bar["Open"])}","{thousands(bar["High"])}",'
            f'"{thousands(bar["Low"])}","1.00","2.00","{thousands(bar["Close"])}",'
            f'"{indian(bar["Volume"])}"'
        ),
        newest_first=True,
    ),
    "Interactive Brokers": text(
        ".csv",
        ",date,open,high,low,close,volume,average,barCount",
        lambda day, bar: f"0,{day:%Y-%m-%d},{plain(bar)},{bar['Volume']:.1f},1.0,2",
    ),
    "yfinance": yfinance(["Close", "High", "Low", "Open", "Volume"]),
    "yfinance, Adj Close": yfinance(["Adj Close", "Close", "High", "Low", "Open", "Volume"]),
    "yfinance, by ticker": yfinance(["Open", "High", "Low", "Close", "Volume"], ticker_first=True),
    "yfinance, two rows": yfinance(["Close", "High", "Low", "Open", "Volume"], index_row=False),
    "Parquet, two levels": parquet(
        lambda bars: pd.concat({"SPY": bars}, axis=1, names=["Ticker", "Price"]).swaplevel(axis=1)
    ),
    "Parquet, unnamed index": parquet(lambda bars: bars.rename_axis(None)),
    "Parquet, named stamps": parquet(lambda bars: bars.rename_axis("when")),
    "Parquet, zone": parquet(lambda bars: bars.tz_localize("Asia/Tokyo")),
    "Parquet, days as integers": parquet(
        lambda bars: bars.assign(
            date=pd.DatetimeIndex(bars.index).strftime("%Y%m%d").astype(int)
        ).reset_index(drop=True)
    ),
    "Parquet, epoch": parquet(
        lambda bars: bars.assign(
            timestamp=bars.index.astype("datetime64[s]").astype("int64") * 1000
        ).reset_index(drop=True)
    ),
}
"""Files of a single instrument."""


def two_tickers_csv(bars: pd.DataFrame, folder: Path) -> Path:
    """Write what yfinance's frame of two tickers becomes by ``to_csv``."""
    path = folder / "two.csv"
    two_tickers(bars).rename_axis(columns=["Price", "Ticker"]).to_csv(path)
    return path


SEVERAL: dict[str, Writer] = {
    "yfinance, several tickers": two_tickers_csv,
    "Parquet, several tickers": parquet(two_tickers),
    "Parquet, symbol and timestamp": parquet(long_index),
    "Parquet, filtered": parquet(lambda bars: long_index(bars).reset_index()),
}
"""Files of SPY and another instrument."""


def indian(value: float) -> str:
    """Return a whole number grouped by lakh and crore."""
    digits = f"{value:.0f}"
    head, tail = digits[:-3], digits[-3:]
    pairs: list[str] = []
    while head:
        pairs.insert(0, head[-2:])
        head = head[:-2]
    return ",".join([*pairs, tail])
