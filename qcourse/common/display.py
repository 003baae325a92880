"""Show text or a table in a notebook, or print it where there is none."""

from collections.abc import Sequence


def in_notebook() -> bool:
    """Say whether this process is a Jupyter kernel (JupyterLab, Colab, nbclient)."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


def show_markdown(markdown: str, plain: str | None = None) -> None:
    """Display Markdown in a notebook; elsewhere print `plain`, or the Markdown itself."""
    if not in_notebook():
        print(plain if plain is not None else markdown)
        return
    from IPython.display import display

    display({"text/markdown": markdown, "text/plain": plain or markdown}, raw=True)


def show_table(rows: list[dict]) -> None:
    """Display rows that share their keys as a table; numbers keep four significant digits."""
    if not rows:
        print("no rows")
        return
    if not in_notebook():
        print(tabulated(rows))
        return
    from IPython.display import display

    display({"text/html": html_table(rows), "text/plain": tabulated(rows)}, raw=True)


def tabulated(rows: list[dict], form: str = "simple") -> str:
    """Return rows as a table in one of tabulate's forms."""
    from tabulate import tabulate

    cells = [{key: short(value) for key, value in row.items()} for row in rows]
    return tabulate(cells, headers="keys", tablefmt=form, disable_numparse=True)


def html_table(rows: list[dict]) -> str:
    """Return rows as an HTML table, texts escaped; the first column, a name, is not broken."""
    table = tabulated(rows, "html")
    table = table.replace("<tr><td>", "<tr><td style='text-align:left;white-space:nowrap'>")
    return table.replace("<td>", "<td style='text-align:left'>")


def interval(bounds: Sequence[float] | None, share: bool = False) -> str:
    """Return `[low, high]`, a share's ends in percent and others in four digits; "" for no interval."""
    return "" if not bounds else "[{}, {}]".format(*(f"{b:.1%}" if share else f"{b:.4g}" for b in bounds))


def short(value: object) -> object:
    """Return floats with four significant digits and everything else as it is."""
    if isinstance(value, bool) or not isinstance(value, float):
        return "" if value is None else value
    if value != value:
        return "not applicable"
    return f"{value:,.0f}" if abs(value) >= 10000 else f"{value:.4g}"
