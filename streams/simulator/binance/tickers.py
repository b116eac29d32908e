"""Best prices and the day's figures, as REST and stream documents."""

from decimal import Decimal

from streams.matching.amounts import ZERO
from streams.matching.orders import Side
from streams.simulator.binance.codec import Document, amount
from streams.simulator.venue import Venue

DAY_MS = 86_400_000


def book_ticker(venue: Venue, symbol: str) -> Document:
    """GET ticker/bookTicker."""
    (bid, bid_size), (ask, ask_size) = _top(venue, symbol)
    return {"symbol": symbol, "bidPrice": bid, "bidQty": bid_size, "askPrice": ask, "askQty": ask_size}


def book_ticker_event(venue: Venue, symbol: str) -> Document:
    """The bookTicker stream's frame, which names no time."""
    (bid, bid_size), (ask, ask_size) = _top(venue, symbol)
    update_id = venue.market.books[symbol].update_id
    return {"u": update_id, "s": symbol, "b": bid, "B": bid_size, "a": ask, "A": ask_size}


def day_ticker(venue: Venue, symbol: str) -> Document:
    """GET ticker/24hr."""
    figures = _day_figures(venue, symbol)
    (bid, bid_size), (ask, ask_size) = _top(venue, symbol)
    now_ms = venue.clock.now_ms()
    return {
        "symbol": symbol,
        "priceChange": figures["change"],
        "priceChangePercent": figures["percent"],
        "weightedAvgPrice": figures["average"],
        "prevClosePrice": figures["open"],
        "lastPrice": figures["last"],
        "lastQty": bid_size,
        "bidPrice": bid,
        "bidQty": bid_size,
        "askPrice": ask,
        "askQty": ask_size,
        "openPrice": figures["open"],
        "highPrice": figures["high"],
        "lowPrice": figures["low"],
        "volume": figures["volume"],
        "quoteVolume": figures["volume_quote"],
        "openTime": now_ms - DAY_MS,
        "closeTime": now_ms,
        "firstId": -1,
        "lastId": -1,
        "count": 0,
    }


def day_ticker_event(venue: Venue, symbol: str) -> Document:
    """The ticker stream's frame."""
    figures = _day_figures(venue, symbol)
    (bid, bid_size), (ask, ask_size) = _top(venue, symbol)
    now_ms = venue.clock.now_ms()
    return {
        "e": "24hrTicker",
        "E": now_ms,
        "s": symbol,
        "p": figures["change"],
        "P": figures["percent"],
        "w": figures["average"],
        "x": figures["open"],
        "c": figures["last"],
        "Q": bid_size,
        "b": bid,
        "B": bid_size,
        "a": ask,
        "A": ask_size,
        "o": figures["open"],
        "h": figures["high"],
        "l": figures["low"],
        "v": figures["volume"],
        "q": figures["volume_quote"],
        "O": now_ms - DAY_MS,
        "C": now_ms,
        "F": -1,
        "L": -1,
        "n": 0,
    }


def mini_ticker_event(venue: Venue, symbol: str) -> Document:
    """The miniTicker stream's frame: no bid, no ask."""
    figures = _day_figures(venue, symbol)
    return {
        "e": "24hrMiniTicker",
        "E": venue.clock.now_ms(),
        "s": symbol,
        "c": figures["last"],
        "o": figures["open"],
        "h": figures["high"],
        "l": figures["low"],
        "v": figures["volume"],
        "q": figures["volume_quote"],
    }


def _top(venue: Venue, symbol: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Best bid and ask with their sizes; zeros for an empty side."""
    book = venue.market.books[symbol]
    best = {side: next(iter(book.levels(side, 1)), (ZERO, ZERO)) for side in Side}
    bid, ask = best[Side.BUY], best[Side.SELL]
    return (amount(bid[0]), amount(bid[1])), (amount(ask[0]), amount(ask[1]))


def _day_figures(venue: Venue, symbol: str) -> dict[str, str]:
    at_ms = venue.tape_clock.now_ms()
    day, last = venue.tape.day(symbol, at_ms), venue.tape.last_price(symbol, at_ms)
    change = last - day.open_quote
    return {
        "change": amount(change),
        "percent": format(change / day.open_quote * Decimal(100), ".3f"),
        "average": amount(day.volume_quote / day.volume_base if day.volume_base else last),
        "open": amount(day.open_quote),
        "last": amount(last),
        "high": amount(max(day.high_quote, last)),
        "low": amount(min(day.low_quote, last)),
        "volume": amount(day.volume_base),
        "volume_quote": amount(day.volume_quote),
    }
