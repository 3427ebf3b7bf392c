"""Text that a command writes into a page, between two lines that stay."""

from . import ROOT, Failed


def replace(page, begin, end, block):
    """Puts `block` between the lines `begin` and `end` of `page`."""
    before, has_begin, rest = page.read_text().partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise Failed(f"{page.relative_to(ROOT)} lacks one of the lines {begin} and {end}")
    page.write_text(f"{before}{begin}\n\n{block}\n{end}{after}")
