"""The catalogue, docs/catalogue.md: what the plans say of themselves."""

from pushforward.report.catalogue import catalogue
from scripts.generated.writer import ROOT, of_files

PAGE = ROOT / "docs" / "catalogue.md"
HEAD = """# The catalogue

Every plan of the library. This page is written by `make generated` from the plans themselves: their formulas, domains and docstrings, and
what they become when they are built. A test holds that it is up to date, and another that each formula of a number of parameters
gives what a built layer has. `print(pushforward.report.catalogue.catalogue())` is a short form of it.

- **D** is the number of elements of an event; for a map of vectors the length of the vectors. **C** is the length of the first event axis,
  the number of features or channels. **s** is the smooth clamp that bounds a log-scale.
- **parameters** are those of a free layer, in D and the plan's own arguments. Given a context, or in a structure, a net gives them for each
  row.
- **to sample** and **to score** say how many evaluations of its network a layer needs. They also say the depth, the number of parts that
  have to wait for one another, where it is another number, and what gives the inverse where that is no formula. "A root" is a
  safeguarded one with implicit gradients.
- Every map of numbers and of vectors has a conditional form, `Elementwise(kernel, net)`. Maps of numbers also go into `Coupling`,
  `Autoregressive` and `InverseAutoregressive`.

"""


def page() -> str:
    """Return the text of the page."""
    return HEAD + catalogue().markdown()


WRITER = of_files(lambda: {PAGE: page()})
