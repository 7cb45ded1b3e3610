import socket

import pytest

from study.cluster.runtime import _require_reachable
from study.errors import SpecError


@pytest.mark.parametrize("address", ["1.2.3.4:99999", "head", "ray://:6379", "head:", "head:x", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(SpecError, match="--address: must be auto, host:port or ray://host:port"):
        _require_reachable(address)


def test_an_address_at_which_nobody_answers_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        _require_reachable(f"127.0.0.1:{port}")
        _require_reachable(f"ray://127.0.0.1:{port}")
    with pytest.raises(SpecError, match="something must listen at"):
        _require_reachable(f"127.0.0.1:{port}")
    _require_reachable("auto")
