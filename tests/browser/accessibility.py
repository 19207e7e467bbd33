"""What keeps people from using a page, as axe-core finds it."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe

# axe fetches style sheets a second time by itself, which a browser refuses for pages from disk.
OPTIONS = {"resultTypes": ["violations"], "preload": False}

GRAVE = ("serious", "critical")


def faults(page, scope: str = "html", rules: list[str] | None = None) -> list[str]:
    """Return the serious and critical violations in a part of a page, as sentences.

    Parameters
    ----------
    page
        Of Playwright.
    scope
        A CSS selector.
    rules
        Names of axe's rules; all of them where nothing is given.
    """
    options = OPTIONS if rules is None else OPTIONS | {"runOnly": rules}
    found = Axe().run(page, context=scope, options=options).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]}: {node['failureSummary']}"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]
