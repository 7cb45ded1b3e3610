import pytest

from study.data.embedded.synthetic import SyntheticMarket, simulate_market
from study.data.prices import Prices
from study.data.sources import load_prices


@pytest.fixture(scope="session")
def sp500() -> Prices:
    return load_prices("sp500")


@pytest.fixture(scope="session")
def market() -> SyntheticMarket:
    return simulate_market(n_days=3000, seed=11)
