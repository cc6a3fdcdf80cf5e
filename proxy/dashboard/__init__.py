"""One page on which a person sees at a glance how all is: health, money, traffic, and where requests went, and why.

The page and its assets hold no data, and anybody may have them; what is shown on it asks for the admin key, by itself
or by the session that it opened (`proxy.admin.guard`).

    page      the page and its assets, as files
    headline  in words whether all is well
    figures   budgets, minutes and turns of circuits, as the page draws them
    snapshot  all that is shown, at one moment
    events    the same again whenever it changed
"""

from proxy.dashboard import events, page, snapshot

HANDLERS = (*page.HANDLERS, *snapshot.HANDLERS, *events.HANDLERS)
