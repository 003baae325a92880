"""qcourse claims: what people published, and the verdict of our measurements."""

from typing import Annotated

import typer

from qcourse.cli.options import Answer, AsJson, answer


def command(
    ids: Annotated[list[str] | None, typer.Argument(help="claims to show in full, such as S1-31")] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="execute the lessons that measure them first")
    ] = False,
    contradictions: Annotated[
        bool,
        typer.Option("--contradictions", help="where the articles contradict each other, and what decides"),
    ] = False,
    json: AsJson = False,
) -> Answer:
    """List the claims with verdict and figure, or those named in full; open ones have not been measured."""
    from qcourse.course import claims

    if recompute:
        remeasure(claims)
    if contradictions:
        table = claims.contradictions()
        return answer(
            table, json, "\n\n".join("{question}\n{sides}\n-> {answer}".format(**row) for row in table)
        )
    if ids:
        known = {row.claim.id: claims.as_cells(row) for row in claims.rows()}
        chosen = [known[claims.get(identifier).id] for identifier in ids]
        texts = ("\n".join(f"{key:10} {value}" for key, value in row.items() if value) for row in chosen)
        return answer(chosen, json, "\n\n".join(texts))
    rows = [
        {"id": row.claim.id, "claim": row.claim.claim, "tier": tier(row.claim.where), "verdict": row.verdict,
         "figure": row.figure, "scope": row.claim.scope}
        for row in claims.rows()
    ]  # fmt: skip
    lines = [f"{row['id']:8} {row['verdict']:20} {number(row['figure']):>10}  {row['claim']}" for row in rows]
    return answer(rows, json, "\n".join(lines))


def tier(where: tuple[str, ...]) -> int:
    """Return the smallest class of machine that settles a claim: 2 where only a GPU does, else 0."""
    return 2 if where == ("G",) else 0


def remeasure(claims: object) -> None:
    """Execute the lessons that settle measurable claims, progress on stderr."""
    from qcourse.common.quiet import stdout_to_stderr
    from qcourse.course.runner import run

    lessons = sorted({row.claim.lesson for row in claims.rows() if row.claim.rule and row.claim.lesson})
    with stdout_to_stderr():
        run(lessons or None, lanes=False)


def number(figure: float | None) -> str:
    """Return a figure in four digits, or a dash."""
    return "-" if figure is None else f"{figure:.4g}"
