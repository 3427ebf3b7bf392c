"""Python client of the Fanfare gateway.

`fanfare_client.backend` is an application's side of the gateway, for asyncio: what clients say, in order
and at least once, and what the application answers. `fanfare_client.sync` is the same for blocking code. With
`fanfare_client.wse_server` an application of WSE's server runs on the gateway.
"""
