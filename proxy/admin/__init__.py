"""The doors of those who run it: what is spent, and each row of it; who is healthy, and why a request went where it
went; who may call; what is configured; and the figures for Prometheus.

All of them ask for the admin key. Money is read from the store, and health is what all replicas have told each other,
so every replica says the same; what only one of them knows says which it is (`replica`).
"""

from proxy.admin import configuration, costs, figures, health, keys, schema, signin, why

HANDLERS = (
    *costs.HANDLERS,
    *figures.HANDLERS,
    *health.HANDLERS,
    *why.HANDLERS,
    *keys.HANDLERS,
    *configuration.HANDLERS,
    *signin.HANDLERS,
    *schema.HANDLERS,
)
OPENAPI = schema.CONFIG
