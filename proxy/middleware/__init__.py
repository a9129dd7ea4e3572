"""What every route shares, without reading the body. Pure ASGI, outermost first:

request_id -> access_log -> usage -> errors -> body_limit -> slash -> the routes.
"""
