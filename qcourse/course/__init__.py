"""What makes it a course: predictions, exercises, claims, figures, the runner and the report.

How a lesson is written with it
-------------------------------
The source of a lesson is its solution notebook, `notebooks/solutions/NN_name.ipynb`.
`python -m qcourse.course.lesson_from_solution` writes `notebooks/NN_name.ipynb` from it (whatever
stands between `### BEGIN SOLUTION` and `### END SOLUTION` becomes
`raise NotImplementedError`), and tests/notebooks/test_rules.py compares the two.

    from qcourse.course import begin, budget, check, claims, figures, predict, show_source

    group_size = begin("06")                   # model, device, versions, date; quiets libraries' notices
    predict("06.kl_ratio", "GPTQ's KL divided by plain rounding's, 3 bits?")
    predict.compare("06.kl_ratio", measured)   # prediction, measurement, ratio; or "no prediction entered"
    check("06.feed_back", feed_back)           # passed, a hint, or "not tried yet"; never raises
    show_source(gptq.quantize_layer)           # the package's own text, as a Markdown cell output
    with budget("GPTQ of all layers", seconds=20, gigabytes=0.5):
        ...                                    # predicts, refuses what does not fit, then says what it took
    claims.settle("S1-10", figure=share)       # applies the claim's rule, stores and shows the row
    claims.show("S1-01", "S3-02")              # rows that arithmetic or documents settle
    yard = Yardstick(n_windows=16)             # loads the bf16 model and 16 x 512 held-out tokens
    yard.measure("rtn 3 bits", model, bits)    # one row: perplexity, KL with interval, p99, top-1
    yard.table(); yard.bars(); yard.ratio("gptq", "rtn"); yard.fresh()   # fresh(): a copy of the bf16 model
    quantize(model, recipe.named("gptq-w3g128-nosearch"), tokens)   # a control: the method without a part
    figures.bars({"rtn": 0.2, "gptq": 0.1}, "KL (nats)")            # also lines, pareto, heatmap, histogram

Exercises: the file `exercises/l06_feed_back.py` defines `EXERCISE = Exercise(...)` with cases,
an independent reference and a wrong function for each known misconception, whose docstring is the hint;
its id is then "06.feed_back", and tests/course/test_exercises.py covers it without another line.

Claims: a row of data/claims.yaml has id, claim, sources, where, scope, measurement and a rule
(thresholds on the figure, first match wins). A measurable row holds no verdict.

Models: notebooks use `qcourse.models.load()` (QCOURSE_MODEL, QCOURSE_DEVICE) and must also run on a
small Qwen2-style folder; whatever only pico knows is printed as "not applicable", never as 0%.

Notebook rules, tested by tests/notebooks: code cells of at most 15 lines, no error output except in
cells tagged `raises-exception`, under 500 KB, no machine paths, every printed figure computed by a cell.
"""

from qcourse.course import claims, figures
from qcourse.course.budgets import budget
from qcourse.course.check import check
from qcourse.course.lesson import begin
from qcourse.course.predictions import predict
from qcourse.course.source import show_source
from qcourse.course.yardstick import Yardstick

__all__ = ["Yardstick", "begin", "budget", "check", "claims", "figures", "predict", "show_source"]
