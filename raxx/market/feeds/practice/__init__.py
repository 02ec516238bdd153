"""The practice market: about thirty real tickers with made-up prices, and option chains on them.

Every price is a function of seed, symbol and time, so that a restart continues the same market.
`exact` calculates alike on every machine; `underlyings` says what there is; `paths` where stock
prices go; `listing` which options exist on a day; `pricing` what they are worth; `market` turns
all of it into quotes, second by second. Formulas: docs/rules/market-data.md#the-practice-market.
"""
