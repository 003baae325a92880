"""Predictions: entered before a measurement, kept in the learner's own folder, compared after it."""

from datetime import date

from qcourse.common.display import in_notebook
from qcourse.course.progress import Records


class Predictions:
    """Predictions by id among the learner's records."""

    def __init__(self) -> None:
        self.records = Records()

    def __call__(self, identifier: str, question: str, value: float | None = None) -> None:
        """Ask for a number: a box in a notebook, one line elsewhere; `value` enters it directly."""
        if value is not None:
            self.store(identifier, question, value)
        known = self.value(identifier)
        if not in_notebook():
            print(f"Predict {identifier}: {question} " + ("" if known is None else f"[you said {known:g}]"))
            return
        self._show_box(identifier, question, known)

    def value(self, identifier: str) -> float | None:
        """Return the stored number, or None."""
        return self.records.all().get(identifier, {}).get("value")

    def store(self, identifier: str, question: str, value: float) -> None:
        """Keep one prediction, in this session and on disk."""
        self.records.note(identifier, value=float(value), question=question, date=date.today().isoformat())

    def compare(self, identifier: str, measured: float | None) -> None:
        """Print and keep the prediction beside the measurement, with their ratio; None: not measured here."""
        predicted = self.value(identifier)
        found = "not measured on this machine" if measured is None else f"measured {measured:.4g}"
        if predicted is None:
            print(f"{found}; no prediction entered for {identifier}")
            return
        if measured is None:
            print(f"you predicted {predicted:.4g}; {found}")
            return
        self.records.note(identifier, measured=float(measured))
        ratio = f", measured / predicted = {measured / predicted:.3g}" if predicted else ""
        print(f"you predicted {predicted:.4g}, measured {measured:.4g}{ratio}")

    def _show_box(self, identifier: str, question: str, known: float | None) -> None:
        import ipywidgets as widgets
        from IPython.display import display

        text = widgets.HTML(f"<b>Predict.</b> {question}")
        box = widgets.Text(
            value="" if known is None else f"{known:g}",
            placeholder="a number, then Enter",
            continuous_update=False,
            layout=widgets.Layout(width="14em"),
        )
        answer = widgets.HTML("" if known is None else "stored")

        def entered(change: dict) -> None:
            number = parse_number(change["new"])
            if number is None:
                answer.value = "a number, please, such as 0.5 or 12"
                return
            self.store(identifier, question, number)
            answer.value = f"stored {number:g}"

        box.observe(entered, names="value")
        shown = widgets.VBox([text, widgets.HBox([box, answer])])
        # Where no kernel runs, as on a forge, the text stands for the box.
        display({**shown._repr_mimebundle_(), "text/plain": f"Predict: {question}"}, raw=True)


def parse_number(text: str) -> float | None:
    """Return the finite number that a learner typed (decimal comma and percent sign are fine), or None."""
    try:
        number = float(text.strip().rstrip("%").replace(",", "."))
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None  # false for NaN as well


predict = Predictions()
