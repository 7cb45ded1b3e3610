"""The name of every file and folder that a study leaves on a disk or in a store."""

SEARCH_SUFFIX = "_search"
"""The folder of a further search of a cell has the name of the first one's, this, and the number of
the search, from 2: ``phase6a_2M_h3_threshold_1pct_search2``."""

CELL_FILE = "cell.yaml"
"""A cell's folder holds it: what the cell is, and on what it was run."""

JOURNAL_FILES = ("journal.jsonl", "journal.copy.jsonl")
"""A cell's folder holds the journal of its search twice; the first copy is written first."""

TRIALS_FILE = "all_trials.json"
"""A cell's folder holds a record of each of its ended trials there."""

BEST_FILE = "best_params.json"
"""A cell's folder holds its best trial there."""

STATUS_FILE = "status.json"
"""The folder of a cell or sweep says there who works on it and how that ended."""

LOCK_FILE = "lock"
"""A folder says there who works in it; its time of change is that of the last sign of life."""

LEASE_FILE = "lease"
"""A cell's place in a store says there who searches it, and whether its workers are to pause."""

STOP_FILE = "stop"
"""Running trials of a cell whose folder holds it save themselves at their next step and pause."""

LOG_FILE = "log.txt"
"""The folder of a cell or sweep holds what was printed, with the time."""

RAY_LOG_FILE = "ray.log"
"""A cell's folder holds what Ray logs while it is searched."""

TUNE_STATE_FILE = "experiment_state-search.json"
"""A cell's folder holds its ended trials there, for the readers of Ray Tune, which ask for such a
name."""

TUNER_FILE = "tuner.pkl"
"""A cell's folder holds there what ``ray.tune.Tuner.restore`` reads first; Ray's name."""

EPOCHS_FILE = "result.json"
"""A trial's folder holds a line of JSON for each of its epochs, as Ray Tune names it."""

METRICS_FILE = "metrics.json"
"""A trial's folder holds the record of its end."""

ERROR_FILE = "error.txt"
"""A trial's folder holds what broke it off, with the traceback."""

ALIVE_FILE = "alive"
"""A trial's place in a store; its time of change is that of the last sign of life."""

CHECKPOINTS_FOLDER = "checkpoints"
"""A trial's folder holds its saved states and its best weights there."""

TABLE_FILE = "experiment_results.csv"
"""The results folder holds a row for every trial of every cell there."""

PLAN_FILE = "plan.json"
"""The folder of a sweep holds what its cells were expected to take."""

CACHE_FOLDER = "cache"
"""The folder of imported data holds inputs of panels, scores of their baselines and times of steps
there, which any command computes or measures again."""

FINAL_FOLDER = "final"
SELECTION_FOLDER = "selection"
RUNS_FOLDER = "runs"
REFIT_FOLDER = "runs_refit"
SHARES_FOLDER = "shares"
SHARE_FILE = "share.json"
VARIANTS_FOLDER = "variants"
VARIANT_FILE = "variant.json"
MODEL_FOLDER = "model"
PREDICTIONS_FILE = "predictions.parquet"
RECORD_FILE = "final.json"
TEST_OPENED_FILE = "test_opened.txt"

WEIGHTS_FILE = "model.safetensors"
"""An exported model's folder holds its weights there."""

CARD_FILE = "model.json"
"""An exported model's folder says there how the weights are used and what they are worth."""
