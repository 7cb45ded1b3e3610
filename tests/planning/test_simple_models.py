import pickle
from pathlib import Path

import numpy as np
import pytest

from study.data.panel.build_panel import build_panel_dataset
from study.errors import DataError
from study.planning.simple_models import samples_of
from study.training.panel.panel_samples import PanelTrainingData
from tests.data.panel.long_walks import long_walks, panel_config


def test_machines_of_a_cluster_need_not_share_the_file_of_a_panels_inputs(tmp_path: Path) -> None:
    config = panel_config(search_splits="purged_k_fold", search_groups=4)
    data = build_panel_dataset(config, long_walks(), cache=tmp_path)
    alone, several = (
        pickle.dumps(samples_of(data, config, "rank_ic", n_nodes=number)) for number in (1, 2)
    )
    # The folds have the same inputs, which are sent once.
    assert abs(len(several) - len(alone) - data.inputs.values.nbytes) < 2000
    for path in tmp_path.iterdir():
        path.unlink()
    for samples in pickle.loads(several):
        assert isinstance(samples, PanelTrainingData)
        np.testing.assert_array_equal(samples.inputs.values, data.inputs.values)
    with pytest.raises(DataError, match="no such file"):
        pickle.loads(alone)
